#!/usr/bin/env python3
"""Makes a small random Llama reward model with a tokenizer and a chat template, for tests that need text.

usage: tiny_model.py DIR [SEED]

One byte is one token; <s> (BOS), <|user|>, <|assistant|>, <|system|> and <|end|> are control tokens.
"""
import json
import random
import struct
import sys
from pathlib import Path

SPECIALS = ["<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEMPLATE = ("{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m['content'] }}{{ '<|end|>' }}"
            "{% endfor %}")
HIDDEN, FF, LAYERS, HEADS, KV, HEAD_DIM = 32, 64, 3, 4, 2, 8


def byte_letters():
    """The letters by which byte-level tokenizers spell bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, more = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + more)
            more += 1
    return [letters[b] for b in range(256)]


def make(folder, seed=0):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {letter: i for i, letter in enumerate(byte_letters())}
    added = [{"id": 256 + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, s in enumerate(SPECIALS)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    put = lambda name, value: (folder / name).write_text(json.dumps(value))
    put("tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": []}})
    put("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>",
                                  "eos_token": "<|end|>", "pad_token": "<s>", "chat_template": TEMPLATE})
    put("config.json", {
        "architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "vocab_size": 261,
        "hidden_size": HIDDEN, "intermediate_size": FF, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV, "head_dim": HEAD_DIM, "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "max_position_embeddings": 2048, "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 256,
        "eos_token_id": 257, "pad_token_id": 256, "num_labels": 1, "initializer_range": 0.02})
    shapes = {"model.embed_tokens.weight": (261, HIDDEN)}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        shapes |= {at + "input_layernorm.weight": (HIDDEN,), at + "post_attention_layernorm.weight": (HIDDEN,),
                   at + "self_attn.q_proj.weight": (HEADS * HEAD_DIM, HIDDEN),
                   at + "self_attn.k_proj.weight": (KV * HEAD_DIM, HIDDEN),
                   at + "self_attn.v_proj.weight": (KV * HEAD_DIM, HIDDEN),
                   at + "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
                   at + "mlp.gate_proj.weight": (FF, HIDDEN), at + "mlp.up_proj.weight": (FF, HIDDEN),
                   at + "mlp.down_proj.weight": (HIDDEN, FF)}
    shapes |= {"model.norm.weight": (HIDDEN,), "score.weight": (1, HIDDEN)}
    draw = random.Random(seed)
    header, body = {}, b""
    for name, shape in shapes.items():
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [draw.gauss(1, 0.1) if len(shape) == 1 else draw.gauss(0, 0.3) for _ in range(n)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(body), len(body) + 4 * n]}
        body += struct.pack(f"<{n}f", *values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
