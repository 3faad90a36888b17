#!/usr/bin/env python3
"""Long conversations: memory and seconds of `reward score`, and the cost of a token apart from attention.

    python3 bench/long_rows.py [--reward PROGRAM] [--longest N] [--only memory|tokens]       (needs: pip install numpy; GNU time)

Models have SmolLM2-135M's width and random weights (their time does not depend on values). First: one conversation of 256 to
16,384 tokens, alone, and four responses of 256 tokens to a prompt of the rest, 30 layers, full attention. Then: the same number
of tokens as rows of 256 to 8,192, where a window of 16 tokens makes attention a small and constant part: scoring (10 layers)
and training steps (4 layers, every tensor trained). A cost linear in the tokens is a constant number of microseconds a token.
"""
import argparse, json, random, shutil, tempfile
from pathlib import Path

from common import random_model, timed

ap = argparse.ArgumentParser()
ap.add_argument("--reward", default=str(Path(__file__).resolve().parent.parent / "build/reward"))
ap.add_argument("--longest", type=int, default=16384)
ap.add_argument("--only", choices=("memory", "tokens"))
a = ap.parse_args()
VOCAB = 4096
rng = random.Random(1)


def model(folder, layers, window):
    """Mistral-shaped: without a window it is SmolLM2's Llama, tensor by tensor."""
    return random_model(folder, model_type="mistral", hidden_size=576, intermediate_size=1536, head_dim=64, num_hidden_layers=layers, num_attention_heads=9,
                        num_key_value_heads=3, vocab_size=VOCAB, sliding_window=window)


def draw(n):
    return [rng.randrange(3, VOCAB) for _ in range(n)]


def letters(n):
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))


def score(folder, rows, *more):
    return timed([a.reward, "score", "--model", folder, "-q", *more, rows])[1:]


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
        _, _, peak = timed([a.reward, "train", "--model", training, "--data", rows, "--out", out, "--batch-size", 8192 // n, "--steps", 3, "--batch-tokens",
                         16384, "-q", "--tensorboard", "no", "--force"])
        rates = [json.loads(l)["tokens_per_s"] for l in open(out / "metrics.jsonl")]
        shutil.rmtree(out)
        print(f"| {n} | {us:.0f} | {1e6 / max(rates):.0f} | {peak:.0f} |", flush=True)
