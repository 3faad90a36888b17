#!/usr/bin/env python3
"""Bytes of memory that `reward curate` takes a pair: without stages, with near duplicates, and a kept pair whose text is
nearly another's, each as the slope of the peak between two numbers of made-up pairs.

    bench/bench_near.py [--pairs N] [REWARD...]      (default: 450000 pairs, build/reward; several builds beside each other)
"""
import argparse, os, random, subprocess, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser()
ap.add_argument("--pairs", type=int, default=450000)
ap.add_argument("reward", nargs="*", default=[str(ROOT / os.environ.get("BUILD", "build") / "reward")])
a = ap.parse_args()
rng = random.Random(1)
WORDS = [f"w{i}" for i in range(5000)]
text = lambda k: " ".join(rng.choices(WORDS, k=k))


def short(f, n):
    for _ in range(n):
        f.write('{"prompt": "%s", "chosen": "%s", "rejected": "%s"}\n' % (text(12), text(8), text(8)))


def twins(f, n):
    """Pairs of 1,000 words, each two with some 70 % of their runs of five words in common: both stay."""
    for _ in range(n // 2):
        q = text(1000).split()
        for k in (0, 1):
            words = list(q)
            for i in range(k, 1000, 28): words[i + k] = f"x{rng.random()}"
            f.write('{"prompt": "%s", "chosen": "yes", "rejected": "no"}\n' % " ".join(words))


def peak(reward, recipe, rows, out):
    p = subprocess.Popen([reward, "curate", recipe, "--input", f"pairs={rows}", "-o", out, "--force", "--quiet"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    assert status == 0
    return usage.ru_maxrss * 1024


with tempfile.TemporaryDirectory() as d:
    d = Path(d)
    for name, stage in (("plain", ""), ("near", "  - dedup: {by: near}\n")):
        (d / f"{name}.yaml").write_text(f"name: {name}\nstages:\n  - source: pairs\n{stage}")
    print(f"{'':50} bytes a pair")
    for what, recipe, make, most in (("short pairs, no stage", "plain", short, a.pairs), ("short pairs, near duplicates", "near", short, a.pairs),
                                     ("near twins that stay", "near", twins, a.pairs // 40)):
        sizes = (most // 3, most)
        for n in sizes:
            with open(d / f"{n}.jsonl", "w") as f:
                make(f, n)
        for reward in a.reward:
            low, high = (peak(reward, str(d / f"{recipe}.yaml"), str(d / f"{n}.jsonl"), str(d / "out")) for n in sizes)
            print(f"{what:30} {reward[-18:]:20} {(high - low) / (sizes[1] - sizes[0]):11.0f}", flush=True)
