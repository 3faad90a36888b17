#!/usr/bin/env python3
"""Records PEFT's answers for adapters over the tiny models of tests/data/model into tests/data/lora/.

    python3 tests/reference/make_lora.py [CASE ...]        needs torch, transformers, peft, safetensors

For each case: a directory as PEFT saves it (its base_model_name_or_path made relative) and expected.safetensors with
  ids.N, score.N            conversations of N tokens and their logits
  pair.P.chosen/.rejected   three pairs; two share a prompt
  loss, grad.NAME           Bradley-Terry loss of the pairs, and its gradient for every trained tensor
  train.loss, train.norm    loss and gradient norm over 8 steps of AdamW on the same pairs
Everything is f32 on the CPU with eager attention and without dropout.
"""
import json, shutil, sys
from pathlib import Path
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

DATA = Path(__file__).resolve().parent.parent / "data"
LENGTHS = [1, 7, 31, 64, 257]
CASES = {  # base, then fields of LoraConfig
    "llama": ("llama", dict(r=4, lora_alpha=6, target_modules="all-linear")),
    "qwen2": ("qwen2", dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj"], use_rslora=True)),
    "gemma2": ("gemma2", dict(r=4, lora_alpha=7, target_modules=["q_proj", "k_proj", "o_proj", "down_proj"],
                              layers_to_transform=[1, 3], rank_pattern={"down_proj": 2, r"^model\.layers\.[12]\.self_attn\.o.*": 6},
                              alpha_pattern={"k_proj": 3.5})),
    "nemotron": ("nemotron", dict(r=5, lora_alpha=5, target_modules=r".*\.(up_proj|o_proj|k_proj)", exclude_modules=["layers.0.mlp.up_proj"])),
    "llama_bias": ("llama_bias", dict(r=2, lora_alpha=8, target_modules="all-linear")),
}


def score(model, ids):
    return model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits[0, 0]


def record(name, base, fields):
    folder = DATA / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(sum(name.encode()))
    model = AutoModelForSequenceClassification.from_pretrained(DATA / "model" / base, num_labels=1, dtype=torch.float32,
                                                               attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", lora_dropout=0.0, modules_to_save=["score"], **fields)).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.3)
            elif p.requires_grad and "score" in key:
                p.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = f"../../model/{base}"
    for key in ("target_modules", "exclude_modules"):  # a set in no fixed order
        if isinstance(config[key], list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    trained = {k.replace(".default", "").replace("modules_to_save.", ""): p for k, p in model.named_parameters() if p.requires_grad}
    gen = torch.Generator().manual_seed(7)
    draw = lambda n: torch.randint(3, 200, (n,), generator=gen).tolist()
    out = {}
    for n in LENGTHS:
        ids = draw(n)
        with torch.no_grad():
            out[f"ids.{n}"], out[f"score.{n}"] = torch.tensor(ids, dtype=torch.int32), score(model, ids).reshape(1)
    prompts = [draw(20), draw(9), []]
    pairs = [(prompts[0] + draw(12), prompts[0] + draw(5)), (prompts[1] + draw(1), prompts[1] + draw(30)), (draw(8), draw(17))]
    for i, (c, r) in enumerate(pairs):
        out[f"pair.{i}.chosen"], out[f"pair.{i}.rejected"] = torch.tensor(c, dtype=torch.int32), torch.tensor(r, dtype=torch.int32)

    def loss_of():
        return -torch.nn.functional.logsigmoid(torch.stack([score(model, c) - score(model, r) for c, r in pairs])).mean()

    loss = loss_of()
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    for key, p in trained.items():
        out["grad." + key] = p.grad.detach().clone()
    opt = torch.optim.AdamW(trained.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses, norms = [], []
    for _ in range(8):
        opt.zero_grad()
        loss = loss_of()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(list(trained.values()), 1.0))
        losses.append(loss.detach())
        opt.step()
    out["train.loss"], out["train.norm"] = torch.stack(losses), torch.stack(norms)
    save_file(out, folder / "expected.safetensors")
    print(name, len(trained), "trained tensors,", sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KB")


for case in sys.argv[1:] or CASES:
    record(case, *CASES[case])
