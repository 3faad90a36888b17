#!/usr/bin/env python3
"""Draws training pairs from a pair file so that length says nothing about the label.

    python3 bench/draw_pairs.py --model DIR --pairs N --max-tokens 512 --per-prompt 8 --seed 0 IN.jsonl.gz > OUT.jsonl

Half of the pairs have the longer response chosen, half the shorter (in characters). No prompt gives more than
--per-prompt pairs; a pair with a conversation above --max-tokens tokens (by `reward tokenize`) is left out.
Plain Python 3; `reward` is taken from build/.
"""
import argparse, gzip, json, random, subprocess, sys

ap = argparse.ArgumentParser()
ap.add_argument("input")
ap.add_argument("--model", required=True)
ap.add_argument("--pairs", type=int, default=1600)
ap.add_argument("--max-tokens", type=int, default=512)
ap.add_argument("--per-prompt", type=int, default=8)
ap.add_argument("--seed", type=int, default=0)
a = ap.parse_args()

with gzip.open(a.input, "rt", encoding="utf-8") as f:
    rows = [json.loads(line) for line in f]
text = "".join(json.dumps({"messages": r[side]}) + "\n" for r in rows for side in ("chosen", "rejected"))
out = subprocess.run(["build/reward", "tokenize", "--quiet", "--model", a.model], input=text, capture_output=True, text=True, check=True)
lengths = [len(json.loads(line)["input_ids"]) for line in out.stdout.splitlines()]
order = list(range(len(rows)))
random.Random(a.seed).shuffle(order)
taken, per_prompt, half = [], {}, {True: 0, False: 0}
for i in order:
    r = rows[i]
    prompt = json.dumps(r["chosen"][:-1])
    c, j = len(r["chosen"][-1]["content"]), len(r["rejected"][-1]["content"])
    longer = c > j
    if c == j or max(lengths[2 * i], lengths[2 * i + 1]) > a.max_tokens:
        continue
    if half[longer] >= a.pairs // 2 or per_prompt.get(prompt, 0) >= a.per_prompt:
        continue
    half[longer] += 1
    per_prompt[prompt] = per_prompt.get(prompt, 0) + 1
    taken.append(r)
print(f"{len(taken)} pairs of {len(per_prompt)} prompts; chosen longer {half[True]}, shorter {half[False]}", file=sys.stderr)
for r in taken:
    print(json.dumps(r, ensure_ascii=False))
