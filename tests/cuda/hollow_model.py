#!/usr/bin/env python3
"""Checkpoints of published shapes whose weights are holes of the file (zeros that take no disk): for what memory is taken.

usage: hollow_model.py SHAPE FOLDER [LAYERS]    SHAPE: of SHAPES below; also FOLDER/pairs.jsonl: pairs of 1,000 ids a side (small: of 30)
Speed is not to be measured with them: a GPU that multiplies zeros draws less power.
"""
import json
import random
import struct
import sys
from pathlib import Path

SHAPES = {
    "llama-3.1-8b": {"architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
                     "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                     "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072,
                     "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                      "original_max_position_embeddings": 8192}, "tie_word_embeddings": False},
    "gemma-2-27b": {"architectures": ["Gemma2ForSequenceClassification"], "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 4608,
                    "intermediate_size": 36864, "num_hidden_layers": 46, "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128,
                    "hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
                    "max_position_embeddings": 8192, "sliding_window": 4096, "query_pre_attn_scalar": 144, "attn_logit_softcapping": 50.0,
                    "final_logit_softcapping": 30.0, "tie_word_embeddings": True}}

SMALL = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 16}
SHAPES["small"] = SHAPES["llama-3.1-8b"] | SMALL
SHAPES["small-gemma-2"] = SHAPES["gemma-2-27b"] | SMALL


def config_of(name, layers=None):
    c = SHAPES[name] | {"num_labels": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16", "initializer_range": 0.02}
    return c | {"num_hidden_layers": layers} if layers else c


def layer_shapes(c, i):
    """The tensors of layer i, by name."""
    h, f, q, kv = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    norms = ["input_layernorm", "post_attention_layernorm"]
    if c["model_type"] == "gemma2":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    at = f"model.layers.{i}."
    return ({at + n + ".weight": [h] for n in norms} |
            {at + "self_attn." + n + "_proj.weight": s for n, s in (("q", [q, h]), ("k", [kv, h]), ("v", [kv, h]), ("o", [h, q]))} |
            {at + "mlp." + n + "_proj.weight": s for n, s in (("gate", [f, h]), ("up", [f, h]), ("down", [h, f]))})


def other_shapes(c):
    h = c["hidden_size"]
    return {"model.embed_tokens.weight": [c["vocab_size"], h], "model.norm.weight": [h], "score.weight": [1, h]}


def main(name, folder, layers=None):
    c = config_of(name, layers)
    tensors = other_shapes(c)
    for i in range(c["num_hidden_layers"]):
        tensors |= layer_shapes(c, i)
    header, end = {}, 0
    for key, shape in tensors.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(c))
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + end)
    draw = random.Random(1)
    ids = lambda n: [draw.randrange(10, c["vocab_size"]) for _ in range(n)]
    small = name.startswith("small")
    with open(folder / "pairs.jsonl", "w") as out:
        for _ in range(4 if small else 64):
            prompt = ids(12 if small else 400)
            chosen, rejected = (prompt + ids(len(prompt) * 3 // 2) for _ in range(2))
            out.write(json.dumps({"chosen_ids": chosen, "rejected_ids": rejected}) + "\n")
    print(f"{name}: {end / 1e9:.1f} GB of weights")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:4]))
