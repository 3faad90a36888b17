#!/usr/bin/env python3
"""Exact and near-duplicate removal of `reward curate` compared with brute force: every pair of texts by true Jaccard
similarity of their word shingles, the first in row order kept. Plain Python 3; the program is $BUILD/reward.

MinHash bands may miss one pair in a thousand at the threshold itself; the made-up texts put few there, and a seed is fixed.
"""
import json, os, random, re, subprocess, sys, tempfile
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
random.seed(3)
VOCABULARY = [f"w{i}" for i in range(400)]


def text(n):
    return random.choices(VOCABULARY, k=n)


def variant(words, changes):
    w = list(words)
    for _ in range(changes):
        k = random.randrange(len(w))
        w[k:k + random.randrange(2)] = [random.choice(VOCABULARY)]
    return w


def show(words):
    return " ".join(w.upper() if random.random() < 0.1 else w for w in words).replace(" ", random.choice((" ", ", ", "\n")), 1)


rows, made = [], []
for i in range(500):
    if made and random.random() < 0.6:
        base = random.choice(made)
        parts = [variant(p, random.choice((0, 0, 1, 1, 2, 4, 9))) for p in base]
    else:
        parts = [text(random.choice((2, 3, 8, 30))), text(random.choice((3, 60, 150))), text(random.choice((3, 60, 150)))]
    made.append(parts)
    rows.append(dict(prompt=show(parts[0]), chosen=show(parts[1]), rejected=show(parts[2])))
rows += [dict(prompt="?", chosen="!", rejected="…")] * 2  # no words: like nothing, and equal
words = lambda t: re.findall(r"\w+", t.lower())


def shingles(row, of, k):
    w = words(row["prompt"] if of == "prompt" else "\n".join((row["prompt"], row["chosen"], row["rejected"])))
    return {tuple(w[i:i + k]) for i in range(len(w) - k + 1)} if len(w) >= k else {tuple(w)} - {()}


def brute(of, k, threshold):
    kept, removed = [], {}
    for i, row in enumerate(rows):
        s = shingles(row, of, k)
        for j, t in kept:
            if s | t and Fraction(len(s & t), len(s | t)) >= threshold:
                removed[i] = (j, len(s & t) / len(s | t))
                break
        else:
            kept.append((i, s))
    return removed


def exact(of):
    seen, removed = {}, {}
    for i, r in enumerate(rows):
        key = r["prompt"] if of == "prompt" else (r["prompt"], r["chosen"], r["rejected"])
        if seen.setdefault(key, i) != i:
            removed[i] = (seen[key], None)
    return removed


with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    (tmp / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp / "half.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:250]))
    (tmp / "rest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[250:]))

    def run(name, stage, threads="2", inputs=("p.jsonl",)):
        recipe = tmp / f"{name}.yaml"
        recipe.write_text(f"name: t\nstages:\n  - source: pairs\n  - dedup: {stage}\n")
        p = subprocess.run([REWARD, "curate", str(recipe), "--quiet", "--threads", threads, "--force", "-o", str(tmp / name)]
                           + sum((["--input", f"pairs={tmp / i}"] for i in inputs), []), capture_output=True, text=True)
        if p.returncode:
            return p.stderr
        return [json.loads(l) for l in open(tmp / name / "removed.jsonl")], (tmp / name / "removed.jsonl").read_bytes()

    line = lambda i: int(i.split(":")[1]) - 1
    cases = [("near", "pair", 5, "0.8")] + [(f"{{by: near, of: {of}, shingle: {k}, threshold: {t}, num_perm: {p}}}", of, k, t)
                                            for of, k, t, p in (("pair", 3, "0.5", 64), ("pair", 1, "0.9", 128), ("prompt", 2, "0.6", 100), ("prompt", 5, "1.0", 16))]
    for n, (stage, of, k, t) in enumerate(cases):
        removed, one = run(f"n{n}", stage)
        want = brute(of, k, Fraction(t))
        got = {line(r["id"]): (line(r["kept"]), r["jaccard"]) for r in removed}
        assert want and {i: j for i, (j, _) in got.items()} == {i: j for i, (j, _) in want.items()}, \
            (stage, len(got), len(want), [(i, got.get(i), want.get(i)) for i in sorted(set(got) | set(want)) if got.get(i, (-1,))[0] != want.get(i, (-1,))[0]][:5])
        assert all(abs(got[i][1] - want[i][1]) < 1e-5 for i in got) and all(r["stage"] == "dedup" and r["reason"].startswith("nearly the same") for r in removed)
        assert run(f"n{n}t", stage, "1")[1] == one, "depends on --threads"
        print(f"{stage}: {len(got)} of {len(rows)} removed, as by brute force")
    for of in ("pair", "prompt"):
        removed, _ = run(f"e{of}", "exact" if of == "pair" else "{by: exact, of: prompt}")
        assert {line(r["id"]): (line(r["kept"]), None) for r in removed} == exact(of), of
    two, _ = run("two", "near", inputs=("half.jsonl", "rest.jsonl"))
    assert len(two) == len(brute("pair", 5, Fraction("0.8"))) and any(r["id"].startswith("pairs:2:") and not r["kept"].startswith("pairs:2:") for r in two)
    for stage, say in (("{by: near, shingle: 0}", "shingle: expected a whole number from 1 to 64"), ("{by: near, threshold: 1.5}", "threshold"),
                       ("{by: exact, num_perm: 8}", "are for by: near"), ("fuzzy", "source")):
        assert say in run("bad", stage), (stage, run("bad", stage))
