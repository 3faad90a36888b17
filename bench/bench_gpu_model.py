#!/usr/bin/env python3
"""Scores and trains models of published shapes on a GPU, beside transformers on the same rows.

usage: bench_gpu_model.py REWARD [--folder DIR] [--pairs N] [SHAPE[:LAYERS]…]
REWARD: the program; DIR: room for what is made (/dev/shm/bench; 60 GB for all of Llama-3.1-8B); SHAPE: of
tests/cuda/hollow_model.py (llama-3.1-8b gemma-2-27b:8). The weights are random and made on the GPU: speed does not depend on them.
Seconds by kind of operation are bench-cuda's: build/bench-cuda layer SHAPE TOKENS. Needs torch, transformers and safetensors. Without
a GPU (small small-gemma-2, on the emulator) transformers computes on the processor.
"""
import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/cuda"))
from hollow_model import config_of, layer_shapes, other_shapes

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("reward")
parser.add_argument("shapes", nargs="*", default=["llama-3.1-8b", "gemma-2-27b:8"])
parser.add_argument("--folder", type=Path, default=Path("/dev/shm/bench"))
parser.add_argument("--pairs", type=int, default=256)
options = parser.parse_intermixed_args()
reward, work = options.reward, options.folder
PLACE = "cuda" if torch.cuda.is_available() else "cpu"
GPU = torch.cuda.get_device_name() if PLACE == "cuda" else "no GPU"
settle = torch.cuda.synchronize if PLACE == "cuda" else lambda: None


def say(*a):
    print(*a, flush=True)


def make_model(folder, c):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(c))
    torch.manual_seed(0)
    unit = 0.0 if c["model_type"] == "gemma2" else 1.0  # its norms multiply by 1 + w

    def value(shape):
        if len(shape) == 1:
            return torch.full(shape, unit, dtype=torch.bfloat16)
        return (torch.randn(*shape, device=PLACE) * 0.02).to(torch.bfloat16).cpu()

    index = {}
    for part, tensors in enumerate([other_shapes(c)] + [layer_shapes(c, i) for i in range(c["num_hidden_layers"])]):
        name = f"model-{part:05d}.safetensors"
        save_file({k: value(s) for k, s in tensors.items()}, folder / name, metadata={"format": "pt"})
        index |= {k: name for k in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": index}))


def rows(c, pairs):
    """Pairs as preference sets have them: prompts of 20 to 600 tokens, responses of 50 to 700; a tenth of it for small models."""
    d = random.Random(7)
    least, unit = 10, 1 if c["vocab_size"] > 1000 else 10
    ids = lambda a, b: [d.randrange(least, min(c["vocab_size"], 100000)) for _ in range(d.randrange(a, b) // unit)]
    out = []
    for _ in range(pairs):
        prompt = [c["bos_token_id"]] + ids(20, 600)
        out.append((prompt + ids(50, 700), prompt + ids(50, 700)))
    return out


def run(name, *command, limit=150):
    began = time.time()
    try:
        r = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as e:
        say(f"-- {name}: no end in {limit} s: {(e.stderr or b'')[-600:]}")
        return None
    say(f"-- {name}: status {r.returncode}, {time.time() - began:.1f} s")
    say("\n".join("   " + line for line in r.stderr.strip().splitlines()[-6:]))
    return r


def score(model, figures):
    for name, file in ("score, each by itself", "single.jsonl"), ("score, pairs", "pairs.jsonl"):
        r = run(name, reward, "score", "--model", model, "--device", "cuda", "--batch-tokens", "16384", work / file, "-o", work / f"{file}.scores")
        rate = r and re.search(r"tokens in [\d.]+ s: ([\d.]+) tokens/s", r.stderr)
        if rate:
            figures[name] = float(rate[1])
    if len(figures) < 2:
        return None
    mine = [json.loads(x)["score"] for x in open(work / "single.jsonl.scores")]
    both = [s for x in map(json.loads, open(work / "pairs.jsonl.scores")) for s in (x["chosen_score"], x["rejected_score"])]
    say(f"the same bits shared and alone: {both == mine}")
    return mine


def train(model, figures):
    command = [reward, "train", "--model", model, "--data", work / "pairs.jsonl", "--device", "cuda", "--batch-size", "32", "--lr", "1e-6",
               "--optimizer-states", "8bit", "--save-minutes", "1000", "--tensorboard", "no", "--no-golden-check", "--golden", "none"]
    out = work / "rm"
    for what in ["--lora-rank", "16"], []:
        for recompute in ("no", "mlp", "full"):
            name = f"train, {' '.join(what) or 'everything'}, --recompute {recompute}"
            how = command + what + ["--batch-tokens", "8192" if recompute == "full" else "4096", "--recompute", recompute, "--out", out]
            shutil.rmtree(out, ignore_errors=True)
            r = run(name + ": memory", *how, "--dry-run", limit=110)
            memory = dict(line.split()[:2] for line in (r.stdout if r else "").splitlines() if line.startswith("device_memory"))
            if len(memory) < 2:
                continue  # it does not fit, and said so
            say("   device memory, GB: predicted {:.3f}, taken {:.3f}".format(*(int(memory[f"device_memory_{k}"]) / 1e9 for k in ("bytes", "taken"))))
            run(name, *how, "--steps", "4", limit=110)
            if (out / "metrics.jsonl").exists():
                m = [json.loads(x) for x in open(out / "metrics.jsonl")]
                say("   tokens/s by step:", [round(x["tokens_per_s"]) for x in m], "loss", [round(x["loss"], 4) for x in m])
                figures[name] = max(x["tokens_per_s"] for x in m)
    shutil.rmtree(out, ignore_errors=True)


def peer_batches(m, single, order, budget, pad):
    """Scores of rows sorted by length, in batches of so many padded tokens; and tokens/s after two batches to warm up."""
    batches, at, scores = [], 0, [0.0] * len(single)
    while at < len(order):
        n = max(1, budget // len(single[order[at]]))
        batches.append(order[at:at + n])
        at += n

    def go(these):
        for b in these:
            wide = len(single[b[0]])
            ids = torch.tensor([single[i] + [pad] * (wide - len(single[i])) for i in b], device=PLACE)
            mask = torch.tensor([[1] * len(single[i]) + [0] * (wide - len(single[i])) for i in b], device=PLACE)
            for i, s in zip(b, m(input_ids=ids, attention_mask=mask).logits[:, 0].float().cpu().tolist()):
                scores[i] = s

    with torch.inference_mode():
        go(batches[:2])
        settle()
        began = time.time()
        go(batches)
        settle()
    return scores, sum(map(len, single)) / (time.time() - began)


def peer(model, single, pad):
    """transformers, with each attention that it has here: the best of three sizes of batch."""
    from transformers import AutoModelForSequenceClassification
    best = {}
    order = sorted(range(len(single)), key=lambda i: -len(single[i]))
    for attention in ("sdpa", "flash_attention_2", "eager"):
        try:
            m = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.bfloat16, attn_implementation=attention).to(PLACE).eval()
        except Exception as e:
            say(f"transformers, {attention}: {str(e)[:150]}")
            continue
        for budget in (8192, 16384, 32768):
            try:
                scores, rate = peer_batches(m, single, order, budget, pad)
            except Exception as e:
                say(f"transformers, {attention}, {budget}: {str(e)[:120]}")
                if PLACE == "cuda":
                    torch.cuda.empty_cache()
                continue
            say(f"transformers, {attention}, batches of {budget} tokens: {rate:.0f} tokens/s")
            if rate > best.get("rate", 0):
                best = {"rate": rate, "how": f"transformers, {attention}, {budget}", "scores": scores}
        del m
        if PLACE == "cuda":
            torch.cuda.empty_cache()
    return best


def measure(shape, layers):
    c = config_of(shape, layers)
    model = work / f"{shape}-{c['num_hidden_layers']}"
    began = time.time()
    if not model.exists():
        make_model(model, c)
    say(f"== {GPU}; made {shape} of {c['num_hidden_layers']} layers in {time.time() - began:.1f} s")
    pairs = rows(c, options.pairs)
    single = [ids for p in pairs for ids in p]
    (work / "single.jsonl").write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in single))
    (work / "pairs.jsonl").write_text("".join(json.dumps({"chosen_ids": a, "rejected_ids": b}) + "\n" for a, b in pairs))
    figures = {}
    mine = score(model, figures)
    train(model, figures)
    best = peer(model, single, c["pad_token_id"])
    if mine and best:
        a, b = torch.tensor(mine), torch.tensor(best["scores"])
        say(f"scores beside transformers: largest difference {(a - b).abs().max():.4f}, spread {a.std():.4f}, "
            f"correlation {torch.corrcoef(torch.stack([a, b]))[0, 1]:.5f}")
    return [f"{GPU}, {shape} with {c['num_hidden_layers']} layers, {len(single)} conversations, {sum(map(len, single))} tokens "
            "(tokens/s, each conversation counted whole)"] + [
                f"{k:46} {v:9.0f}" + (f" {v / best['rate']:.2f}" if best and k.startswith("score") else "") for k, v in figures.items()] + (
                    [f"{best['how']:46} {best['rate']:9.0f}"] if best else [])


table = []
for s in options.shapes:
    table += measure(s.split(":")[0], int(s.split(":")[1]) if ":" in s else None)
say("\n".join(table))
