"""What the benchmarks share: checkpoints of random weights, safetensors files, the time and peak memory of a command."""
import json, subprocess, time
from pathlib import Path

import numpy as np


def write_safetensors(path, tensors):
    """tensors: (name, dtype as safetensors spells it, array) each"""
    header, at = {}, 0
    for name, dtype, x in tensors:
        header[name] = dict(dtype=dtype, shape=list(x.shape), data_offsets=[at, at + x.nbytes])
        at += x.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, _, x in tensors:
            f.write(x.tobytes())


def random_model(folder, **config):
    """A checkpoint with a head: Llama-like layers, with what Gemma 2 and Qwen 3 add; one token a letter of the alphabet."""
    folder = Path(folder)
    folder.mkdir()
    c = dict(rms_norm_eps=1e-5, rope_theta=1e5, max_position_embeddings=32768, pad_token_id=0, **config)
    (folder / "config.json").write_text(json.dumps(c))
    (folder / "tokenizer.json").write_text(json.dumps(dict(
        added_tokens=[], normalizer=None, pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False),
        model=dict(type="BPE", vocab={x: i + 3 for i, x in enumerate("abcdefghijklmnopqrstuvwxyz")}, merges=[]))))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")))
    h, ff, d = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    layer = {"self_attn.q_proj": (q, h), "self_attn.k_proj": (kv, h), "self_attn.v_proj": (kv, h), "self_attn.o_proj": (h, q), "mlp.gate_proj": (ff, h),
             "mlp.up_proj": (ff, h), "mlp.down_proj": (h, ff), "input_layernorm": (h,), "post_attention_layernorm": (h,)}
    if c["model_type"] == "gemma2":
        layer |= {"pre_feedforward_layernorm": (h,), "post_feedforward_layernorm": (h,)}
    if c["model_type"] == "qwen3":
        layer |= {"self_attn.q_norm": (d,), "self_attn.k_norm": (d,)}
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,), "score.weight": (1, h)}
    shapes |= {f"model.layers.{i}.{name}.weight": s for i in range(c["num_hidden_layers"]) for name, s in layer.items()}
    gen = np.random.default_rng(1)
    write_safetensors(folder / "model.safetensors",
                      [(name, "F32", (gen.standard_normal(s, np.float32) * np.float32(0.03) + np.float32("norm" in name))) for name, s in shapes.items()])
    return folder


def timed(command):
    """stdout, seconds, peak MiB. GNU time measures: a child's peak as wait4 gives it counts this process's memory before exec."""
    start = time.time()
    p = subprocess.run(["/usr/bin/time", "-f", "%M", *map(str, command)], capture_output=True, text=True)
    if p.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {p.stderr}")
    return p.stdout, time.time() - start, int(p.stderr.split()[-1]) / 1024
