#!/usr/bin/env python3
"""Every field of every family's config.json: honoured as transformers does it, or refused by name.

    python3 tests/reference/check_fields.py [--program build/reward] [FAMILY ...]     needs torch, transformers, safetensors

For each family: a tiny config.json; one field at a time is set to another legal value (those of CHANGES, and for each other
field of the class one made from its kind). transformers reads that file and makes a random model of it; `reward score` must
give that model's scores from the same folder, or refuse and name the field. A field that transformers itself refuses is
passed over. Prints what differs, and ends with 1 if anything does.
"""
import argparse, copy, json, shutil, subprocess, sys, tempfile, warnings
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

transformers.logging.set_verbosity_error()
warnings.simplefilter("ignore")
ap = argparse.ArgumentParser()
ap.add_argument("families", nargs="*")
ap.add_argument("--program", default=str(Path(__file__).resolve().parents[2] / "build/reward"))
ap.add_argument("--verbose", action="store_true")
a = ap.parse_args()

BASE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, vocab_size=90,
            max_position_embeddings=128, num_labels=1, pad_token_id=0, bos_token_id=1, eos_token_id=2)
FAMILIES = {
    "llama": {}, "mistral": dict(sliding_window=16), "qwen2": {}, "qwen3": dict(head_dim=16), "gemma2": dict(head_dim=16, sliding_window=16),
    "gemma3_text": dict(head_dim=16, sliding_window=16), "nemotron": {},
    "gemma": dict(head_dim=16), "phi3": {}, "olmo2": {}, "olmo3": dict(sliding_window=16), "smollm3": {}, "mixtral": {},
    "qwen3_moe": dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, head_dim=16)}
LAYERS = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
YARN = dict(factor=4.0, original_max_position_embeddings=32)
LLAMA3 = dict(YARN, low_freq_factor=1.0, high_freq_factor=4.0)
SHORT = dict(short_factor=[1.0] * 4, long_factor=[2.0] * 4, original_max_position_embeddings=64, factor=2.0)
CHANGES = {
    "hidden_act": ["gelu", "relu", "gelu_pytorch_tanh", "gelu_new", "swish", "relu2", "silu"],
    "hidden_activation": ["gelu", "silu", "gelu_pytorch_tanh", None],
    "rope_theta": [500.0, 1e6],
    "rope_scaling": [None, dict(type="linear", factor=4.0), dict(rope_type="linear", factor=4.0), dict(rope_type="dynamic", factor=4.0),
                     dict(rope_type="yarn", **YARN), dict(rope_type="yarn", **YARN, attention_factor=0.7, beta_fast=16, truncate=False),
                     dict(rope_type="llama3", **LLAMA3), dict(rope_type="longrope", **SHORT), dict(type="longrope", **{**SHORT, "original_max_position_embeddings": 30}), dict(type="su", **SHORT),
                     dict(rope_type="default", rope_theta=333.0)],
    "rope_parameters": [dict(rope_type="default", rope_theta=500.0), dict(rope_type="linear", rope_theta=500.0, factor=3.0),
                        dict(rope_type="yarn", rope_theta=500.0, **YARN), dict(rope_type="llama3", rope_theta=500.0, **LLAMA3),
                        dict(rope_type="dynamic", rope_theta=500.0, factor=2.0), dict(rope_type="proportional", rope_theta=500.0),
                        dict(rope_type="longrope", rope_theta=500.0, **SHORT), dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.5),
                        dict(full_attention=dict(rope_type="linear", rope_theta=900.0, factor=2.0), sliding_attention=dict(rope_type="default", rope_theta=77.0)),
                        dict(full_attention=dict(rope_type="default", rope_theta=900.0), sliding_attention=dict(rope_type="linear", rope_theta=77.0, factor=3.0)),
                        dict(rope_type="default")],
    "rope_local_base_freq": [99.0], "no_rope_layers": [[1, 0, 1, 0], [1] * 4], "no_rope_layer_interval": [2],
    "original_max_position_embeddings": [30],
    "num_experts_per_tok": [1, 3], "norm_topk_prob": [True, False], "decoder_sparse_step": [2], "mlp_only_layers": [[0, 2], [7]],
    "moe_intermediate_size": [8], "num_experts": [2, 0], "num_local_experts": [3],
    "partial_rotary_factor": [0.5, 1.0, 0.25],
    "sliding_window": [8, None], "use_sliding_window": [True], "max_window_layers": [0, 2], "layer_types": [LAYERS, ["full_attention"] * 4],
    "sliding_window_pattern": [2, 3], "_sliding_window_pattern": [2],
    "head_dim": [8, 12, None], "num_key_value_heads": [1, 4, None], "num_attention_heads": [2, 8], "num_hidden_layers": [2],
    "attention_bias": [True], "mlp_bias": [True], "tie_word_embeddings": [True, False], "pretraining_tp": [2],
    "attn_logit_softcapping": [2.0, None], "final_logit_softcapping": [2.0, None], "query_pre_attn_scalar": [7, 64],
    "use_bidirectional_attention": [True], "is_causal": [False], "is_decoder": [False, True], "add_cross_attention": [True],
    "rms_norm_eps": [1e-2], "norm_eps": [1e-2], "layer_norm_eps": [1e-2], "num_labels": [3], "id2label": [{"0": "A", "1": "B"}], "problem_type": ["regression"],
    "max_position_embeddings": [32], "dtype": ["bfloat16"], "torch_dtype": ["bfloat16"], "attention_multiplier": [0.5], "embedding_multiplier": [3.0],
    "residual_multiplier": [0.5], "logits_scaling": [3.0], "attention_dropout": [0.5], "hidden_dropout": [0.5], "use_qk_norm": [True], "clip_qkv": [0.1],
    "qk_layernorm": [True], "scale_attn_by_inverse_layer_idx": [True], "attention_chunk_size": [8], "quantization_config": [{"quant_method": "awq", "bits": 4}],
    "chunk_size_feed_forward": [4], "output_hidden_states": [True], "model_type": ["phi3"], "architectures": [["X"]],
}
SKIP = {"transformers_version", "_name_or_path", "vocab_size", "hidden_size", "intermediate_size", "label2id", "return_dict", "bos_token_id",
        "eos_token_id", "pad_token_id", "initializer_range", "use_cache", "layer_types"}  # sizes and ids; names


def other(v):
    return (not v) if isinstance(v, bool) else v + 1 if isinstance(v, int) else v * 2 + 0.1 if isinstance(v, float) else None


def cases(base):
    fields = AutoConfig.for_model(base["model_type"], **{k: v for k, v in base.items() if k != "model_type"}).to_dict()
    yield None, None
    for field, values in CHANGES.items():
        for v in values:
            yield field, v
    for field, v in fields.items():
        if field not in CHANGES and field not in SKIP and other(v) is not None:
            yield field, other(v)


IDS = [[(7 * i * i + 3 * i + s) % 80 + 5 for i in range(n)] for n, s in [(40, 1), (23, 2), (3, 5)]]


def check(base, field, value, folder):
    """'' when the scores agree, 'refused', 'illegal', or what is wrong"""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    c = copy.deepcopy(base)
    if field == "rope_scaling" and value and "rope_theta" not in value:
        c["rope_theta"] = 700.0
    if field is not None:
        c[field] = value
    (folder / "config.json").write_text(json.dumps(c))
    try:
        config = AutoConfig.from_pretrained(folder)
        config._attn_implementation = "eager"
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for key, p in model.named_parameters():
                p.normal_(0, 0.3 if p.dim() == 1 else 1.2 / p.shape[-1] ** 0.5)
            want = [model(input_ids=torch.tensor([ids])).logits[0].tolist() for ids in IDS]
    except Exception as e:  # transformers refuses the file, or this value has no meaning for it
        return "illegal", type(e).__name__ + " " + str(e)[:60]
    if "experts." in str(model.state_dict().keys()):  # which the file holds one by one
        text = (folder / "config.json").read_text()
        model.save_pretrained(folder)
        (folder / "config.json").write_text(text)
    else:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors", metadata={"format": "pt"})
    rows = "".join(json.dumps({"input_ids": ids}) + "\n" for ids in IDS)
    p = subprocess.run([a.program, "score", "--model", str(folder), "-q", "--max-length", "1000"], input=rows, capture_output=True, text=True)
    if p.returncode:
        said = p.stderr + p.stdout
        named = (field or "") in said or any(k in said for k in (value if isinstance(value, dict) else {}))
        words = {"rope_parameters": "rope", "rope_scaling": "rope", "num_labels": "labels", "id2label": "labels", "architectures": "X"}
        if named or words.get(field, "\0") in said:
            return "refused", said.strip()[:150]
        return "WRONG", "refused without its name: " + said.strip()[:150]
    got = [json.loads(l)["score"] for l in p.stdout.splitlines()]
    off = max(abs(g - w[0]) for g, w in zip(got, want))
    return ("", "") if off <= 2e-4 else ("WRONG", f"scores off by {off:.3g}")


bad = counted = 0
with tempfile.TemporaryDirectory() as tmp:
    for family in a.families or FAMILIES:
        base = dict(BASE, model_type=family, **FAMILIES[family])
        tally = {}
        for field, value in cases(base):
            kind, why = check(base, field, value, Path(tmp) / "model")
            tally[kind or "same"] = tally.get(kind or "same", 0) + 1
            bad += kind == "WRONG"
            if kind == "WRONG" or a.verbose and kind:
                print(f"{family}: {field} = {json.dumps(value)}: {kind}: {why}")
        print(f"{family}: " + ", ".join(f"{n} {k}" for k, n in sorted(tally.items())), flush=True)
sys.exit(bad > 0)
