#!/usr/bin/env python3
"""Training as one process of N threads and as N ranks of one thread, in turn, in one run: seconds a step and memory.

    bench/bench_ranks.py MODEL ROWS [--ranks 2] [--steps 3] [--runs 3] [-- OPTION...]

ROWS are pairs; the options behind -- are train's (--shard all). Both sides run the same slices, so their weights are compared too.
A step's time is that of the run without its opening and saving (`seconds` of run.json). mpirun (Open MPI) starts the ranks.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("model")
ap.add_argument("rows")
ap.add_argument("--ranks", type=int, default=2)
ap.add_argument("--steps", type=int, default=3)
ap.add_argument("--runs", type=int, default=3)
ap.add_argument("--batch-size", type=int, default=8)
a = ap.parse_args(sys.argv[1:cut])
more = sys.argv[cut + 1 :]


def train(folder, launcher, threads):
    """Seconds a step and the largest process's GB."""
    subprocess.run([*launcher, str(ROOT / "build" / "reward"), "train", "-q", "--model", a.model, "--data", a.rows, "--out", str(folder), "--force",
                    "--steps", str(a.steps), "--batch-size", str(a.batch_size), "--slices", str(a.ranks), "--threads", str(threads), *more],
                   check=True, stdin=subprocess.DEVNULL)
    run = json.loads((folder / "run.json").read_text())
    return run["seconds"] / a.steps, run["peak_memory_bytes"] / 1e9


with tempfile.TemporaryDirectory() as tmp:
    one, many = Path(tmp) / "one", Path(tmp) / "many"
    launcher = ["mpirun", "--bind-to", "none", "--oversubscribe", *(["--allow-run-as-root"] if not os.getuid() else []), "-n", str(a.ranks)]
    pairs = [(train(one, [], a.ranks), train(many, launcher, 1)) for _ in range(a.runs)]
    same = all((one / n).read_bytes() == (many / n).read_bytes() for n in ("model.safetensors",) if (one / n).exists())
print("| | seconds a step, median | least | GB of a process |\n|---|---|---|---|")
for side, name in enumerate((f"1 process, {a.ranks} threads", f"{a.ranks} ranks, 1 thread each")):
    steps = [p[side][0] for p in pairs]
    print(f"| {name} | {statistics.median(steps):.2f} | {min(steps):.2f} | {max(p[side][1] for p in pairs):.2f} |")
print(f"ratio of each pair of runs: {', '.join(f'{m[0] / o[0]:.2f}' for o, m in pairs)}; weights {'equal' if same else 'DIFFER'}")
