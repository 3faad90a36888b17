#!/usr/bin/env python3
"""What the weights' type costs a reward model: score differences, flipped pairs, accuracy, speed, memory.

    python3 bench/dtype_cost.py MODEL PAIRS [--rows N] [--reward PROGRAM]        (needs: pip install numpy; gguf for Q…)

Each type is the same checkpoint with its weights rounded to it: f16 and bf16 as `--save-dtype` writes them; Q8_0 and the
like with every matrix but the head quantized by the gguf package and dequantized again, which is what `reward convert`
reads from such a file. All are scored by `reward score` in f32, the first one being the checkpoint as f32; "products" are the
F32 and BF16 weights scored with --dtype bf16.
"""
import argparse, gzip, json, shutil, tempfile
from pathlib import Path

import numpy as np

from common import timed, write_safetensors

ap = argparse.ArgumentParser()
ap.add_argument("model", type=Path)
ap.add_argument("pairs", type=Path)
ap.add_argument("--rows", type=int, default=100)
ap.add_argument("--reward", default=str(Path(__file__).resolve().parent.parent / "build/reward"))
a = ap.parse_args()


def to_bf16(x):
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def read(folder):
    """name, f32 array of every tensor"""
    for path in sorted(folder.glob("*.safetensors")):
        raw = np.memmap(path, np.uint8, "r")
        n = int(raw[:8].view(np.uint64)[0])
        for name, t in json.loads(bytes(raw[8:8 + n])).items():
            if name == "__metadata__":
                continue
            data = np.array(raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            x = from_bf16(data.view(np.uint16)) if t["dtype"] == "BF16" else data.view(np.float16 if t["dtype"] == "F16" else np.float32)
            yield name, x.astype(np.float32).reshape(t["shape"])


def rounded(name, x, kind):
    """The tensor as it is stored."""
    if kind == "F32":
        return x
    if kind == "F16":
        return x.astype(np.float16)
    if kind == "BF16":
        return to_bf16(x)
    if x.ndim < 2 or x.shape[0] == 1 or "score" in name:
        return x
    from gguf import GGMLQuantizationType, quants
    q = getattr(GGMLQuantizationType, kind)
    return quants.dequantize(quants.quantize(x, q), q).astype(np.float32).reshape(x.shape)


def write(source, folder, kind):
    for f in source.iterdir():
        if f.suffix in (".json", ".jinja", ".model") and f.name not in ("reward.json", "run.json", "model.safetensors.index.json"):
            shutil.copy(f, folder)
    stored = {"F16": "F16", "BF16": "BF16"}.get(kind, "F32")
    write_safetensors(folder / "model.safetensors", [(name, stored, rounded(name, x, kind)) for name, x in read(source)])


def score(model, rows, out, dtype):
    """chosen and rejected scores, seconds, peak MB of one run"""
    _, seconds, peak = timed([a.reward, "score", "--dtype", dtype, "--model", model, "--no-golden-check", "-q", rows, "-o", out])
    pairs = [json.loads(l) for l in open(out)]
    return np.array([[p["chosen_score"], p["rejected_score"]] for p in pairs]), seconds, peak


with tempfile.TemporaryDirectory() as tmp:
    rows, out = f"{tmp}/rows.jsonl", f"{tmp}/scored.jsonl"
    with (gzip.open if a.pairs.suffix == ".gz" else open)(a.pairs, "rt") as f, open(rows, "w") as g:
        lines = list(f)
        a.rows = min(a.rows, len(lines))
        g.writelines(lines[i * len(lines) // a.rows] for i in range(a.rows))  # evenly over the file
    few = f"{tmp}/few.jsonl"  # to be timed
    with open(few, "w") as g:
        g.writelines(lines[i * len(lines) // 8] for i in range(8))
    base = None
    print(f"{a.model.name}, {a.pairs.name}, {a.rows} pairs\n")
    print("| weights | bits | mean diff | max diff | mean / sd of scores | flips | accuracy | seconds for 8 pairs | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in "F32", "F32, products", "BF16", "BF16, products", "F16", "Q8_0", "Q4_1", "Q4_0":
        kind, products = kind.split(",")[0], "bf16" if "," in kind else "f32"
        folder = Path(tmp) / kind
        folder.mkdir()
        try:
            write(a.model, folder, kind)
        except ImportError:
            print(f"| {kind} | the gguf package is missing |")
            continue
        s, _, _ = score(folder, rows, out, products)
        _, seconds, peak = min((score(folder, few, out, products) for _ in range(3)), key=lambda r: r[1])
        base = s if base is None else base
        d, margin, was = np.abs(s - base), s[:, 0] - s[:, 1], base[:, 0] - base[:, 1]
        bits = {"F32": 32, "BF16": 16, "F16": 16, "Q8_0": 8.5, "Q4_1": 5, "Q4_0": 4.5}[kind]
        print(f"| {kind}{', bf16 products' if products == 'bf16' else ''} | {bits} | {d.mean():.5f} | {d.max():.5f} | {d.mean() / base.std():.5f} | {int((np.sign(margin) != np.sign(was)).sum())} | "
              f"{(margin > 0).mean():.3f} | {seconds:.1f} | {peak:.0f} |", flush=True)
        shutil.rmtree(folder)
