#!/usr/bin/env python3
"""Two builds of the program side by side: score, train, curate, decontaminate, tokenize and stats, in turn, in one run.

    bench/two_builds.py OLD NEW MODEL SOURCES [--runs N] [--pairs N] [--threads N] [--only COMMAND…]

OLD and NEW are programs, MODEL a checkpoint that both read, SOURCES a folder of bench/make_sources.py. Prints of each
command the median, least and greatest CPU seconds (user and system) and the median wall-clock seconds of the runs. On a shared
machine the least CPU seconds say most: whatever else runs can only add to them.
"""
import argparse, json, os, shutil, statistics, subprocess, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser()
ap.add_argument("old")
ap.add_argument("new")
ap.add_argument("model")
ap.add_argument("sources", type=Path)
ap.add_argument("--runs", type=int, default=5)
ap.add_argument("--pairs", type=int, default=12, help="of examples/benchmark.jsonl, again and again, to score and to train on")
ap.add_argument("--threads", default="1")
ap.add_argument("--only", nargs="+", help="some of score, train, curate, decontaminate, tokenize, stats")
a = ap.parse_args()


def run(command):
    """CPU seconds and wall-clock seconds."""
    began = time.time()
    p = subprocess.Popen([*map(str, command), "--threads", a.threads], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {status}\n{said.decode()}")
    return usage.ru_utime + usage.ru_stime, time.time() - began


def main(tmp):
    rows = tmp / "pairs.jsonl"
    lines = (ROOT / "examples/benchmark.jsonl").read_text().splitlines(True)
    rows.write_text("".join(lines[i % len(lines)] for i in range(a.pairs)))
    inputs = [f"{p.stem}={p}" for p in sorted(a.sources.glob("*.jsonl")) if p.stem not in ("bench", "scores")]
    rm, made = tmp / "rm", tmp / "set"
    bench, scores = a.sources / "bench.jsonl", a.sources / "scores.jsonl"
    run([a.old, "train", "--model", a.model, "--data", rows, "--out", rm, "--steps", 1, "--lr", 0, "--batch-size", 1, "--freeze-layers", 1])
    curate = lambda out: ["curate", ROOT / "recipes/skywork-80k-v0.2.yaml", "--input", *inputs, "--scores", scores, "--bench", bench, "-o", out]
    run([a.old, *curate(made)])
    texts = tmp / "texts.jsonl"
    texts.write_text("".join(json.dumps(dict(messages=json.loads(row)["chosen"])) + "\n" for row in open(made / "train.jsonl")))
    out = tmp / "out"
    commands = {
        "score": ["score", "--model", rm, rows, "-o", out / "rows.jsonl"],
        "train": ["train", "--model", a.model, "--data", rows, "--out", out / "rm", "--batch-size", 4, "--epochs", 1, "--lr", "1e-5"],
        "curate": curate(out / "set"),
        "decontaminate": ["decontaminate", "--train", a.sources / "magpie-air.jsonl", made / "train.jsonl", "--bench", bench, "-o", out / "clean"],
        "tokenize": ["tokenize", "--model", a.model, texts, "-o", out / "ids.jsonl"],
        "stats": ["stats", made / "train.jsonl", "--model", a.model],
    }
    print(f"{'':14} {'old: CPU s':>24} {'wall':>7} {'new: CPU s':>24} {'wall':>7} {'least, new to old':>18}")
    for name, command in commands.items():
        if a.only and name not in a.only:
            continue
        took = {a.old: [], a.new: []}
        for turn in range(a.runs):
            for program in (a.old, a.new) if turn % 2 == 0 else (a.new, a.old):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                took[program].append(run([program, *command]))
        cells = []
        for program in (a.old, a.new):
            cpu, wall = zip(*took[program])
            cells.append(f"{statistics.median(cpu):8.2f} ({min(cpu):.2f} to {max(cpu):.2f})".rjust(24) + f" {statistics.median(wall):7.2f}")
        change = min(t[0] for t in took[a.new]) / min(t[0] for t in took[a.old]) - 1
        print(f"{name:14} {cells[0]} {cells[1]} {change:+17.1%}", flush=True)


with tempfile.TemporaryDirectory() as folder:
    main(Path(folder))
