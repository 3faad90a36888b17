#!/usr/bin/env python3
"""Reward models with more than a logit, from the outside: attributes beside the scores, Magpie's column as curate reads
it, InternLM2's appended token. Plain Python 3 over tests/data/model; the program is $BUILD/reward.
"""
import json, os, shutil, struct, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
CONTROL = {190: "<|eot_id|>", 191: "<|start|>", 192: "assistant", 193: "<|end|>", 194: "\n\n"}
TEMPLATE = "{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
bad = 0


def check(ok, what):
    global bad
    if not ok:
        bad = 1
        print("FAIL:", what)


def run(*words, rows=None, status=0):
    text = "".join(json.dumps(r) + "\n" for r in rows) if rows is not None else None
    p = subprocess.run([REWARD, *map(str, words), "--quiet"], input=text, capture_output=True, text=True)
    check(p.returncode == status, f"{words}: exit status {p.returncode}: {p.stderr[-300:]}")
    return [json.loads(line) for line in p.stdout.splitlines()] if rows is not None else p.stdout


def model(folder, name):
    """A tiny model with a tokenizer of single characters."""
    out = Path(folder) / name
    shutil.copytree(ROOT / "tests" / "data" / "model" / name, out)
    chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,?!:;'\n"
    vocab = {"<unk>": 0, **{c: i + 3 for i, c in enumerate(chars)}}
    added = [dict(id=i, content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) for i, c in CONTROL.items()]
    (out / "tokenizer.json").write_text(json.dumps(dict(
        version="1.0", added_tokens=added, normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None,
        model=dict(type="BPE", unk_token="<unk>", fuse_unk=False, byte_fallback=False, vocab=vocab, merges=[]))))
    (out / "tokenizer_config.json").write_text(json.dumps(dict(eos_token="<|eot_id|>", chat_template=TEMPLATE)))
    return out


def tensors(folder):
    """Of a safetensors file: its names with what stands beside them, and where the values begin."""
    data = (folder / "model.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: v for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}, data[8 + n:]


def put_tensors(folder, parts):
    """parts: of each name its shape and its values, in f32."""
    header, body = {}, b""
    for name, (shape, piece) in sorted(parts.items()):
        header[name] = dict(dtype="F32", shape=shape, data_offsets=[len(body), len(body) + len(piece)])
        body += piece
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)


def set_config(folder, **fields):
    c = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**c, **fields}))


def parts_of(folder):
    header, values = tensors(folder)
    return {name: (t["shape"], values[slice(*t["data_offsets"])]) for name, t in header.items()}


def athene(folder):
    """A head that reads token 128003, so a vocabulary that has it."""
    parts = {name.replace("transformer.", "model."): part for name, part in parts_of(folder).items()}
    (_, width), piece = parts["model.embed_tokens.weight"]
    size = 128256 * width * 4
    parts["model.embed_tokens.weight"] = [128256, width], (piece * (size // len(piece) + 1))[:size]
    put_tensors(folder, parts)
    set_config(folder, vocab_size=128256, architectures=["AtheneForSequenceClassification"])


def flat_gate(folder):
    """ArmoRM with a gate of one layer."""
    parts = parts_of(folder)
    (_, first), last = parts["gating.layers.0.weight"], parts["gating.layers.3.bias"]
    parts = {name: part for name, part in parts.items() if not name.startswith("gating.layers.")}
    put_tensors(folder, parts | {"gating.layers.0.weight": ([19, 32], first[:19 * 32 * 4]), "gating.layers.0.bias": last})
    set_config(folder, gating_n_hidden=0)


work = tempfile.mkdtemp()
try:
    armo = model(work, "armorm")
    user, a, b = {"role": "user", "content": "What is 2?"}, "It is two.", "No idea at all!"
    say = lambda text: {"role": "assistant", "content": text}
    single = run("score", "--model", armo, rows=[{"messages": [user, say(t)], "attributes": "old"} for t in (a, b)])
    names = list(single[0]["attributes"])
    check(len(names) == 19 and names[0] == "helpsteer-helpfulness" and names[18] == "code-readability", names)
    check(single[0]["attributes"] != single[1]["attributes"] and single[0]["score"] != single[1]["score"], "two answers alike")
    both, pair = run("score", "--model", armo, rows=[{"prompt": "What is 2?", "responses": [a, b]},
                                                    {"prompt": "What is 2?", "chosen": a, "rejected": b}])
    check(both["scores"] == [r["score"] for r in single], "scores of a list of responses")
    check(both["attributes"] == [r["attributes"] for r in single], "attributes of a list of responses")
    check((pair["chosen_attributes"], pair["rejected_attributes"]) == tuple(r["attributes"] for r in single), "of a pair")
    check("rewards_armorm" not in both, "Magpie's column in a row that is not of its form")
    none = run("score", "--model", armo, rows=[{"text": "no turns"}, {"messages": [user, say(a)]}], status=1)
    check("assistant turn" in none[0]["error"] and none[1]["score"] == single[0]["score"], none[0])

    shutil.copytree(armo, flat := Path(work) / "flat")
    flat_gate(flat)
    flat_row = run("score", "--model", flat, rows=[{"messages": [user, say(a)]}])[0]
    check(flat_row["attributes"] == single[0]["attributes"] and flat_row["score"] != single[0]["score"], "a gate of one layer")

    magpie = [dict(uuid=str(i), instruction=f"What is {i}?", responses=[a, b, f"Maybe {i}."], task_category="Math",
                   rewards_armorm=[{"score": 9.0}] * 3, chosen=[user, say(b)], rejected=[user, say(a)]) for i in range(40)]
    path = Path(work) / "magpie.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in magpie))
    run("score", "--model", armo, path, "-o", Path(work) / "scored.jsonl")
    scored = [json.loads(line) for line in (Path(work) / "scored.jsonl").read_text().splitlines()]
    for r in scored:
        check(r["rewards_armorm"] == [{"score": s} for s in r["scores"]] and len(r["scores"]) == 3, r)
    check(scored[2]["scores"][:2] == both["scores"], "Magpie's instruction is the prompt")
    check("chosen_score" not in scored[0] and scored[0]["chosen"] == magpie[0]["chosen"], "Magpie's own pair stays")
    run("curate", ROOT / "recipes" / "skywork-80k-v0.1.yaml", "--only", "magpie-pro-llama3.1",
        "--input", f"magpie-pro-llama3.1={Path(work) / 'scored.jsonl'}", "-o", Path(work) / "curated")
    best = sorted(scored, key=lambda r: -sum(r["scores"]) / 3)[:12]
    kept = [json.loads(line) for line in (Path(work) / "curated" / "train.jsonl").read_text().splitlines()]
    check(sorted(k["chosen"][0]["content"] for k in kept) == sorted(r["instruction"] for r in best), "curate keeps the best 30%")
    for k in kept:
        r = next(r for r in scored if r["instruction"] == k["chosen"][0]["content"])
        check(k["chosen"][1]["content"] == r["responses"][r["scores"].index(max(r["scores"]))], k)

    intern = model(work, "internlm2")
    row = {"messages": [user, say(a)]}
    ids = run("tokenize", "--model", intern, rows=[row])[0]["input_ids"]
    scores = run("score", "--model", intern, rows=[row, {"input_ids": ids + [199]}, {"input_ids": ids}])
    check(scores[0]["score"] == scores[1]["score"] != scores[2]["score"], "the reward token is appended to messages alone")
    check(scores[0]["tokens"] == len(ids) + 1, "and counted")

    reader = model(work, "starling")
    ids = run("tokenize", "--model", reader, rows=[row])[0]["input_ids"]
    athene(reader)
    scores = run("score", "--model", reader, rows=[row, {"input_ids": ids + [128003]}, {"input_ids": ids}])
    check(scores[0]["score"] == scores[1]["score"] != scores[2]["score"], "Athene's token is appended to messages alone")
    check("128003" in run("inspect", reader), "inspect names Athene's token")

    deep, out = model(work, "inform"), Path(work) / "trained"
    pairs = Path(work) / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": "What is 2?", "chosen": a, "rejected": b}) + "\n")
    run("train", "--model", deep, "--data", pairs, "--steps", 2, "--lr", "1e-3", "--out", out)
    before, after = tensors(deep)[0], tensors(out)[0]
    check({k: v["shape"] for k, v in before.items()} == {k: v["shape"] for k, v in after.items()}, "tensors as they came")
    check(json.loads((out / "config.json").read_text())["architectures"] == ["INFORMForSequenceClassification"], "its class")
    asked = [{"prompt": "What is 2?", "chosen": a, "rejected": b}]
    old, new = (run("score", "--model", m, rows=asked)[0] for m in (deep, out))
    gain = lambda r: r["chosen_score"] - r["rejected_score"]
    check(gain(new) > gain(old), "two steps on a pair")

    def refused(what, *words):
        p = subprocess.run([REWARD, *map(str, words), "--quiet"], input="", capture_output=True, text=True)
        check(p.returncode in (1, 2) and what in p.stderr, f"{words}: {p.returncode}, {p.stderr}")

    refused("several tensors", "train", "--model", deep, "--data", pairs, "--steps", 1, "--lora-rank", 2, "--out", Path(work) / "no")
    set_config(deep, architectures=["LlamaForProcessRewardModel"])
    refused("LlamaForProcessRewardModel", "score", "--model", deep)

    # the texts of their own that docs/models.md has for two models
    lines = [l.strip() for l in (ROOT / "docs" / "models.md").read_text().splitlines() if l.startswith("    {{ bos_token }}")]
    talk = [user, say(a), {"role": "user", "content": "Why?"}, say(b)]
    for line, want in zip(lines, (f"Human: What is 2?\n\nAssistant: {a}\n\nHuman: Why?\n\nAssistant: {b}",
                                  f"[INST] What is 2? [/INST] {a}[INST] Why? [/INST] {b}"), strict=True):
        file = Path(work) / "text.jinja"
        file.write_text(line)
        got = run("tokenize", "--model", reader, "--chat-template", file, rows=[{"messages": talk}])[0]["input_ids"]
        check(got == run("tokenize", "--model", reader, rows=[{"text": want}])[0]["input_ids"], line)

    lm = model(work, "logit")
    logits = [run("score", "--model", lm, "--head", f"logit:{i}", rows=[row])[0]["score"] for i in (0, 7)]
    check(logits[0] != logits[1], "logits of two tokens alike")
    refused("score.weight is missing", "score", "--model", lm)
    refused("logit:ID", "score", "--model", lm, "--head", "lm")
finally:
    shutil.rmtree(work)
sys.exit(bad)
