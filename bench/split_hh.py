#!/usr/bin/env python3
"""Splits HH transcripts by conversation: four fifths to train, one fifth held out.

    python3 bench/split_hh.py --seed 0 IN.jsonl.gz TRAIN.jsonl HELDOUT.jsonl

Pairs with the same first human turn stay on one side. Plain Python 3.
"""
import argparse, gzip, json, random

ap = argparse.ArgumentParser()
ap.add_argument("input"), ap.add_argument("train"), ap.add_argument("heldout")
ap.add_argument("--seed", type=int, default=0)
a = ap.parse_args()
groups = {}
with gzip.open(a.input, "rt", encoding="utf-8") as f:
    for line in f:
        first = json.loads(line)["chosen"].split("\n\nAssistant:")[0]
        groups.setdefault(first, []).append(line)
names = sorted(groups)
random.Random(a.seed).shuffle(names)
cut = len(names) * 4 // 5
for path, part in ((a.train, names[:cut]), (a.heldout, names[cut:])):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(line for name in part for line in groups[name])
