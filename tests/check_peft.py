#!/usr/bin/env python3
"""Adapters against PEFT itself: training steps, scores, the merged model, and a directory that PEFT wrote.

    tests/check_peft.py            (REWARD_PYTHON: a Python with torch, transformers and peft)

Exit 77, a skip, where these are not installed.
"""
import json, os, random, subprocess, sys, tempfile
from pathlib import Path

if os.environ.get("REWARD_PYTHON") and not os.environ.get("REWARD_PYTHON_RUNS"):
    os.execve(os.environ["REWARD_PYTHON"], [os.environ["REWARD_PYTHON"], __file__], {**os.environ, "REWARD_PYTHON_RUNS": "1"})
try:
    import torch
    from peft import AutoPeftModelForSequenceClassification, LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification
except ImportError as e:
    print(f"not installed: {e}")
    sys.exit(77)

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
rng = random.Random(1)
draw = lambda n: [rng.randrange(3, 200) for _ in range(n)]


def run(*args):
    p = subprocess.run([str(REWARD), *map(str, args), "--quiet"], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr


def scores(path):
    return [json.loads(l)[k] for l in open(path) for k in ("chosen_score", "rejected_score")]


def base_of(family):
    return AutoModelForSequenceClassification.from_pretrained(ROOT / "tests/data/model" / family, num_labels=1, dtype=torch.float32)


def base_tensors(folder):
    return {k: t for f in sorted(folder.glob("model*.safetensors")) for k, t in load_file(f).items()}


def logit(m, ids):
    return m(torch.tensor([ids])).logits[0, 0]


for family in ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "nemotron", "llama_bias"):
    with tempfile.TemporaryDirectory() as tmp:
        tmp, base = Path(tmp), ROOT / "tests/data/model" / family
        pairs = []
        for _ in range(16):
            p = draw(rng.randrange(0, 20))
            pairs.append((p + draw(rng.randrange(1, 30)), p + draw(rng.randrange(1, 30))))
        with open(tmp / "pairs.jsonl", "w") as f:
            f.writelines(json.dumps({"chosen_ids": c, "rejected_ids": r}) + "\n" for c, r in pairs)
        common = ["train", "--dtype", "f32", "--model", base, "--data", tmp / "pairs.jsonl", "--batch-size", 4, "--shuffle", "no", "--warmup", 0,
                  "--schedule", "constant", "--lora-rank", 4, "--lora-alpha", 6, "--seed", 5, "--no-golden-check"]
        run(*common, "--steps", 1, "--lr", 0, "--out", tmp / "start")
        run(*common, "--steps", 4, "--lr", 1e-3, "--weight-decay", 0.01, "--out", tmp / "ours")
        m = PeftModel.from_pretrained(base_of(family), tmp / "start", is_trainable=True)
        m.eval()  # no dropout anywhere; gradients all the same
        opt = torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.01)
        for k in range(4):
            loss = sum(-torch.nn.functional.logsigmoid(logit(m, c) - logit(m, r)) for c, r in pairs[4 * k:4 * k + 4]) / 4
            opt.zero_grad(), loss.backward()
            torch.nn.utils.clip_grad_norm_([p for p in m.parameters() if p.requires_grad], 1.0)
            opt.step()
        m.save_pretrained(tmp / "theirs")
        start, ours, theirs = (load_file(tmp / d / "adapter_model.safetensors") for d in ("start", "ours", "theirs"))
        assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
        far = sum(((ours[k] - theirs[k]) ** 2).sum() for k in ours) ** 0.5
        moved = sum(((theirs[k] - start[k]) ** 2).sum() for k in ours) ** 0.5
        assert far < 5e-3 * moved, (family, far, moved)

        run("score", "--model", tmp / "ours", tmp / "pairs.jsonl", "-o", tmp / "a.jsonl")
        run("merge", tmp / "ours", "-o", tmp / "merged")
        with torch.no_grad():
            p = AutoPeftModelForSequenceClassification.from_pretrained(tmp / "ours", num_labels=1, dtype=torch.float32).eval()
            assert get_peft_model_state_dict(p).keys() == ours.keys()  # nothing missing, nothing left over
            merged, start_of = load_file(tmp / "merged" / "model.safetensors"), base_tensors(base)
            assert {k: (t.dtype, t.shape) for k, t in merged.items()} == {k: (t.dtype, t.shape) for k, t in start_of.items()}
            run("merge", tmp / "ours", "-o", tmp / "exact", "--save-dtype", "f32")
            run("score", "--model", tmp / "exact", tmp / "pairs.jsonl", "-o", tmp / "m.jsonl")
            q = AutoModelForSequenceClassification.from_pretrained(tmp / "exact", dtype=torch.float32).eval()
            flat = [s for pair in pairs for s in pair]
            for model, file in ((p, "a.jsonl"), (q, "m.jsonl")):
                worst = max(abs(logit(model, s).item() - x) for s, x in zip(flat, scores(tmp / file)))
                assert worst < 1e-4, (family, file, worst)
            # a directory of PEFT's own making, with other targets
            fresh = get_peft_model(base_of(family), LoraConfig(task_type="SEQ_CLS", r=3, lora_alpha=5, use_rslora=True,
                                                              target_modules=["q_proj", "down_proj"], modules_to_save=["score"]))
            for name, t in fresh.named_parameters():
                if "lora_B" in name:
                    t.copy_(torch.randn_like(t) * 0.1)
            fresh.eval().save_pretrained(tmp / "peft")
            run("score", "--model", tmp / "peft", tmp / "pairs.jsonl", "-o", tmp / "p.jsonl")
            worst = max(abs(logit(fresh, s).item() - x) for s, x in zip(flat, scores(tmp / "p.jsonl")))
            assert worst < 1e-4, (family, worst)
            # trained on from there, and new ones on the upper layers only: PEFT takes both whole
            run("train", "--model", tmp / "peft", "--data", tmp / "pairs.jsonl", "--steps", 2, "--lr", 1e-2, "--warmup", 0,
                "--lora-dropout", 0.2, "--out", tmp / "on")
            run("train", "--model", base, "--data", tmp / "pairs.jsonl", "--steps", 2, "--lr", 1e-2, "--warmup", 0, "--lora-rank", 2,
                "--freeze-layers", 1, "--out", tmp / "upper")
            for name in ("on", "upper"):
                r = AutoPeftModelForSequenceClassification.from_pretrained(tmp / name, num_labels=1, dtype=torch.float32).eval()
                assert get_peft_model_state_dict(r).keys() == load_file(tmp / name / "adapter_model.safetensors").keys(), name
                run("score", "--model", tmp / name, tmp / "pairs.jsonl", "-o", tmp / "o.jsonl")
                far_on = max(abs(logit(r, s).item() - x) for s, x in zip(flat, scores(tmp / "o.jsonl")))
                assert far_on < 1e-4, (family, name, far_on)
        print(f"{family}: after 4 steps {far / moved:.1e} of the way apart; scores within {worst:.1e}")
