#!/usr/bin/env python3
"""The model card that `reward train` writes: what the hub reads of it, what it says, and that its code loads the model.

    tests/check_card.py            (REWARD_PYTHON: a Python with torch, transformers and peft, which runs the card's code)

Where those are not installed the code is not run, and the test is a skip (exit 77) after the rest has passed.
"""
import hashlib, json, os, random, re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
PYTHON = os.environ.get("REWARD_PYTHON", sys.executable)
TEMPLATE = "{% for m in messages %}{{ m['content'] | replace(' ', '') }}{% endfor %}" # the tiny vocabulary has no space


def reward(*args, cwd):
    p = subprocess.run([str(REWARD), *map(str, args)], capture_output=True, text=True, cwd=cwd)
    assert p.returncode == 0, p.stderr
    return p


def head_of(card):
    """The front matter: names with a text, or a list of texts."""
    front = re.match(r"---\n(.*?)\n---\n", card, re.S)[1]
    head, name = {}, None
    for line in front.splitlines():
        if line.startswith("#"): continue
        if line.startswith("- "): head[name].append(line[2:].strip('"'))
        else:
            name, _, value = line.partition(":")
            head[name] = value.strip().strip('"') or []
    return head


def check(tmp, out, adapter):
    card = (tmp / out / "README.md").read_text()
    head = head_of(card)
    assert head["library_name"] == ("peft" if adapter else "transformers") and head["pipeline_tag"] == "text-classification", head
    assert head["base_model"] == "org/base-1" and head["base_model_relation"] == ("adapter" if adapter else "finetune"), head
    assert head["datasets"] == ["train.jsonl"] and "reward-model" in head["tags"], head
    e = [json.loads(l) for l in open(tmp / out / "evals.jsonl")]
    i = e[-1]["items"]
    assert f"| held.jsonl | 12 | {i['accuracy']:.1f}% ({i['interval'][0]:.1f}–{i['interval'][1]:.1f}) | {e[0]['items']['accuracy']:.1f}% | {i['length_baseline']:.1f}% |" in card, card
    assert f"| train.jsonl | `{hashlib.sha256((tmp / 'train.jsonl').read_bytes()).hexdigest()}` |" in card
    assert f"| config.json | `{hashlib.sha256((tmp / BASE / 'config.json').read_bytes()).hexdigest()}` |" in card
    assert "| rows trained on | 20 |" in card and "| invalid | 1 |" in card and "| lr | 0.001 |" in card and "| eps |" not in card, card
    assert str(tmp) not in card, "the card names folders of this machine"
    return re.search(r"```python\n(.*?)```", card, re.S)[1]


BASE = "hub/models--org--base-1/snapshots/abc"
with tempfile.TemporaryDirectory() as folder:
    tmp = Path(folder)
    base = tmp / BASE
    base.mkdir(parents=True)
    for f in ("config.json", "model.safetensors"): (base / f).write_bytes((ROOT / "tests/data/model/llama" / f).read_bytes())
    for f in (ROOT / "tests/data/tokenizer/digits").iterdir(): (base / f.name).write_bytes(f.read_bytes())
    (base / "chat_template.jinja").write_text(TEMPLATE)
    rng = random.Random(2)
    row = lambda: json.dumps({"prompt": str(rng.randrange(99)), "chosen": str(rng.randrange(9999)), "rejected": str(rng.randrange(99999))})
    for name, n in ("train", 20), ("held", 12): (tmp / f"{name}.jsonl").write_text("".join(row() + "\n" for _ in range(n)) + ("{}\n" if name == "train" else ""))
    train = ["train", "-q", "--model", base, "--data", tmp / "train.jsonl", "--eval", tmp / "held.jsonl", "--batch-size", 8, "--lr", "1e-3", "--eps", "1e-8", "--threads", 1]
    reward(*train, "--out", "rm", cwd=tmp)
    reward(*train, "--out", "lora", "--lora-rank", 2, cwd=tmp)
    code = {out: check(tmp, out, out == "lora") for out in ("rm", "lora")}
    assert "a few training texts" in (tmp / "rm/README.md").read_text()
    reward(*train, "--out", "rm", "--force", "--golden", "none", cwd=tmp) # ours is replaced,
    assert "a few training texts" not in (tmp / "rm/README.md").read_text()
    (tmp / "lora/README.md").write_text("# mine\n") # and no other
    said = reward(*train[:1], *train[2:], "--out", "lora", "--lora-rank", 2, "--force", cwd=tmp).stderr
    assert (tmp / "lora/README.md").read_text() == "# mine\n" and "lora/README.md is not of this program and stays as it is" in said, said
    if subprocess.run([PYTHON, "-c", "import torch, transformers, peft"], capture_output=True).returncode:
        print("torch, transformers and peft are not installed: the card's code was not run")
        sys.exit(77)
    for out, text in code.items():
        p = subprocess.run([PYTHON, "-c", text.replace('"BASE"', repr(str(base)))], capture_output=True, text=True, cwd=tmp,
                           env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
        assert p.returncode == 0, p.stderr
        got = float(p.stdout.splitlines()[-1])
        want = json.loads(reward("score", "-q", "--model", out, "--prompt", "2 + 2?", "--response", "4", cwd=tmp).stdout)
        want = want.get("score", (want.get("scores") or [None])[0])
        assert abs(got - want) < 1e-4 * max(1, abs(want)), (out, got, want)
print("the card says what the run says, and its code loads the model")
