#!/usr/bin/env python3
"""Records PyTorch's answers for tiny random models of each family into tests/data/model/.

    python3 tests/reference/make.py [FAMILY ...]        needs torch, transformers, safetensors

For each family: a Hugging Face checkpoint (config.json, model.safetensors) and expected.safetensors with
  ids.N, score.N            conversations of N tokens and their last-token logits
  hidden.L                  hidden states after L layers of the 31-token conversation (0: embeddings)
  pair.P.chosen/.rejected   three pairs; two share a prompt
  loss, grad.NAME           Bradley-Terry loss of the pairs, and its gradient for every tensor
  train.loss, train.norm    loss and gradient norm over 8 steps of AdamW on the same pairs
Everything is f32 on the CPU with eager attention.
"""
import copy, json, shutil, sys
from types import SimpleNamespace
from pathlib import Path
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from families import HeadOnDecoder, InternLM2ForRewardModel, LlamaForRewardModelWithGating, layers

OUT = Path(__file__).resolve().parent.parent / "data" / "model"
LENGTHS = [1, 2, 3, 7, 8, 17, 31, 64, 128, 257]
BASE = dict(hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=200, max_position_embeddings=512, num_labels=1, pad_token_id=0, bos_token_id=1, eos_token_id=2)
FAMILIES = {
    "llama": dict(model_type="llama", **BASE),
    "llama3": dict(model_type="llama", **BASE, rope_theta=10000.0,
                   rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                     original_max_position_embeddings=64)),
    "mistral": dict(model_type="mistral", **BASE, sliding_window=16),
    "qwen2": dict(model_type="qwen2", **BASE),
    "qwen3": dict(model_type="qwen3", **{**BASE, "head_dim": 16}),
    "gemma2": dict(model_type="gemma2", **{**BASE, "num_hidden_layers": 4, "head_dim": 16}, sliding_window=16,
                   attn_logit_softcapping=3.0, query_pre_attn_scalar=24),
    "gemma3_text": dict(model_type="gemma3_text", **{**BASE, "num_hidden_layers": 3, "head_dim": 16}, sliding_window=16,
                        query_pre_attn_scalar=24, sliding_window_pattern=3),
    "qwen2_yarn": dict(model_type="qwen2", **BASE, rope_theta=10000.0,
                       rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128)),
    "llama_yarn": dict(model_type="llama", **{**BASE, "head_dim": 16},
                       rope_scaling=dict(rope_type="yarn", rope_theta=500.0, factor=8.0, original_max_position_embeddings=64,
                                         beta_fast=8.0, beta_slow=2.0, mscale=0.707, mscale_all_dim=1.5, truncate=False)),
    # what the others leave out: every bias, linear rotary scaling, windows by max_window_layers; written as earlier
    # versions of transformers wrote config.json, in bf16 and in f16 shards
    "llama_bias": dict(model_type="llama", **BASE, attention_bias=True, mlp_bias=True,
                       rope_scaling=dict(rope_type="linear", factor=4.0)),
    "qwen3_window": dict(model_type="qwen3", **{**BASE, "head_dim": 16}, attention_bias=True, use_sliding_window=True,
                         sliding_window=16, max_window_layers=1),
    "internlm2": dict(model_type="internlm2", **BASE, architectures=["InternLM2ForRewardModel"], bias=False,
                      hidden_act="silu", rms_norm_eps=1e-5, rope_theta=1e6, reward_token_id=199,
                      rope_scaling=dict(type="dynamic", factor=2.0)),  # which changes nothing up to 512 tokens
    "internlm2_bias": dict(model_type="internlm2", **{**BASE, "num_attention_heads": 6, "hidden_size": 48},
                           architectures=["InternLM2ForRewardModel"], bias=True, hidden_act="silu", rms_norm_eps=1e-5,
                           rope_theta=10000.0, reward_token_id=199),
    "nemotron": dict(model_type="nemotron", **BASE, partial_rotary_factor=0.5, norm_eps=1e-5),
    "nemotron_bias": dict(model_type="nemotron", **{**BASE, "head_dim": 12}, attention_bias=True, mlp_bias=True,
                          rope_parameters=dict(rope_theta=5000.0, rope_type="default", partial_rotary_factor=1.0)),
}
LONG = [1.0, 1.5, 2.5, 4.0, 6.0, 9.0, 14.0, 20.0]
FAMILIES |= {
    "gemma": dict(model_type="gemma", **{**BASE, "head_dim": 16}, hidden_act="gelu"),
    # 100 tokens and fewer are rotated otherwise than more; a window; three quarters of each head
    "phi3": dict(model_type="phi3", **BASE, sliding_window=16,
                 rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                                      short_factor=LONG[:3], long_factor=[4 * x for x in LONG[:3]]),
                 original_max_position_embeddings=100),
    "llama_long": dict(model_type="llama", **{**BASE, "head_dim": 16},
                       rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, short_factor=LONG,
                                            original_max_position_embeddings=20, long_factor=[2 * x for x in LONG])),
    "olmo2": dict(model_type="olmo2", **BASE, attention_bias=True),
    "olmo3": dict(model_type="olmo3", **{**BASE, "num_hidden_layers": 4}, sliding_window=16,
                  rope_parameters=dict(full_attention=dict(rope_type="yarn", rope_theta=500000.0, factor=4.0,
                                                           original_max_position_embeddings=128),
                                       sliding_attention=dict(rope_type="default", rope_theta=10000.0))),
    "smollm3": dict(model_type="smollm3", **{**BASE, "num_hidden_layers": 3}, no_rope_layer_interval=2),
    "smollm3_window": dict(model_type="smollm3", **BASE, no_rope_layers=[0, 1], use_sliding_window=True,
                           sliding_window=16, mlp_bias=True),
}
FAMILIES |= {
    "mixtral": dict(model_type="mixtral", **{**BASE, "intermediate_size": 24}, num_local_experts=4, num_experts_per_tok=2),
    "qwen3_moe": dict(model_type="qwen3_moe", **{**BASE, "num_hidden_layers": 3, "head_dim": 16}, num_experts=6,
                      num_experts_per_tok=3, moe_intermediate_size=20, norm_topk_prob=True, mlp_only_layers=[1]),
    "qwen3_moe_raw": dict(model_type="qwen3_moe", **{**BASE, "head_dim": 16}, num_experts=4, num_experts_per_tok=2,
                          moe_intermediate_size=24, norm_topk_prob=False, decoder_sparse_step=2, use_sliding_window=True,
                          sliding_window=16),
}
SMALL = {**BASE, "num_hidden_layers": 1}
# heads other than a matrix named score: fields of config.json, the decoder's name, the head's name, the head
ON_TOP = {
    "inform": (dict(model_type="llama", architectures=["INFORMForSequenceClassification"]), "model", "score",
               lambda: layers(32, 32, 1)),
    "qwen2_rm": (dict(model_type="qwen2", architectures=["Qwen2ForRewardModel"]), "model", "score",
                 lambda: layers(32, 32, 1)),
    "grm_linear": (dict(model_type="llama", architectures=["GRewardModel"], vhead_layer_type="linear"), "model",
                   "v_head.summary", lambda: torch.nn.Linear(32, 1)),
    "grm_mlp": (dict(model_type="gemma2", architectures=["GRewardModel"], vhead_layer_type="mlp", head_dim=8,
                     query_pre_attn_scalar=8, vhead_num_neurons=40, vhead_num_layers=2), "model", "v_head.summary",
                lambda: layers(32, 40, 40, 1)),
    "eurus": (dict(model_type="mistral", architectures=["EurusRewardModel"]), "model", "regression_head",
              lambda: torch.nn.Linear(32, 1, bias=False)),
    "starling": (dict(model_type="llama", architectures=["LlamaForSequenceClassification"]), "transformer", "v_head",
                 lambda: torch.nn.Linear(32, 1, bias=False)),
}
for name, (fields, *_) in ON_TOP.items():
    FAMILIES[name] = {**SMALL, **fields}
OWN = {"internlm2": InternLM2ForRewardModel, "internlm2_bias": InternLM2ForRewardModel,
       **{name: lambda c, name=name: on_top(c, name) for name in ON_TOP}}
STORED = {"llama_bias": torch.bfloat16, "qwen3_window": torch.float16}


def on_top(c, name):
    fields = {k: v for k, v in vars(c).items() if k not in ("model_type", "architectures")}
    config = AutoConfig.for_model(c.model_type, **fields)
    config._attn_implementation = "eager"
    c.rms_norm_eps = config.rms_norm_eps
    _, inside, at, head = ON_TOP[name]
    return HeadOnDecoder(c, AutoModel.from_config(config), inside, at, head())


def build(name, fields):
    fields = dict(fields)
    torch.manual_seed(sum(name.encode()))
    if name in OWN:
        model = OWN[name](SimpleNamespace(**fields)).float().eval()
    else:
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        config._attn_implementation = "eager"
        model = AutoModelForSequenceClassification.from_config(config).float().eval()
    with torch.no_grad():  # weights large enough that every part matters; norms away from their start
        for key, p in model.named_parameters():
            p.normal_(0, 0.3 if p.dim() == 1 else 0.8 / p.shape[-1] ** 0.5)
            if "norm" in key and "gemma" not in name and "nemotron" not in name:
                p.add_(1)
            p.copy_(p.to(STORED.get(name, torch.float32)))
    return model


def save(model, name, folder):
    if name in OWN:
        save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
        config = json.dumps({**vars(model.config), "torch_dtype": "float32"}, indent=2, sort_keys=True)
        return (folder / "config.json").write_text(config + "\n")
    if name not in STORED:
        return model.save_pretrained(folder, safe_serialization=True)
    copy.deepcopy(model).to(STORED[name]).save_pretrained(folder, max_shard_size=20000 if name == "qwen3_window" else "5GB")
    path = folder / "config.json"
    c = json.loads(path.read_text())
    rope = c.pop("rope_parameters")
    c["rope_theta"], c["torch_dtype"] = rope.pop("rope_theta"), c.pop("dtype")
    kind = rope.pop("rope_type")
    c["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    c.pop("layer_types", None)
    path.write_text(json.dumps(c, indent=2, sort_keys=True) + "\n")
    again = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    ids = list(range(3, 103))
    with torch.no_grad():
        assert torch.equal(score(model, ids), score(again, ids)), name


def as_stored(key, value, kind):
    """A parameter under its names in the file, where each expert has matrices of its own."""
    if kind not in ("mixtral", "qwen3_moe") or ".mlp.gate." not in key and ".mlp.experts." not in key:
        return [(key, value)]
    inside = ("block_sparse_moe", "w1", "w3", "w2") if kind == "mixtral" else ("mlp", "gate_proj", "up_proj", "down_proj")
    at, part = key.split("mlp.")
    if part == "gate.weight":
        return [(f"{at}{inside[0]}.{part}", value)]
    names = inside[1:3] if part == "experts.gate_up_proj" else inside[3:]
    return [(f"{at}{inside[0]}.experts.{e}.{n}.weight", piece)
            for e in range(len(value)) for n, piece in zip(names, value[e].chunk(len(names)))]


def score(model, ids):
    return model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits[0, 0]


def record(name, fields):
    model = build(name, fields)
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.config.pad_token_id = 0
    save(model, name, folder)
    gen = torch.Generator().manual_seed(7)
    draw = lambda n: torch.randint(3, 200, (n,), generator=gen).tolist()
    out = {}
    for n in LENGTHS:
        ids = draw(n)
        with torch.no_grad():
            out[f"score.{n}"] = score(model, ids).reshape(1)
        out[f"ids.{n}"] = torch.tensor(ids, dtype=torch.int32)
        if n == 31:
            with torch.no_grad():
                hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            for layer in range(len(hidden) - 1):  # the last entry has the final norm applied
                out[f"hidden.{layer}"] = hidden[layer][0].clone()
    prompts = [draw(20), draw(9), []]
    pairs = [(prompts[0] + draw(12), prompts[0] + draw(5)), (prompts[1] + draw(1), prompts[1] + draw(30)), (draw(8), draw(17))]
    for i, (c, r) in enumerate(pairs):
        out[f"pair.{i}.chosen"] = torch.tensor(c, dtype=torch.int32)
        out[f"pair.{i}.rejected"] = torch.tensor(r, dtype=torch.int32)

    def loss_of():
        deltas = torch.stack([score(model, c) - score(model, r) for c, r in pairs])
        return -torch.nn.functional.logsigmoid(deltas).mean()

    loss = loss_of()
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    for key, p in model.named_parameters():
        for stored, part in as_stored(key, p.grad.detach(), fields["model_type"]):
            out["grad." + stored] = part.clone()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses, norms = [], []
    for _ in range(8):
        opt.zero_grad()
        loss = loss_of()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        losses.append(loss.detach())
        opt.step()
    out["train.loss"], out["train.norm"] = torch.stack(losses), torch.stack(norms)
    save_file(out, folder / "expected.safetensors")
    print(name, sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KB")


# heads with attributes: ids.N, score.N, attributes.N; in ARMORM the assistant's header stands in every conversation
HEADER = [190, 191, 192, 193, 194]
ARMORM = dict(model_type="llama", **BASE, architectures=["LlamaForRewardModelWithGating"], rms_norm_eps=1e-5,
              rope_theta=500000.0, num_objectives=19, gating_temperature=10, gating_hidden_dim=24, gating_n_hidden=3,
              gating_token_pattern=HEADER)


def record_heads(name, build_model, lengths, config=None):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(sum(name.encode()))
    model = build_model().float().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(0, 0.3 if p.dim() == 1 else 0.8 / p.shape[-1] ** 0.5)
            if "norm" in key and name == "armorm" or "scale" in key or "gating" in key and p.dim() == 1:
                p.add_(1)
            if "gating" in key and p.dim() == 2:
                p.mul_(6)
    if config:
        save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    else:
        model.save_pretrained(folder, safe_serialization=True)
    gen = torch.Generator().manual_seed(7)
    prompt, out = torch.randint(3, 190, (9,), generator=gen).tolist(), {}
    for n in lengths:
        ids = torch.randint(3, 190, (n,), generator=gen).tolist()
        ids[:9] = prompt[:n]  # shared
        for at in (n // 2, n // 4):  # the later one counts
            if at + 5 <= n and (at == n // 2 or at + 5 <= n // 2):
                ids[at:at + 5] = HEADER
        with torch.no_grad():
            answer = model(input_ids=torch.tensor([ids]))
        out[f"ids.{n}"] = torch.tensor(ids, dtype=torch.int32)
        if config:
            out[f"score.{n}"], out[f"attributes.{n}"] = answer.logits.reshape(1), answer.rewards.clone()
        else:  # the last five outputs, and the sum that RewardBench makes of them
            out[f"attributes.{n}"] = answer.logits[0, -5:].clone()
            out[f"score.{n}"] = (answer.logits[0, -5:] @ torch.tensor([0.3, 0.74, 0.46, 0.47, -0.33])).reshape(1)
    save_file(out, folder / "expected.safetensors")
    print(name, sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KB")


def record_logit(name, fields):
    """ids.N and, of tokens 0 and 7, logit.ID.N: what a language model says at the last token."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(sum(name.encode()))
    fields = {**SMALL, **fields}
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3 if p.dim() == 1 else 0.8 / p.shape[-1] ** 0.5)
    model.save_pretrained(folder, safe_serialization=True)
    gen, out = torch.Generator().manual_seed(7), {}
    for n in [1, 17, 64]:
        ids = torch.randint(3, 190, (n,), generator=gen)
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, -1]
        out[f"ids.{n}"] = ids.to(torch.int32)
        for token in (0, 7):
            out[f"logit.{token}.{n}"] = logits[token].reshape(1).clone()
    save_file(out, folder / "expected.safetensors")
    print(name, sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KB")


def armorm():
    fields = {k: v for k, v in ARMORM.items() if k not in ("model_type", "architectures")}
    config = AutoConfig.for_model("llama", **fields)
    config._attn_implementation = "eager"
    return LlamaForRewardModelWithGating(SimpleNamespace(**ARMORM), AutoModel.from_config(config))


def nemotron(outputs):
    config = AutoConfig.for_model("nemotron", **{**BASE, "num_labels": outputs}, partial_rotary_factor=0.5)
    config._attn_implementation = "eager"
    return AutoModelForSequenceClassification.from_config(config)


HEADS = {"logit": lambda: record_logit("logit", dict(model_type="llama")),
         "logit_tied": lambda: record_logit("logit_tied", dict(model_type="gemma2", head_dim=8, query_pre_attn_scalar=8,
                                                               final_logit_softcapping=2.0, tie_word_embeddings=True)),
         "armorm": lambda: record_heads("armorm", armorm, [9, 10, 17, 31, 64, 128, 257], {**ARMORM, "torch_dtype": "float32"}),
         "nemotron5": lambda: record_heads("nemotron5", lambda: nemotron(5), LENGTHS),
         "nemotron9": lambda: record_heads("nemotron9", lambda: nemotron(9), LENGTHS)}
for family in sys.argv[1:] or [*FAMILIES, *HEADS]:
    HEADS[family]() if family in HEADS else record(family, FAMILIES[family])
