#!/usr/bin/env python3
"""What a pair and a gigabyte more cost `reward curate` and `reward decontaminate`: peak memory and processor seconds at two sizes,
and their slopes. The sizes are the sources of bench/make_sources.py (DIR), each given several times as further files of its source.

    bench/bench_slopes.py DIR [--copies 10 100] [--train-copies 2 20] [--threads N]

The recipe is skywork-80k-v0.2 without its agree stage. `decontaminate` reads the three large Magpie sources and writes as much; its
results need that room in DIR, and go.
"""
import argparse, json, os, shutil, subprocess, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
ap = argparse.ArgumentParser()
ap.add_argument("dir", type=Path)
ap.add_argument("--copies", type=int, nargs=2, default=(10, 100))
ap.add_argument("--train-copies", type=int, nargs=2, default=(2, 20))
ap.add_argument("--threads", default="2")
a = ap.parse_args()
sources = [x for x in (a.dir / "args.txt").read_text().split() if "=" in x]
magpie = [x.split("=")[1] for x in sources if "magpie-pro" in x or "magpie-air" in x]
lines = (ROOT / "recipes/skywork-80k-v0.2.yaml").read_text().splitlines(keepends=True)


def run(out, *command):
    """bytes of memory at the peak, processor seconds"""
    p = subprocess.Popen([REWARD, *map(str, command), "--quiet", "--threads", a.threads, "-o", out], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    assert status == 0
    return usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def row(name, pairs, gb, peak, cpu):
    print(f"{name:24}{pairs[1]:12,}{gb[1]:8.1f}{peak[1] / 1e6:9.0f}{cpu[1]:9.1f}"
          f"{(peak[1] - peak[0]) / (pairs[1] - pairs[0]):15.0f}{(cpu[1] - cpu[0]) / (gb[1] - gb[0]):15.2f}", flush=True)


print(f"{'':24}{'pairs':>12}{'GB':>8}{'peak MB':>9}{'CPU s':>9}{'bytes a pair':>15}{'CPU s a GB':>15}")
with tempfile.TemporaryDirectory(dir=a.dir) as tmp:
    out, recipe = Path(tmp) / "out", Path(tmp) / "recipe.yaml"
    recipe.write_text("".join(x for x in lines if "agree" not in x))
    found = []
    for n in a.copies:
        inputs = [x for s in sources for x in ["--input", s] * n]
        peak, cpu = run(out, "curate", recipe, *inputs, "--bench", a.dir / "bench.jsonl")
        pairs = sum(s["pairs"] for s in json.load(open(out / "report.json"))["sources"].values())
        found.append((pairs, n * sum(os.path.getsize(s.split("=")[1]) for s in sources) / 1e9, peak, cpu))
        shutil.rmtree(out)
    row("curate", *zip(*found))
    found = []
    for n in a.train_copies:
        rows = n * sum(1 for f in magpie for _ in open(f, "rb"))
        peak, cpu = run(out, "decontaminate", "--train", *magpie * n, "--bench", a.dir / "bench.jsonl")
        found.append((rows, n * sum(map(os.path.getsize, magpie)) / 1e9, peak, cpu))
        shutil.rmtree(out)
    row("decontaminate", *zip(*found))
