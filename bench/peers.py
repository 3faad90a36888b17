"""The Python of the benchmarks' peers and the reward model that they and this program score with."""
import os, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def peer_python(*more):
    """$BENCH_PYTHON, or .deps/bench: a virtual environment made on first use. more: packages besides torch, transformers and trl."""
    if os.environ.get("BENCH_PYTHON"):
        return os.environ["BENCH_PYTHON"]
    python = str(ROOT / ".deps/bench/bin/python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", str(ROOT / ".deps/bench")], check=True)
    packages = ["torch", "transformers", "trl", *more]
    missing = "import importlib.util, sys; sys.exit(any(not importlib.util.find_spec(p) for p in sys.argv[1:]))"
    if subprocess.run([python, "-c", missing, *packages]).returncode:
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


def with_head(model, layers, rows, out):
    """A reward model at `out`: `model`, of so many layers, with a new head, all else as it is. rows: a file of pairs."""
    p = subprocess.run([str(ROOT / "build/reward"), "train", "--model", model, "--data", rows, "--out", str(out), "--freeze-layers", str(layers),
                        "--steps", "1", "--lr", "0", "--batch-size", "1"], capture_output=True, text=True)
    if p.returncode:
        sys.exit(p.stderr)
    return out
