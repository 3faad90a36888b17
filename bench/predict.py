#!/usr/bin/env python3
"""What `reward train --dry-run` predicts beside what the same run takes: memory as /usr/bin/time shows it, seconds a step.

    bench/predict.py MODEL... [--lengths 256,1024] [--pairs 2] [--steps 2] [--memory-only]

For each model, each length (tokens of a conversation), and three ways to save memory. Rows are made here from a fixed seed.
Seconds mean something on an idle machine only.
"""
import argparse, json, os, random, re, subprocess, sys, tempfile
from pathlib import Path

REWARD = Path(__file__).resolve().parent.parent / os.environ.get("BUILD", "build") / "reward"
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("models", nargs="+")
ap.add_argument("--lengths", default="256,1024")
ap.add_argument("--pairs", type=int, default=2, help="pairs a step")
ap.add_argument("--steps", type=int, default=2)
ap.add_argument("--memory-only", action="store_true")
a = ap.parse_args()
WAYS = [["--recompute", "no"], ["--recompute", "full"], ["--recompute", "full", "--optimizer-states", "8bit"]]


def run(command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {p.stderr}")
    return p.stdout, p.stderr


print("| model | tokens a row | options | predicted GB | taken GB | | predicted s/step | taken s/step | |")
print("|---|---|---|---|---|---|---|---|---|")
for model in a.models:
    for length in map(int, a.lengths.split(",")):
        with tempfile.TemporaryDirectory() as tmp:
            rng, rows = random.Random(1), f"{tmp}/rows.jsonl"
            side = lambda: [rng.randrange(100, 30000) for _ in range(length)]
            with open(rows, "w") as f:
                for _ in range(a.pairs * a.steps):
                    f.write(json.dumps({"chosen_ids": side(), "rejected_ids": side()}) + "\n")
            for way in WAYS:
                out = f"{tmp}/{'-'.join(way)}"
                train = [REWARD, "train", "--model", model, "--data", rows, "--out", out, "--batch-size", str(a.pairs), "--epochs", "1",
                         "--lr", "1e-6", *way]
                plan = dict(line.split(None, 1) for line in run([*train, "--dry-run"])[0].splitlines())
                _, log = run(["/usr/bin/time", "-f", "peak %M", *train, "--quiet"])
                want, got = int(plan["peak_memory_bytes"]) / 1e9, int(re.search(r"peak (\d+)", log).group(1)) * 1024 / 1e9
                line = f"| {Path(model).name} | {length} | {' '.join(way)} | {want:.3f} | {got:.3f} | {want / got - 1:+.0%} |"
                if not a.memory_only:
                    m = [json.loads(x) for x in open(f"{out}/metrics.jsonl")]
                    m = [x for x in m if "tokens_per_s" in x]
                    tokens = m[-1]["num_tokens"] / len(m)
                    taken = tokens / m[-1]["tokens_per_s"]
                    guess = float(plan["seconds"]) / int(plan["steps"])
                    line += f" {guess:.1f} | {taken:.1f} | {guess / taken - 1:+.0%} |"
                else:
                    line += " | | |"
                print(line, flush=True)
