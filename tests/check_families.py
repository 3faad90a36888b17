#!/usr/bin/env python3
"""Models of every family and head with drawn shapes, as transformers has them and as this program has them: scores,
gradients, eight steps of AdamW, and what is saved.

    tests/check_families.py [--draws 1] [--seed 1] [--verbose] [NAME ...]    (REWARD_PYTHON: a Python with torch and transformers)

A draw is a config.json (head counts, window, biases, ties, rotary scaling in both dialects, precision, safetensors or .bin, one
file or shards) that transformers reads itself. Scores of 1 to 257 tokens, and around the window, must be within 1e-4, the first
gradient's norm within 1e-3, eight losses within 2%, and the scores that transformers gives with the trained model's folder within
1e-4. Exit 77, a skip, where these packages are not installed.

Some draws have no such answer in f32, most of all an MLP of width 1 before a norm (gemma2, gemma3_text, olmo2, olmo3): the norm leaves of
its one number the sign, and around 0, where the sign turns, has a slope of up to 1/sqrt(eps). Of three such draws (olmo2, olmo2,
gemma3_text) the first gradients of both programs were some 1e-4 off those in f64, ours less in most tensors of the one looked at; and
PyTorch's own f64, with each weight moved by 2^-25 of itself, less than f32 keeps, moved a score of the first by 7e-5 and the last loss
of the others from 1.00 to 0.91 or 1.12, and from 0.34 to 0.13. So where a bar is passed f64 decides: a score may be as far
from it as thrice PyTorch's own in f32, or as thrice what so small a move of the weights does to it; and losses count up to the step
where one or the other has come to a quarter of the bar. A hidden size of 1, where each norm is a sign, is not drawn.
"""
import argparse, copy, json, math, os, random, shutil, subprocess, sys, tempfile, warnings
from pathlib import Path
from types import SimpleNamespace

if os.environ.get("REWARD_PYTHON") and not os.environ.get("REWARD_PYTHON_RUNS"):
    os.execve(os.environ["REWARD_PYTHON"], [os.environ["REWARD_PYTHON"], *sys.argv], {**os.environ, "REWARD_PYTHON_RUNS": "1"})
try:
    import torch, transformers
    from huggingface_hub.errors import StrictDataclassClassValidationError
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
except ImportError as e:
    print(f"not installed: {e}")
    sys.exit(77)

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
sys.path.insert(0, str(ROOT / "tests" / "reference"))
from families import HeadOnDecoder, InternLM2ForRewardModel, LlamaForRewardModelWithGating, layers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.simplefilter("ignore")
F = torch.nn.functional
GEMMAS = ("gemma", "gemma2", "gemma3_text")
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2", "olmo3", "smollm3", "mixtral",
            "qwen3_moe", "nemotron", "internlm2")
WINDOWS = (1, 2, 5, 16, 31, 64, 255, 256)
# the class, families that it was seen over, the decoder's name, the head's
HEADS = {"inform": ("INFORMForSequenceClassification", ["llama"], "model", "score"),
         "qwen2_rm": ("Qwen2ForRewardModel", ["qwen2"], "model", "score"),
         "grm": ("GRewardModel", ["llama", "gemma", "gemma2"], "model", "v_head.summary"),
         "athene": ("AtheneForSequenceClassification", ["llama"], "model", "v_head"),
         "ultra": ("LlamaRewardModel", ["llama"], "model", "regression_head"),
         "eurus": ("EurusRewardModel", ["mistral"], "model", "regression_head"),
         "starling": ("LlamaForSequenceClassification", ["llama"], "transformer", "v_head")}
SCORED = ("armorm", "logit", "nemotron5")  # and not trained
LOSSES = {"bt": lambda c, r: F.softplus(r - c), "hinge": lambda c, r: F.relu(1 - (c - r)),
          "focal": lambda c, r: torch.sigmoid(r - c) ** 2 * F.softplus(r - c),
          "focal-penalty": lambda c, r: (1 - 2 * F.relu(torch.sigmoid(c - r) - 0.5)) ** 2 * F.softplus(r - c),
          "margin-mse": lambda c, r: (c - r - 1) ** 2, "ce": lambda c, r: F.softplus(-c) + F.softplus(r),
          "tempered-log": lambda c, r: -(torch.sigmoid(c - r) ** 0.5 - 1) / 0.5,
          "temperature-bt": lambda c, r: F.softplus((r - c) / 2)}


def rotary(d, family, c, part):
    """Rotary scaling into config.json, in one of the two dialects."""
    size = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    pairs = int(size * part) // 2
    theta = d.choice([500.0, 10000.0, 1e6])
    longer = dict(rope_type="longrope", short_factor=[round(d.uniform(1, 2), 3) for _ in range(pairs)],
                  long_factor=[round(d.uniform(1, 20), 3) for _ in range(pairs)])
    kinds = [dict(rope_type="default"), dict(rope_type="linear", factor=d.choice([2.0, 8.0])), dict(rope_type="dynamic", factor=2.0),
             dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=d.choice([2.0, 4.0]),
                  original_max_position_embeddings=d.choice([32, 64])),
             dict(rope_type="yarn", factor=d.choice([2.0, 4.0]), original_max_position_embeddings=64,
                  **d.choice([{}, dict(beta_fast=16.0, beta_slow=2.0), dict(truncate=False), dict(attention_factor=0.8)])),
             dict(longer, original_max_position_embeddings=d.choice([20, 100, 256]))]
    if family == "internlm2":
        return {"rope_theta": theta, "rope_scaling": d.choice([None, dict(type="dynamic", factor=2.0)])}
    if family == "phi3":
        kind = d.choice([kinds[0], longer])
        return dict(original_max_position_embeddings=d.choice([20, 100]),
                    rope_parameters=dict(kind, rope_theta=theta, partial_rotary_factor=part))
    if family == "nemotron":
        kind = d.choice(kinds[:5]) if part == 1 else kinds[0]
        return dict(rope_parameters=dict(kind, rope_theta=theta, partial_rotary_factor=part))
    if family in ("olmo3", "gemma3_text"):
        both = dict(full_attention=dict(d.choice(kinds[:5]), rope_theta=theta), sliding_attention=dict(rope_type="default", rope_theta=d.choice([10000.0, 333.0])))
        if family == "gemma3_text" and d.random() < 0.5:
            return dict(rope_theta=theta, rope_local_base_freq=99.0, rope_scaling=d.choice([None, kinds[1]]))
        return dict(rope_parameters=both)
    kind = d.choice(kinds)
    if d.random() < 0.5:
        return dict(rope_parameters=dict(kind, rope_theta=theta))
    return dict(rope_theta=theta, rope_scaling=None if kind["rope_type"] == "default" else kind)


def config(d, family):
    heads, kv = d.choice([(1, 1), (2, 1), (3, 1), (3, 3), (4, 2), (5, 1), (6, 2), (6, 3), (7, 7), (8, 4), (9, 3), (12, 4), (16, 1)])
    size = d.choice([4, 6, 8, 10, 12, 14, 16, 20, 34, 64])
    own_size = family in ("llama", "mistral", "qwen3", *GEMMAS, "mixtral", "qwen3_moe", "nemotron") and d.random() < 0.6
    c = dict(model_type=family, hidden_size=d.choice([3, 16, 27, 33, 40, 47, 64, 130]) if own_size else heads * size, num_hidden_layers=d.choice([1, 2, 3, 4, 5]),
             intermediate_size=d.choice([1, 24, 45, 80, 97, 256]), num_attention_heads=heads, num_key_value_heads=kv, vocab_size=d.choice([97, 200, 263, 1031]),
             max_position_embeddings=512, num_labels=1, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    if own_size or family in ("qwen3", *GEMMAS, "qwen3_moe"):
        c["head_dim"] = size
    c["norm_eps" if family == "nemotron" else "rms_norm_eps"] = d.choice([1e-6, 1e-5])
    maybe = lambda name, values: c.update({name: d.choice(values)}) if d.random() < 0.6 else None
    part = 1.0
    if family in ("phi3", "nemotron"):
        part = d.choice([p for p in (0.5, 0.75, 1.0) if int(size * p) % 2 == 0 and size * p == int(size * p)])
    if family in ("llama", "qwen3", *GEMMAS, "olmo2", "olmo3", "smollm3", "qwen3_moe", "nemotron"):
        maybe("attention_bias", [True, False])
    if family == "internlm2":
        c.update(bias=d.random() < 0.5, hidden_act="silu", rope_theta=10000.0, rms_norm_eps=1e-5, reward_token_id=3)
    if family in ("llama", "nemotron", "smollm3"):
        maybe("mlp_bias", [True, False])
    if family in ("mistral", "phi3", "mixtral"):
        maybe("sliding_window", [*WINDOWS, None])
    if family in ("gemma2", "gemma3_text", "olmo3"):
        c["sliding_window"] = d.choice(WINDOWS)
    if family in ("qwen2", "qwen3", "qwen3_moe", "smollm3") and d.random() < 0.6:
        c.update(use_sliding_window=True, sliding_window=d.choice(WINDOWS), max_window_layers=d.choice([0, 1]))
    if family in ("gemma2", "gemma3_text"):
        maybe("query_pre_attn_scalar", [7, 24, 256])
        maybe("final_logit_softcapping", [3.0, None])
    if family == "gemma2":
        maybe("attn_logit_softcapping", [2.0, 50.0, None])
    if family == "gemma3_text":
        maybe("sliding_window_pattern", [2, 3])
    if family == "smollm3":
        maybe("no_rope_layer_interval", [1, 2, 3])
    if family in ("gemma2", "olmo3", "qwen2", "qwen3", "smollm3") and c.get("sliding_window") and d.random() < 0.4:
        c["layer_types"] = [d.choice(["full_attention", "sliding_attention"]) for _ in range(c["num_hidden_layers"])]
    if family == "mixtral":
        n = d.choice([1, 2, 3, 5, 8])
        c.update(num_local_experts=n, num_experts_per_tok=d.randint(1, n))
    if family == "qwen3_moe":
        n = d.choice([1, 2, 5, 8])
        c.update(num_experts=n, num_experts_per_tok=d.randint(1, n), moe_intermediate_size=d.choice([7, 24]))
        maybe("norm_topk_prob", [True, False])
        maybe("decoder_sparse_step", [1, 2])
        maybe("mlp_only_layers", [[0], [1, 2], []])
    if family not in ("nemotron", "internlm2"):
        maybe("tie_word_embeddings", [True, False])
    if family in ("llama", "qwen2", "mistral", "qwen3", "olmo2", "phi3", "mixtral"):
        maybe("hidden_act", ["silu", "gelu_pytorch_tanh"])
    c.update(rotary(d, family, c, part))
    return c


def with_head(d, name, c):
    """The config's own fields for that head, and the module."""
    h = c["hidden_size"]
    if name in ("inform", "qwen2_rm"):
        return layers(h, h, 1)
    if name == "grm" and d.random() < 0.3:
        c["vhead_layer_type"] = "linear"
        return torch.nn.Linear(h, 1)
    if name == "grm":
        c.update(vhead_layer_type="mlp", vhead_num_neurons=d.choice([9, 40]), vhead_num_layers=d.choice([1, 2, 3]))
        return layers(h, *[c["vhead_num_neurons"]] * c["vhead_num_layers"], 1)
    if name == "athene":
        c["vocab_size"] = 128004
    return torch.nn.Linear(h, 1, bias=False)


def decoder_config(folder):
    conf = AutoConfig.from_pretrained(folder)
    conf._attn_implementation = conf._experts_implementation = "eager"
    return conf


def build(d, name, folder):
    """Draws a model that transformers takes, and saves it; the model, and its config's fields."""
    while True:
        try:
            return attempt(d, name, folder)
        except (StrictDataclassClassValidationError, TypeError):
            pass


def attempt(d, name, folder):
    family = name if name in FAMILIES else d.choice(HEADS[name][1]) if name in HEADS else "nemotron" if name == "nemotron5" else \
        "llama" if name == "armorm" else d.choice([f for f in FAMILIES if f not in ("internlm2", "nemotron")])
    c = config(d, family)
    head = with_head(d, name, c) if name in HEADS else None
    if name in HEADS:
        c["architectures"] = [HEADS[name][0]]
    if family == "internlm2":
        c["architectures"] = ["InternLM2ForRewardModel"]
        c["rope_theta"] = c.pop("rope_theta")
    if name == "nemotron5":
        c.pop("num_labels")
        n = d.choice([5, 9])
        c.update(architectures=["NemotronForSequenceClassification"], id2label={str(i): str(i) for i in range(n)}, label2id={str(i): i for i in range(n)})
    if name == "armorm":
        c.update(architectures=["LlamaForRewardModelWithGating"], num_objectives=19, gating_n_hidden=d.choice([0, 1, 3]), gating_hidden_dim=24,
                 gating_temperature=d.choice([1.0, 10.0]), gating_token_pattern=[5, 6, 7])
    (folder / "config.json").write_text(json.dumps(c))
    torch.manual_seed(d.randrange(1 << 30))
    if family == "internlm2":
        model = InternLM2ForRewardModel(SimpleNamespace(**c))
    elif name in HEADS:
        model = HeadOnDecoder(SimpleNamespace(**c), AutoModel.from_config(decoder_config(folder)), HEADS[name][2], HEADS[name][3], head)
    elif name == "armorm":
        model = LlamaForRewardModelWithGating(SimpleNamespace(**c), AutoModel.from_config(decoder_config(folder)))
    else:
        model = (AutoModelForCausalLM if name == "logit" else AutoModelForSequenceClassification).from_config(decoder_config(folder))
    stored = d.choice([torch.float32, torch.float32, torch.bfloat16, torch.float16])
    model = model.float().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(0, 0.2 if p.dim() == 1 else 0.8 / p.shape[-1] ** 0.5)
            if "norm" in key and family not in (*GEMMAS, "nemotron"):
                p.add_(1)
            p.copy_(p.to(stored))
    store(d, model, stored, folder, family, c)
    return model, c


def store(d, model, stored, folder, family, c):
    """safetensors or a pickle, in one file or shards; experts one by one, as the hub has them."""
    text = (folder / "config.json").read_text()
    if family in ("mixtral", "qwen3_moe"):  # whose experts transformers itself takes apart
        copy.deepcopy(model).to(stored).save_pretrained(folder, max_shard_size=d.choice(["20KB", "5GB"]))
    else:
        state = {k: v.detach().to(stored).contiguous().clone() for k, v in model.state_dict().items()}
        if c.get("tie_word_embeddings"):
            state.pop("lm_head.weight", None)
        parts = d.choice([1, 1, 2])
        files = [{k: v for i, (k, v) in enumerate(state.items()) if i % parts == n} for n in range(parts)]
        pickled = d.random() < 0.3
        stem, end = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
        names = [f"{stem}.{end}" if parts == 1 else f"{stem}-{n + 1:05}-of-{parts:05}.{end}" for n in range(parts)]
        for file, tensors in zip(names, files):
            torch.save(tensors, folder / file) if pickled else save_file(tensors, folder / file, metadata={"format": "pt"})
        if parts > 1:
            (folder / f"{stem}.{end}.index.json").write_text(json.dumps(
                dict(metadata={}, weight_map={k: names[n] for n, f in enumerate(files) for k in f})))
    (folder / "config.json").write_text(text)


def reward(*words, rows=None):
    text = "".join(json.dumps(r) + "\n" for r in rows) if rows is not None else None
    p = subprocess.run([REWARD, *map(str, words), "-q"], input=text, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(f"exit {p.returncode}: " + (p.stderr + p.stdout).strip()[:400])
    return [json.loads(line) for line in p.stdout.splitlines()]


def scores_of(name, model, rows, head):
    with torch.no_grad():
        if name == "logit":
            return [model(input_ids=torch.tensor([ids])).logits[0, -1, head].item() for ids in rows]
        out = [model(input_ids=torch.tensor([ids])).logits for ids in rows]
        if name == "nemotron5":
            weights = torch.tensor([0.3, 0.74, 0.46, 0.47, -0.33])
            return [(x[0, -5:] * weights).sum().item() for x in out]
        return [x.reshape(-1)[0].item() for x in out]


def draw_ids(d, name, c, n):
    ids = [d.randrange(8, 97) for _ in range(n)]
    if name == "armorm":
        ids = [5, 6, 7] + ids
    if name == "athene" and d.random() < 0.5:
        ids[-1] = 128003
    return ids


def exact(model, values, f32):
    """values(model) in f64, and how far off f32's are, or they themselves where each weight moves by 2^-25 of itself."""
    model = copy.deepcopy(model).double()
    want = torch.tensor(values(copy.deepcopy(model)), dtype=torch.float64)
    off = [(torch.tensor(f32) - want).abs()]
    for seed in range(3):
        other, draw = copy.deepcopy(model), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in other.parameters():
                p.mul_(1 + (torch.randint(0, 2, p.shape, generator=draw).double() * 2 - 1) * 2.0 ** -25)
        off.append((torch.tensor(values(other)) - want).abs())
    return want, torch.stack(off).amax(0)


def check_scores(d, name, model, c, folder):
    w = c.get("sliding_window") or 100
    lengths = [1, 2, w - 1, w, w + 1, 2 * w, 257, 256] + [d.randint(3, 130) for _ in range(3)]
    rows = [draw_ids(d, name, c, n) for n in lengths if n > 0]
    shared = draw_ids(d, name, c, d.randint(1, 60))
    if name != "armorm":
        rows += [shared + draw_ids(d, name, c, d.randint(1, 30)) for _ in range(2)]
    head = d.randrange(97)
    more = ["--head", f"logit:{head}"] if name == "logit" else []
    got = [r["score"] for r in reward("score", "--model", folder, "--batch-tokens", d.choice([1, 100, 4096]), *more, rows=[{"input_ids": r} for r in rows])]
    want = scores_of(name, model, rows, head)
    worst = max(range(len(rows)), key=lambda i: abs(got[i] - want[i]) / max(1, abs(want[i])))
    off = abs(got[worst] - want[worst]) / max(1, abs(want[worst]))
    if off <= 1e-4:
        return [], off
    doubles, loose = exact(model, lambda m: scores_of(name, m, rows, head), want)
    return [f"score of {len(r)} tokens: {g} for {w}, {e} in f64" for r, g, w, e, by in zip(rows, got, want, doubles.tolist(), loose.tolist())
            if abs(g - w) > 1e-4 * max(1, abs(w)) and abs(g - e) > 3 * by], off


def torch_losses(model, pairs, loss, lr, decay):
    """Of eight steps, and the norm of the first gradient."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
    losses, norm = [], None
    for _ in range(8):
        optimizer.zero_grad()
        r = [[model(input_ids=torch.tensor([ids])).logits.reshape(-1)[0] for ids in pair] for pair in pairs]
        value = sum(LOSSES[loss](a, b) for a, b in r) / len(r)
        value.backward()
        norm = norm if norm is not None else math.sqrt(sum(p.grad.double().pow(2).sum().item() for p in model.parameters() if p.grad is not None))
        optimizer.step()
        losses.append(value.item())
    return losses, norm


def check_training(d, name, model, c, folder):
    """Eight steps on five pairs, each with a prompt that both share."""
    prompts = [draw_ids(d, name, c, d.randint(1, 40)) for _ in range(5)]
    pairs = [[p + draw_ids(d, name, c, d.randint(1, 50)) for _ in range(2)] for p in prompts]
    loss, decay, lr = d.choice(list(LOSSES)), d.choice([0, 0.1]), d.choice([1e-4, 3e-4])
    rows, out = folder / "pairs.jsonl", folder / "out"
    rows.write_text("".join(json.dumps(dict(chosen_ids=a, rejected_ids=b)) + "\n" for a, b in pairs))
    reward("train", "--model", folder, "--data", rows, "--out", out, "--loss", loss, "--lr", lr, "--weight-decay", decay, "--steps", 8, "--batch-size", 5,
           "--schedule", "constant", "--warmup", 0, "--max-grad-norm", 0, "--dtype", "f32", "--golden", "none", "--save-dtype", "f32", "--max-length", 512,
           "--batch-tokens", d.choice([1, 64, 1024]))
    got = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    got = [m for m in got if "grad_norm" in m]
    first = copy.deepcopy(model)
    want, norm = torch_losses(model, pairs, loss, lr, decay)
    bad = []
    if abs(got[0]["grad_norm"] - norm) > 1e-3 * max(norm, 1e-6):
        bad.append(f"{loss}: grad_norm: {got[0]['grad_norm']} for {norm}")
    losses = [m["loss"] for m in got]
    over = [abs(g - w) > 0.02 * max(abs(w), 1e-3) for g, w in zip(losses, want, strict=True)]
    if any(over):
        doubles, loose = exact(first, lambda m: torch_losses(m, pairs, loss, lr, decay)[0], want)
        firm = (loose <= 0.005 * doubles.abs().clamp(min=1e-3)).long().cumprod(0).sum()
        bad += [f"{loss}: loss of step {i}: {losses[i]} for {want[i]}, {doubles[i].item()} in f64" for i in range(firm) if over[i]]
    ids = [ids for pair in pairs for ids in pair]
    after = [r["score"] for r in reward("score", "--model", out, rows=[{"input_ids": i} for i in ids])]
    if name in FAMILIES and name != "internlm2":
        again, info = AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
        if any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")):
            bad.append(f"saved tensors: {info}")
        want = scores_of(name, again.eval(), ids, 0)
        off = max(abs(a - b) / max(1, abs(b)) for a, b in zip(after, want))
        if not off <= 1e-4:
            bad.append(f"scores of the saved model: off by {off:.3g}")
    return bad


ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("names", nargs="*")
ap.add_argument("--draws", type=int, default=1)
ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--verbose", action="store_true")
a = ap.parse_args()
torch.set_num_threads(1)
failed = 0
for name in a.names or [*FAMILIES, *HEADS, *SCORED]:
    worst, refused = 0, 0
    for n in range(a.draws):
        d = random.Random(f"{a.seed} {n} {name}")
        folder = Path(tempfile.mkdtemp())
        try:
            model, c = build(d, name, folder)
            bad, off = check_scores(d, name, model, c, folder)
            worst = max(worst, off)
            if name not in SCORED and not bad:
                bad += check_training(d, name, model, c, folder)
        except RuntimeError as e:
            bad, c = [repr(e)], json.loads((folder / "config.json").read_text())
        finally:
            shutil.rmtree(folder) if not os.environ.get("KEEP") else print(folder)
        failed += bool(bad)
        if bad or a.verbose:
            print(f"{name}, seed {a.seed}, draw {n}: {bad or 'same'}\n  {json.dumps(c)}", flush=True)
    print(f"{name}: {a.draws} drawn, scores off by {worst:.1e} at most", flush=True)
sys.exit(failed > 0)
