#!/usr/bin/env python3
"""Full-width models of few layers: random checkpoints in the shapes of the large models, in bf16 shards, and `reward
score` on them beside transformers.

    python3 tests/reference/check_wide.py llama-3.1-8b|gemma-2-27b FOLDER [LAYERS]     needs torch, transformers

Writes FOLDER (2 GB and 5 GB with the default of 2 layers; it may hold such a checkpoint already), scores a few
conversations of random tokens with $BUILD/reward and with transformers in f32, eager attention, and compares.
"""
import json, os, resource, subprocess, sys, time
from pathlib import Path
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

ROOT = Path(__file__).resolve().parent.parent.parent
REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
SHAPES = {
    "llama-3.1-8b": dict(
        architectures=["LlamaForSequenceClassification"], model_type="llama", hidden_size=4096, intermediate_size=14336,
        num_attention_heads=32, num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072, rms_norm_eps=1e-5,
        rope_theta=500000.0, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                               original_max_position_embeddings=8192), pad_token_id=128255),
    "gemma-2-27b": dict(
        architectures=["Gemma2ForSequenceClassification"], model_type="gemma2", hidden_size=4608, intermediate_size=36864,
        num_attention_heads=32, num_key_value_heads=16, head_dim=128, vocab_size=256000, max_position_embeddings=8192,
        query_pre_attn_scalar=144, sliding_window=4096, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
        hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, rope_theta=10000.0, pad_token_id=0),
}
LENGTHS = [1, 5, 33, 64, 150]


def write(shape, folder, layers):
    config = dict(SHAPES[shape], num_hidden_layers=layers, id2label={"0": "LABEL_0"}, torch_dtype="bfloat16")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config))
    gen, shards, part = torch.Generator().manual_seed(1), [], {}
    norm = 0.0 if "gemma" in shape else 1.0
    parameters = list(model.named_parameters())
    for k, (name, p) in enumerate(parameters):
        part[name] = torch.empty(p.shape, dtype=torch.bfloat16)
        part[name].normal_(norm if "norm" in name else 0.0, 0.2 if p.dim() == 1 else p.shape[-1] ** -0.5, generator=gen)
        if sum(x.numel() for x in part.values()) > 1 << 29 or k + 1 == len(parameters):  # about 1 GB
            save_file(part, folder / f"part-{len(shards)}", metadata={"format": "pt"})
            shards.append(list(part))
            part = {}
    of, where = len(shards), {}
    for i, names in enumerate(shards):
        final = f"model-{i + 1:05d}-of-{of:05d}.safetensors"
        (folder / f"part-{i}").rename(folder / final)
        where.update({n: final for n in names})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}, indent=1))
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def main():
    shape, folder, layers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 2
    if not (folder / "config.json").exists():
        write(shape, folder, layers)
    gen = torch.Generator().manual_seed(2)
    rows = [torch.randint(5, SHAPES[shape]["vocab_size"] - 5, (n,), generator=gen).tolist() for n in LENGTHS]
    rows.append(rows[-1][:100] + rows[-2][:20])
    text = "".join(json.dumps({"input_ids": r}) + "\n" for r in rows)
    began = time.time()
    out = subprocess.run([REWARD, "score", "--quiet", "--model", folder], input=text, capture_output=True, text=True, check=True)
    took, peak = time.time() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    ours = torch.tensor([json.loads(l)["score"] for l in out.stdout.splitlines()])
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        theirs = torch.stack([model(torch.tensor([r])).logits[0, 0] for r in rows])
    worst = ((ours - theirs).abs() / (1 + theirs.abs())).max().item()
    print(f"{shape}, {layers} layers: {len(rows)} conversations of up to {max(map(len, rows))} tokens, worst difference {worst:.1e} "
          f"of scores from {theirs.min():.2f} to {theirs.max():.2f}; reward took {took:.1f} s and {peak:.0f} MiB at most (mapped weights included)")
    sys.exit(worst > 1e-4)


main()
