#!/usr/bin/env python3
"""What `reward train --dry-run` predicts beside what the same run takes: memory as GNU time shows it, seconds a step.

    bench/predict.py [--lengths 256,1024] [--pairs 4] [--steps 3] [--memory-only] [MODEL...]       (needs: pip install numpy)

For each model (by default SmolLM2-135M's shape, a Gemma 2 and a Qwen 3 of 57 and 117 million parameters beside the
embedding, random weights), each length (tokens of a conversation), and each way to train. Rows are made here from a fixed
seed. Seconds mean something on an idle machine only; the first step is not counted.
"""
import argparse, json, os, random, tempfile
from pathlib import Path

from common import random_model, timed

REWARD = Path(__file__).resolve().parent.parent / os.environ.get("BUILD", "build") / "reward"
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("models", nargs="*")
ap.add_argument("--lengths", default="256,1024")
ap.add_argument("--pairs", type=int, default=4, help="pairs a step")
ap.add_argument("--steps", type=int, default=3)
ap.add_argument("--memory-only", action="store_true")
a = ap.parse_args()
MADE = {
    "smollm2": dict(model_type="llama", hidden_size=576, intermediate_size=1536, head_dim=64, num_hidden_layers=30, num_attention_heads=9,
                    num_key_value_heads=3, vocab_size=49152),
    "gemma2": dict(model_type="gemma2", hidden_size=512, intermediate_size=2048, head_dim=128, num_hidden_layers=12, num_attention_heads=8,
                   num_key_value_heads=4, vocab_size=32768, query_pre_attn_scalar=128, sliding_window=512, hidden_activation="gelu_pytorch_tanh"),
    "qwen3": dict(model_type="qwen3", hidden_size=896, intermediate_size=2432, head_dim=64, num_hidden_layers=14, num_attention_heads=14,
                  num_key_value_heads=2, vocab_size=32768),
}


def ways(layers):
    yield "everything", []
    yield "recompute", ["--recompute", "full"]
    yield "recompute, 8-bit", ["--recompute", "full", "--optimizer-states", "8bit"]
    yield "upper third", ["--freeze-layers", layers * 2 // 3]
    yield "LoRA 16", ["--lora-rank", 16]


def percent(guess, taken):
    return f"{guess:.2f} | {taken:.2f} | {guess / taken - 1:+.0%}"


with tempfile.TemporaryDirectory() as tmp:
    models = [Path(m) for m in a.models] or [random_model(f"{tmp}/{name}", **c) for name, c in MADE.items()]
    print("| model | tokens a row | trained | GB predicted | taken | | s/step predicted | taken | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model in models:
        layers = json.loads((model / "config.json").read_text())["num_hidden_layers"]
        for length in map(int, a.lengths.split(",")):
            rng, rows = random.Random(1), f"{tmp}/rows.jsonl"
            side = lambda: [rng.randrange(100, 30000) for _ in range(length)]
            with open(rows, "w") as f:
                for _ in range(a.pairs * a.steps):
                    f.write(json.dumps({"chosen_ids": side(), "rejected_ids": side()}) + "\n")
            for name, way in ways(layers):
                train = [REWARD, "train", "--model", model, "--data", rows, "--out", f"{tmp}/out", "--batch-size", a.pairs, "--epochs", 1, "--lr", "1e-6",
                         "--force", "--quiet", *way]
                plan = dict(line.split(None, 1) for line in timed([*train, "--dry-run"])[0].splitlines())
                _, _, peak = timed(train)
                line = f"| {model.name} | {length} | {name} | {percent(int(plan['peak_memory_bytes']) / 1e9, peak * 2**20 / 1e9)} |"
                if not a.memory_only:
                    m = [json.loads(x) for x in open(f"{tmp}/out/metrics.jsonl")]
                    taken = sum((x["num_tokens"] - y["num_tokens"]) / x["tokens_per_s"] for y, x in zip(m, m[1:])) / (len(m) - 1)
                    line += f" {percent(float(plan['seconds']) / int(plan['steps']), taken)} |"
                print(line, flush=True)
