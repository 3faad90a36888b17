#!/usr/bin/env python3
"""Long conversations: memory and seconds of `reward score`, and the cost of a token apart from attention.

    python3 bench/long_rows.py [--reward PROGRAM] [--longest N] [--only memory|tokens]       (needs: pip install numpy; GNU time)

Models have SmolLM2-135M's width and random weights (their time does not depend on values). First: one conversation of 256 to
16,384 tokens, alone, and four responses of 256 tokens to a prompt of the rest, 30 layers, full attention. Then: the same number
of tokens as rows of 256 to 8,192, where a window of 16 tokens makes attention a small and constant part: scoring (10 layers)
and training steps (4 layers, every tensor trained). A cost linear in the tokens is a constant number of microseconds a token.
"""
import argparse, json, random, shutil, subprocess, tempfile, time
from pathlib import Path

import numpy as np

ap = argparse.ArgumentParser()
ap.add_argument("--reward", default=str(Path(__file__).resolve().parent.parent / "build/reward"))
ap.add_argument("--longest", type=int, default=16384)
ap.add_argument("--only", choices=("memory", "tokens"))
a = ap.parse_args()
H, FF, Q, KV, VOCAB, LETTERS = 576, 1536, 576, 192, 4096, "abcdefghijklmnopqrstuvwxyz"
rng = random.Random(1)


def model(folder, layers, window):
    """A Mistral-shaped checkpoint: without a window it is SmolLM2's Llama, tensor by tensor."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(
        model_type="mistral", hidden_size=H, intermediate_size=FF, num_hidden_layers=layers, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=VOCAB, max_position_embeddings=32768, rope_theta=1e5, rms_norm_eps=1e-5, sliding_window=window, pad_token_id=0)))
    shapes = {"model.embed_tokens.weight": (VOCAB, H), "model.norm.weight": (H,), "score.weight": (1, H)}
    for i in range(layers):
        for name, shape in {"self_attn.q_proj": (Q, H), "self_attn.k_proj": (KV, H), "self_attn.v_proj": (KV, H), "self_attn.o_proj": (H, Q),
                            "mlp.gate_proj": (FF, H), "mlp.up_proj": (FF, H), "mlp.down_proj": (H, FF), "input_layernorm": (H,),
                            "post_attention_layernorm": (H,)}.items():
            shapes[f"model.layers.{i}.{name}.weight"] = shape
    vocab = {c: i + 3 for i, c in enumerate(LETTERS)}  # one token a letter
    (folder / "tokenizer.json").write_text(json.dumps(dict(added_tokens=[], normalizer=None, pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False), model=dict(
        type="BPE", vocab=vocab, merges=[]))))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")))
    header, at = {}, 0
    for name, shape in shapes.items():
        n = 4 * int(np.prod(shape))
        header[name] = dict(dtype="F32", shape=shape, data_offsets=[at, at + n])
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    gen = np.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            f.write((gen.standard_normal(shape, np.float32) * 0.03 + ("norm" in name)).astype(np.float32).tobytes())
    return folder


def draw(n):
    return [rng.randrange(3, VOCAB) for _ in range(n)]


def letters(n):
    return "".join(rng.choice(LETTERS) for _ in range(n))


def timed(command):
    """seconds, peak MB"""
    start = time.time()
    p = subprocess.run(["/usr/bin/time", "-f", "%M", *map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    if p.returncode:
        raise SystemExit(p.stderr)
    return time.time() - start, int(p.stderr.split()[-1]) / 1024


def score(folder, rows, *more):
    return timed([a.reward, "score", "--model", folder, "-q", *more, rows])


with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    rows = tmp / "rows.jsonl"
    whole = model(tmp / "whole", 30, None) if a.only != "tokens" else None
    if whole:
        print("| tokens | seconds | peak MB | prompt shared by 4 responses: seconds | peak MB |\n|---|---|---|---|---|")
    for n in (256, 2048, 8192, 16384):
        if n > a.longest or not whole:
            break
        rows.write_text(json.dumps({"input_ids": draw(n)}))
        alone = score(whole, rows)
        rows.write_text(json.dumps({"prompt": letters(max(n - 256, 1)), "responses": [letters(256) for _ in range(4)]}))
        four = score(whole, rows)
        print(f"| {n} | {alone[0]:.1f} | {alone[1]:.0f} | {four[0]:.1f} | {four[1]:.0f} |", flush=True)
    if a.only == "memory":
        raise SystemExit
    scoring, training = model(tmp / "scoring", 10, 16), model(tmp / "training", 4, 16)
    rows.write_text(json.dumps({"input_ids": draw(16)}))
    start = min(score(scoring, rows)[0] for _ in range(3))
    print("\n| tokens a row | scoring: us a token | a training step: us a token | its peak MB |\n|---|---|---|---|")
    for n in (256, 512, 1024, 2048, 4096, 8192):
        if n > a.longest:
            break
        rows.write_text("".join(json.dumps({"input_ids": draw(n)}) + "\n" for _ in range(16384 // n)))
        us = min(score(scoring, rows, "--batch-tokens", 8192)[0] - start for _ in range(2)) / 16384 * 1e6
        rows.write_text("".join(json.dumps({"chosen_ids": draw(n), "rejected_ids": draw(n)}) + "\n" for _ in range(8192 // n)))
        out = tmp / "out"
        _, peak = timed([a.reward, "train", "--model", training, "--data", rows, "--out", out, "--batch-size", 8192 // n, "--steps", 3, "--batch-tokens",
                         16384, "-q", "--tensorboard", "no", "--force"])
        rates = [json.loads(l)["tokens_per_s"] for l in open(out / "metrics.jsonl")]
        shutil.rmtree(out)
        print(f"| {n} | {us:.0f} | {1e6 / max(rates):.0f} | {peak:.0f} |", flush=True)
