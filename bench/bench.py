#!/usr/bin/env python3
"""Speeds of reward.c beside PyTorch's and the machine's limit, in one run.

    make bench                       (bench/bench.py [--model DIR] [--pairs N] [--rounds N])
    make bench-quick                 (bench/bench.py --quick: 4 pairs, nothing shared, three rounds, one setting of each peer)

Limit: oneDNN's product at the model's own shapes, all cores, best of repeated runs, weighted by each shape's share of the
work, measured before and after each figure of ours, whose share is of their mean (a rented core's speed changes from minute
to minute; --rounds N: the middle share of so many, and the least and greatest): sgemm for f32; for bf16, on levels that multiply it faster (amx, avx512bf16), of bf16 factors packed beforehand. Rate: the FLOPs of the linear layers and of causal attention that the unshared rows need
(forward 1x, training 3x), by seconds. Rows: random tokens, in pairs as long as real ones; pair_lengths.json has the tokens
of prompt, chosen and rejected conversation of the first 64 training pairs of docs/results.md in SmolLM2's template. Peer, on
the rows as long as real ones only: transformers in the same precision (bf16: the weights too), rows sorted by length, right-padded, its best batch size. Training: TRL's RewardTrainer without gradient checkpointing (its fastest
setting; bf16: its option bf16, f32 weights), the same rows sorted by length, its best of 1, 2 and 4 pairs a step. This program: 8 pairs a step, two
epochs. For both the first step, which touches new memory, and model loading are not counted.
--level avx2|avx512|avx512bf16 holds this program, oneDNN and PyTorch to it, for the figures of such a processor on a larger one.
Peers come from .deps/bench (a virtual environment made on first use by pip) or from $BENCH_PYTHON.
"""
import argparse, json, os, random, re, resource, subprocess, sys, tempfile, time
from pathlib import Path

from peers import peer_python, with_head

ROOT = Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser()
ap.add_argument("--model", default=str(ROOT / "demo/base"))
ap.add_argument("--pairs", type=int)
ap.add_argument("--quick", action="store_true")
ap.add_argument("--rounds", type=int)
ap.add_argument("--peer", choices=("score", "train"))
ap.add_argument("--level", choices=("avx2", "avx512", "avx512bf16"))
ap.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
ap.add_argument("--rows")
ap.add_argument("--batch", type=int)
a = ap.parse_args()
a.pairs = a.pairs or (4 if a.quick else 24)
a.rounds = a.rounds or (3 if a.quick else 1)
if a.level:
    isa = {"avx2": "AVX2", "avx512": "AVX512_CORE", "avx512bf16": "AVX512_CORE_BF16"}[a.level]
    vector = a.level.removesuffix("bf16")
    os.environ.update(REWARD_CPU_LEVEL=a.level, ONEDNN_MAX_CPU_ISA=isa, ATEN_CPU_CAPABILITY=vector, MKL_ENABLE_INSTRUCTIONS=vector.upper())


def make_rows(path, n, half):
    """n pairs as long as real ones; half: 150 to 450 tokens a side, the prompt half of them."""
    rng = random.Random(1)
    ids = lambda k: [rng.randrange(100, 40000) for _ in range(k)]
    real = json.loads((Path(__file__).parent / "pair_lengths.json").read_text())
    with open(path, "w") as f:
        for i in range(n):
            prompt, *sides = real[i % len(real)]
            if half:
                total = rng.randrange(150, 450)
                prompt, sides = (total + 1) // 2, [total, total]
            shared = ids(prompt)
            f.write(json.dumps(dict(zip(("chosen_ids", "rejected_ids"), (shared + ids(k - prompt) for k in sides)))) + "\n")


def peer(kind, model_dir, rows):
    import torch
    from transformers import AutoModelForSequenceClassification
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    bf16 = a.dtype == "bf16"
    m = AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=1, dtype=torch.bfloat16 if bf16 and kind == "score" else torch.float32)
    m.config.pad_token_id = 0
    pairs = [json.loads(l) for l in open(rows)]
    def batch(seqs):
        n = max(map(len, seqs))
        ids, mask = torch.zeros(len(seqs), n, dtype=torch.long), torch.zeros(len(seqs), n, dtype=torch.long)
        for i, s in enumerate(seqs):
            ids[i, :len(s)], mask[i, :len(s)] = torch.tensor(s), 1
        return ids, mask
    if kind == "score":
        seqs = sorted((s for p in pairs for s in (p["chosen_ids"], p["rejected_ids"])), key=len)
        best = None
        with torch.no_grad():
            m(*batch(seqs[:1]))
            for size in (4,) if a.quick else (1, 2, 4, 8):
                t = time.time()
                for i in range(0, len(seqs), size):
                    m(*batch(seqs[i:i + size]))
                t = time.time() - t
                best = min(best or (t, size), (t, size))
        print(json.dumps({"seconds": best[0], "batch": best[1], "tokens": sum(map(len, seqs))}))
        return
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer
    stamps = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kw):
            stamps.append(time.time())

    class Sorted(RewardTrainer):
        def _get_train_sampler(self, *args, **kw):
            return SequentialSampler(self.train_dataset)

    pairs.sort(key=lambda p: max(len(p["chosen_ids"]), len(p["rejected_ids"])))
    tok = AutoTokenizer.from_pretrained(model_dir)
    tok.pad_token = tok.pad_token or tok.eos_token
    with tempfile.TemporaryDirectory() as out:
        args = RewardConfig(output_dir=out, per_device_train_batch_size=a.batch, num_train_epochs=1, learning_rate=1e-6,
                            gradient_checkpointing=False, bf16=bf16, use_cpu=True, max_length=None, report_to=[],
                            save_strategy="no", logging_steps=1000, disable_tqdm=True, dataloader_pin_memory=False)
        Sorted(model=m, args=args, train_dataset=Dataset.from_list(pairs), processing_class=tok, callbacks=[Clock()]).train()
    tokens = sum(len(p["chosen_ids"]) + len(p["rejected_ids"]) for p in pairs[a.batch:])
    print(json.dumps({"seconds": stamps[-1] - stamps[0], "batch": a.batch, "tokens": tokens,
                      "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))

if a.peer:
    peer(a.peer, a.model, a.rows)
    sys.exit()


def limit():
    """{dtype: GFLOP/s}, as printed beside the level that this program takes."""
    version = subprocess.run([str(ROOT / "build/reward"), "--version"], capture_output=True, text=True, check=True).stdout
    level = re.search(r"^cpu +(\w+)$", version, re.M)[1]
    out = subprocess.run([str(ROOT / "build/check-ops"), "--speed", level], capture_output=True, text=True).stdout
    found = {}
    for dtype, table in re.findall(r"^GFLOP/s, (\w+),.*\n((?:\w+ +\d+ ->.*\n)+)", out, re.M):
        shapes = [(int(i) * int(o), float(r)) for i, o, r in re.findall(r"(\d+) -> +(\d+) .* (\S+)$", table, re.M)]
        found.setdefault(dtype, sum(w for w, _ in shapes) / sum(w / r for w, r in shapes))
    return found


def flops(rows, config):
    h, ff, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    linear = 2 * config["num_hidden_layers"] * (h * (q + 2 * kv) + q * h + 3 * h * ff)
    total = 0
    for p in map(json.loads, open(rows)):
        for s in (p["chosen_ids"], p["rejected_ids"]):
            total += len(s) * linear + config["num_hidden_layers"] * 4 * q * len(s) * (len(s) + 1) / 2
    return total


def ours(args):
    """What reward prints to stderr."""
    p = subprocess.run(["/usr/bin/env", str(ROOT / "build/reward"), *args], capture_output=True, text=True)
    if p.returncode:
        sys.exit(p.stderr)
    return p.stderr


def score(dtype, rows, share):
    log = ours(["score", "--dtype", dtype, "--model", f"{tmp}/rm", rows, "-o", f"{tmp}/out.jsonl", "--share", share])
    tokens, seconds = re.search(r"(\d+) tokens in ([\d.]+) s", log).groups()
    return int(tokens), float(seconds), flops(rows, config), None


def train(dtype, rows, share, *more):
    """Tokens and seconds of all steps but the first, their FLOPs, peak memory."""
    with tempfile.TemporaryDirectory(dir=tmp) as inside:
        folder = f"{inside}/run"
        ours(["train", "--dtype", dtype, "--model", a.model, "--data", rows, "--out", folder, "--batch-size", "8", "--epochs", "2", "--lr", "1e-6", "--share", share, *more])
        m = [json.loads(l) for l in open(f"{folder}/metrics.jsonl")]
        peak = json.load(open(f"{folder}/run.json"))["peak_memory_bytes"]
    seconds = sum((x["num_tokens"] - m[i]["num_tokens"]) / x["tokens_per_s"] for i, x in enumerate(m[1:]))
    tokens, epoch = m[-1]["num_tokens"] - m[0]["num_tokens"], m[-1]["num_tokens"] / 2
    return tokens, seconds, 3 * flops(rows, config) * tokens / epoch, peak


def say(text):
    """What is known so far: the whole takes minutes, and may be cut off."""
    print(text, file=sys.stderr, flush=True)


def measure(dtype, name, run, *args):
    """The round whose share of the limit around it is the middle one: (tokens, seconds, FLOPs, peak memory, shares)."""
    rounds = []
    for _ in range(a.rounds):
        tokens, seconds, work, peak = run(dtype, *args)
        limits.append(limit())
        rounds.append((work / seconds / 5e8 / (limits[-2][dtype] + limits[-1][dtype]), tokens, seconds, work, peak))
        say(f"{dtype} {name}: {tokens / seconds:.0f} tokens/s, {rounds[-1][0]:.0%} of the limit")
    rounds.sort(key=lambda r: r[0])
    results[dtype, name] = (*rounds[len(rounds) // 2][1:], [r[0] for r in rounds])


python = peer_python()
config = json.load(open(f"{a.model}/config.json"))
with tempfile.TemporaryDirectory() as tmp:
    plain, half = f"{tmp}/plain.jsonl", f"{tmp}/half.jsonl"
    make_rows(plain, a.pairs, False), make_rows(half, a.pairs, True)
    with_head(a.model, config["num_hidden_layers"], plain, f"{tmp}/rm")
    limits, results = [limit()], {}
    dtypes = [d for d in ("f32", "bf16") if d in limits[0] and not (a.level in ("avx2", "avx512") and d == "bf16")]
    for dtype in dtypes:
        scored = [("score, no sharing", plain, "no"), ("score, half shared: off", half, "no"), ("score, half shared: on", half, "yes")]
        trained = [("train, no sharing", plain, "no"), ("train, recomputing", plain, "no", "--recompute", "full"),
                   ("train, recomputing, 8-bit states", plain, "no", "--recompute", "full", "--optimizer-states", "8bit"),
                   ("train, half shared: off", half, "no"), ("train, half shared: on", half, "yes")]
        for name, *args in scored[:1] if a.quick else scored:
            measure(dtype, name, score, *args)
        for name, *args in trained[:1] if a.quick else trained:
            measure(dtype, name, train, *args)
    peers, all_peers = {}, []
    for dtype in dtypes:
        for kind, batch in (("score", 0), ("train", 2)) if a.quick else (("score", 0), ("train", 1), ("train", 2), ("train", 4)):
            if 2 * batch > a.pairs:  # one step is not counted
                continue
            out = subprocess.run([python, __file__, "--peer", kind, "--dtype", dtype, "--batch", str(batch), "--model", f"{tmp}/rm", "--rows", plain] + ["--quick"] * a.quick, capture_output=True, text=True)
            if out.returncode:
                print(out.stderr[-500:], file=sys.stderr)
                continue
            p = json.loads(out.stdout.strip().splitlines()[-1])
            all_peers.append((dtype, kind, p))
            say(f"{dtype} peer {kind}, batch {p['batch']}: {p['tokens'] / p['seconds']:.0f} tokens/s")
            if (dtype, kind) not in peers or p["tokens"] / p["seconds"] > peers[dtype, kind]["tokens"] / peers[dtype, kind]["seconds"]:
                peers[dtype, kind] = p
for dtype in dtypes:
    found = sorted(l[dtype] for l in limits)
    print(f"limit in {dtype}: {found[len(found) // 2]:.0f} GFLOP/s, {found[0]:.0f} to {found[-1]:.0f} (oneDNN at the model's shapes, {len(os.sched_getaffinity(0))} cores, {len(found)} times)")
print(f"{'':38}{'tokens/s':>10}{'GFLOP/s':>10}{'of limit':>10}{'x peer':>8}{'peak GB':>9}")
for (dtype, name), (tokens, seconds, work, peak, shares) in results.items():
    p = peers.get((dtype, name.split(",")[0])) if "half" not in name else None
    ratio = f"{tokens / seconds / (p['tokens'] / p['seconds']):8.2f}" if p else ""
    memory = f"{peak / 1e9:9.2f}" if peak else ""
    spread = f"  {shares[0]:.0%} to {shares[-1]:.0%}" if a.rounds > 1 else ""
    print(f"{dtype + ' ' + name:38}{tokens / seconds:10.0f}{work / seconds / 1e9:10.0f}{shares[len(shares) // 2]:10.0%}{ratio:8}{memory:9}{spread}".rstrip())
for dtype, kind, p in all_peers:
    memory = ""
    if kind == "train":
        shares = ", ".join(f"{results[dtype, 'train, ' + n][3] / p['peak']:.0%}" for n in ("no sharing", "recomputing", "recomputing, 8-bit states") if (dtype, "train, " + n) in results)
        memory = f", peak {p['peak'] / 1e9:.2f} GB (ours{'' if a.quick else ', recomputing, and with 8-bit states'}: {shares})"
    print(f"{dtype + ' peer ' + kind:38}{p['tokens'] / p['seconds']:10.0f}   batch {p['batch']}{memory}")
