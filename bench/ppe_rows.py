#!/usr/bin/env python3
"""Scoring PPE-like rows: 32 responses a prompt, the prompt half of each conversation's tokens, shared, not shared, and by
transformers; by processor's seconds, so that other work on the machine counts for little.

    bench/ppe_rows.py --model DIR [--prompts 2] [--half 128] [--rounds 2] [--batches 1,4,8,16]        (the peer's python: $BENCH_PYTHON)

A rate is all conversations' tokens by the processor's seconds of one thread, the opening of the model (the seconds of a row
of one word) taken off; the best of the rounds, in each of which all are run in turn. The peer has the same ids, sorted by
length, right-padded, its best batch size, and its loading is not counted.
"""
import argparse, json, os, random, resource, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser()
ap.add_argument("--model", required=True)
ap.add_argument("--prompts", type=int, default=2)
ap.add_argument("--half", type=int, default=128)
ap.add_argument("--rounds", type=int, default=2)
ap.add_argument("--batches", default="1,4,8,16", help="of the peer")
ap.add_argument("--peer")
a = ap.parse_args()
WORDS = "time year people way day man thing woman life child world school state family student group country problem hand part".split()


def peer():
    import torch
    from transformers import AutoModelForSequenceClassification
    torch.set_num_threads(1)
    m = AutoModelForSequenceClassification.from_pretrained(a.model, num_labels=1, dtype=torch.float32)
    m.config.pad_token_id = 0
    rows = sorted((json.loads(l)["input_ids"] for l in open(a.peer)), key=len)
    best, scores = None, None
    with torch.no_grad():
        for size in map(int, a.batches.split(",")):
            t, got = time.process_time(), []
            for i in range(0, len(rows), size):
                of = rows[i:i + size]
                ids = torch.zeros(len(of), max(map(len, of)), dtype=torch.long)
                mask = torch.zeros_like(ids)
                for k, s in enumerate(of):
                    ids[k, :len(s)], mask[k, :len(s)] = torch.tensor(s), 1
                hidden = m.model(ids, attention_mask=mask).last_hidden_state
                got += m.score(hidden[torch.arange(len(of)), mask.sum(1) - 1])[:, 0].tolist()
            t = time.process_time() - t
            best, scores = min(best or (t, size), (t, size)), got
    print(json.dumps({"seconds": best[0], "batch": best[1], "scores": scores}))


def ours(*args):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    p = subprocess.run([ROOT / "build/reward", *map(str, args)], capture_output=True, text=True)
    if p.returncode:
        sys.exit(p.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, p.stdout


def ours_of(rows):
    path = Path(tmp) / "some.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return ours("tokenize", "-q", "--model", a.model, path)[1]


def conversation(prompt, response):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]}


if a.peer:
    peer()
    sys.exit()
with tempfile.TemporaryDirectory() as tmp:
    rng = random.Random(1)
    text = lambda n: " ".join(rng.choice(WORDS) for _ in range(n))
    around = len(json.loads(ours_of([conversation("", "x")]))["input_ids"])  # what the template puts around
    rows = [{"prompt": text(a.half - around), **{f"response_{k}": text(a.half) for k in range(1, 33)}} for _ in range(a.prompts)]
    data, ids, one = (Path(tmp) / n for n in ("rows.jsonl", "ids.jsonl", "one.jsonl"))
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))
    one.write_text(json.dumps({"prompt": "a", "response_1": "b", "response_2": "c"}) + "\n")
    ids.write_text(ours_of([conversation(r["prompt"], r[f"response_{k}"]) for r in rows for k in range(1, 33)]))
    all_ids = [json.loads(l)["input_ids"] for l in ids.open()]
    total = sum(map(len, all_ids))
    shared = sum(next(i for i, (x, y) in enumerate(zip(all_ids[32 * p], all_ids[32 * p + 1])) if x != y) for p in range(a.prompts))
    score = lambda path, share: ours("score", "-q", "--model", a.model, "--dtype", "f32", "--threads", 1, "--share", share, path)
    seconds = {"shared": [], "not shared": [], "transformers": []}
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for _ in range(a.rounds):
        opening = min(score(one, "yes")[0] for _ in range(2))
        out = {}
        for name, share in (("shared", "yes"), ("not shared", "no")):
            t, out[name] = score(data, share)
            seconds[name].append(t - opening)
            print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr)
        assert out["shared"] == out["not shared"], "a score depends on sharing"
        p = subprocess.run([os.environ.get("BENCH_PYTHON", sys.executable), __file__, "--model", a.model, "--batches", a.batches, "--peer", ids],
                           capture_output=True, text=True, env=env)
        if p.returncode:
            sys.exit(p.stderr)
        theirs = json.loads(p.stdout)
        seconds["transformers"].append(theirs["seconds"])
        print(f"transformers: {theirs['seconds']:.1f} s", file=sys.stderr)
        mine = sorted(s for l in out["shared"].splitlines() for s in json.loads(l)["scores"])
        assert max(abs(x - y) for x, y in zip(mine, sorted(theirs["scores"]))) < 1e-3, "the peer has other scores"
    print(f"{a.prompts} prompts with 32 responses, {total:,} tokens, {total / len(all_ids):.0f} a conversation, "
          f"{100 * 32 * shared / total:.0f}% of them the prompt's; the peer's best batch {theirs['batch']}\n")
    print(f"| {'':12} | tokens a second of one core | beside not shared | beside transformers |\n|---|---|---|---|")
    best = {k: min(v) for k, v in seconds.items()}
    for k, s in best.items():
        print(f"| {k:12} | {total / s:,.0f} | {best['not shared'] / s:.2f} | {best['transformers'] / s:.2f} |")
    print("\nrounds: " + ", ".join(f"{n / s:.2f}" for n, s in zip(seconds["not shared"], seconds["shared"])) + " shared beside not shared")
