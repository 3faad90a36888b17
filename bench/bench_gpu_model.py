#!/usr/bin/env python3
"""Scores and trains a model of Llama-3.1-8B's shape on a GPU, beside transformers on the same rows.

usage: bench_gpu_model.py REWARD [FOLDER] [layers]    REWARD: the program; FOLDER: 60 GB for what is made (/dev/shm/bench)
The weights are random: speed does not depend on them. Needs torch, transformers and safetensors.
"""
import json
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

reward, work = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "/dev/shm/bench")
LAYERS = int(sys.argv[3]) if len(sys.argv) > 3 else 32
VOCAB, HIDDEN, FF, HEADS, KV, D = 128256, 4096, 14336, 32, 8, 128
GPU = torch.cuda.get_device_name()


def say(*a):
    print(*a, flush=True)


def make_model(folder):
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN,
              "intermediate_size": FF, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": D,
              "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
              "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
              "tie_word_embeddings": False, "bos_token_id": 128000, "eos_token_id": 128001, "pad_token_id": 128004, "num_labels": 1,
              "attention_bias": False, "mlp_bias": False, "initializer_range": 0.02}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    draw = lambda *shape: (torch.randn(*shape, device="cuda") * 0.02).to(torch.bfloat16).cpu()
    ones = lambda n: torch.ones(n, dtype=torch.bfloat16)
    index, shards = {}, []

    def put(tensors):
        shards.append(tensors)
        name = f"model-{len(shards):05d}-of-00005.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        index.update({k: name for k in tensors})

    put({"model.embed_tokens.weight": draw(VOCAB, HIDDEN), "model.norm.weight": ones(HIDDEN), "score.weight": draw(1, HIDDEN)})
    for part in range(4):
        t = {}
        for i in range(part * LAYERS // 4, (part + 1) * LAYERS // 4):
            at = f"model.layers.{i}."
            t |= {at + "input_layernorm.weight": ones(HIDDEN), at + "post_attention_layernorm.weight": ones(HIDDEN),
                  at + "self_attn.q_proj.weight": draw(HEADS * D, HIDDEN), at + "self_attn.k_proj.weight": draw(KV * D, HIDDEN),
                  at + "self_attn.v_proj.weight": draw(KV * D, HIDDEN), at + "self_attn.o_proj.weight": draw(HIDDEN, HEADS * D),
                  at + "mlp.gate_proj.weight": draw(FF, HIDDEN), at + "mlp.up_proj.weight": draw(FF, HIDDEN), at + "mlp.down_proj.weight": draw(HIDDEN, FF)}
        put(t)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": index}))


def rows(pairs):
    """Pairs as preference sets have them: prompts of 20 to 600 tokens, responses of 50 to 700."""
    d = random.Random(7)
    ids = lambda n: [d.randrange(1000, 100000) for _ in range(n)]
    out = []
    for _ in range(pairs):
        prompt = [128000] + ids(d.randrange(20, 600))
        out.append((prompt + ids(d.randrange(50, 700)), prompt + ids(d.randrange(50, 700))))
    return out


def run(name, *command, limit=150):
    began = time.time()
    try:
        r = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as e:
        say(f"-- {name}: no end in {limit} s: {(e.stderr or b'')[-600:]}")
        return None
    say(f"-- {name}: status {r.returncode}, {time.time() - began:.1f} s")
    say("\n".join("   " + line for line in (r.stderr.strip().splitlines()[-6:])))
    return r


model = work / "model"
began = time.time()
if not model.exists():
    make_model(model)
say(f"{GPU}; made a model of {LAYERS} layers in {time.time() - began:.1f} s")
pairs = rows(256)
single = [c for p in pairs for c in p]
tokens = sum(map(len, single))
(work / "single.jsonl").write_text("".join(json.dumps({"input_ids": c}) + "\n" for c in single))
(work / "pairs.jsonl").write_text("".join(json.dumps({"chosen_ids": c, "rejected_ids": r}) + "\n" for c, r in pairs))
figures = {}
for name, file in ("unshared", "single.jsonl"), ("shared", "pairs.jsonl"):
    r = run(f"score, {name}", reward, "score", "--model", model, "--device", "cuda", "--batch-tokens", "16384", work / file, "-o", work / f"{name}.out.jsonl")
    rate = r and re.search(r"tokens in [\d.]+ s: ([\d.]+) tokens/s", r.stderr)
    if rate:
        figures[name] = float(rate[1])
mine = [json.loads(x)["score"] for x in open(work / "unshared.out.jsonl")] if "unshared" in figures else None
if mine and "shared" in figures:
    both = [s for x in map(json.loads, open(work / "shared.out.jsonl")) for s in (x["chosen_score"], x["rejected_score"])]
    say(f"the same bits shared and alone: {both == mine}")

train = [reward, "train", "--model", model, "--data", work / "pairs.jsonl", "--device", "cuda", "--batch-size", "32", "--lr", "1e-6", "--optimizer-states", "8bit",
         "--save-minutes", "1000", "--tensorboard", "no", "--no-golden-check"]
run("train, everything: predicted", *train, "--out", work / "rm", "--dry-run", "--batch-tokens", "8192")
for name, extra in (("LoRA 16", ["--lora-rank", "16", "--batch-tokens", "8192", "--steps", "4"]),
                    ("everything, recomputed", ["--batch-tokens", "8192", "--steps", "4", "--recompute", "full"]),
                    ("everything, recomputed, 4096 a pass", ["--batch-tokens", "4096", "--steps", "4", "--recompute", "full"]),
                    ("everything, kept", ["--batch-tokens", "4096", "--steps", "4", "--recompute", "no"])):
    out = work / "rm"
    shutil.rmtree(out, ignore_errors=True)
    run(f"train, {name}", *train, *extra, "--out", out, limit=110)
    if (out / "metrics.jsonl").exists():
        m = [json.loads(x) for x in open(out / "metrics.jsonl")]
        say("   tokens/s by step:", [round(x["tokens_per_s"]) for x in m], "loss", [round(x["loss"], 4) for x in m])
        figures["train " + name] = max(x["tokens_per_s"] for x in m)
    if (out / "run.json").exists():
        say("   peak", json.loads((out / "run.json").read_text()).get("peak_memory_bytes"))
shutil.rmtree(work / "rm", ignore_errors=True)

# transformers: rows sorted by length, batches padded to their longest, each attention, the best of three budgets
from transformers import AutoModelForSequenceClassification

best = {}
for attention in ("sdpa", "flash_attention_2", "eager"):
    try:
        m = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.bfloat16, attn_implementation=attention, device_map="cuda").eval()
    except Exception as e:
        say(f"transformers, {attention}: {str(e)[:150]}")
        continue
    order = sorted(range(len(single)), key=lambda i: -len(single[i]))
    for budget in (8192, 16384, 32768):
        batches, at = [], 0
        while at < len(order):
            n = max(1, budget // len(single[order[at]]))
            batches.append(order[at:at + n])
            at += n
        scores = [0.0] * len(single)

        def go(these):
            for b in these:
                wide = len(single[b[0]])
                ids = torch.tensor([single[i] + [128004] * (wide - len(single[i])) for i in b], device="cuda")
                mask = torch.tensor([[1] * len(single[i]) + [0] * (wide - len(single[i])) for i in b], device="cuda")
                got = m(input_ids=ids, attention_mask=mask).logits[:, 0].float().cpu().tolist()
                for i, s in zip(b, got):
                    scores[i] = s

        try:
            with torch.inference_mode():
                go(batches[:2])
                torch.cuda.synchronize()
                began = time.time()
                go(batches)
                torch.cuda.synchronize()
        except Exception as e:
            say(f"transformers, {attention}, {budget}: {str(e)[:120]}")
            torch.cuda.empty_cache()
            continue
        rate = tokens / (time.time() - began)
        say(f"transformers, {attention}, batches of {budget} tokens: {rate:.0f} tokens/s")
        if rate > best.get("rate", 0):
            best = {"rate": rate, "how": f"{attention}, {budget}", "scores": list(scores)}
    del m
    torch.cuda.empty_cache()
if mine and best:
    a, b = torch.tensor(mine), torch.tensor(best["scores"])
    say(f"scores beside transformers: largest difference {(a - b).abs().max():.4f}, spread {a.std():.4f}, correlation {torch.corrcoef(torch.stack([a, b]))[0, 1]:.5f}")
say(f"{GPU}, Llama-3.1-8B's shape with {LAYERS} layers, {len(single)} conversations, {tokens} tokens (tokens/s, each conversation counted whole)")
for k, v in figures.items():
    say(f"{k:32} {v:9.0f}")
if best:
    say(f"{'transformers, ' + best['how']:32} {best['rate']:9.0f}")
    if "unshared" in figures:
        say(f"{'ratio unshared, shared':32} {figures['unshared'] / best['rate']:9.2f} {figures.get('shared', 0) / best['rate']:.2f}")
