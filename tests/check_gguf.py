#!/usr/bin/env python3
"""GGUF files of each family, as llama.cpp's converter writes them from a Hugging Face folder (names, the permutation of query and key,
1 added to Gemma's norms, a layer's experts in one tensor), brought back by `reward convert`: the same tensors and scores.

    tests/check_gguf.py        (REWARD_PYTHON: a Python with torch, transformers or gguf, which are used where they are there;
                                LLAMA_PYTHON: one with xllamacpp, llama.cpp in a wheel)

The models are those of tests/data/model. With the gguf package its own table of names is asked; with transformers the converted
folder is loaded and its logits compared; with xllamacpp llama.cpp's own logits, of the files as they are.
"""
import array, http.client, json, math, os, re, shutil, struct, subprocess, sys, tempfile
from pathlib import Path

if os.environ.get("REWARD_PYTHON") and not os.environ.get("REWARD_PYTHON_RUNS"):
    os.execve(os.environ["REWARD_PYTHON"], [os.environ["REWARD_PYTHON"], *sys.argv], {**os.environ, "REWARD_PYTHON_RUNS": "1"})
try:
    import gguf
except ImportError:
    gguf = None
try:
    import torch, transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
except ImportError:
    transformers = None

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
work = Path(tempfile.mkdtemp())
bad = 0
LLAMA = os.environ.get("LLAMA_PYTHON")
LLAMA_SERVER = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path = sys.argv[1]
p.n_ctx, p.n_parallel, p.hostnames, p.port, p.warmup = 512, 1, ["127.0.0.1"], 0, False
s = xllamacpp.Server(p)
print(s.listening_address, flush=True)
sys.stdin.read()
"""
ROWS = [{"input_ids": [5, 9, 120, 7]}, {"input_ids": [(i * 37 + 11) % 190 + 5 for i in range(150)]}]


def check(ok, what):
    global bad
    if not ok:
        bad = 1
        print("FAIL:", what)


def run(*words, rows=None, status=0):
    text = "".join(json.dumps(r) + "\n" for r in rows) if rows else None
    p = subprocess.run([REWARD, *map(str, words), "-q"], input=text, capture_output=True, text=True)
    check(p.returncode == status, f"{words}: exit status {p.returncode}: {p.stderr[-300:]}")
    return p.stderr if status else [json.loads(line) for line in p.stdout.splitlines()] if rows else None


# ---- safetensors

def load(path):
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    return {k: (t["shape"], array.array("f", raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])) for k, t in header.items()}


def save(path, tensors):
    header, data = {}, b""
    for k, (shape, values) in tensors.items():
        header[k] = dict(dtype="F32", shape=shape, data_offsets=[len(data), len(data) + 4 * len(values)])
        data += values.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


# ---- GGUF

def value(v):
    """Type and bytes of a metadata value."""
    if isinstance(v, list):
        kind = 5 if type(v[0]) is int else value(v[0])[0]  # whole numbers in lists have a sign
        return 9, struct.pack("<IQ", kind, len(v)) + b"".join(value(x)[1] for x in v)
    if isinstance(v, str):
        return 8, struct.pack("<Q", len(v.encode())) + v.encode()
    kind, form = (7, "?") if isinstance(v, bool) else (4, "I") if isinstance(v, int) else (6, "f")
    return kind, struct.pack("<" + form, v)


def write_gguf(path, meta, tensors):
    out, at, data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta)), 0, b""
    for k, v in meta.items():
        kind, text = value(v)
        out += value(k)[1] + struct.pack("<I", kind) + text
    for k, (shape, values) in tensors.items():
        out += value(k)[1] + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape)) + struct.pack("<IQ", 0, at)
        data += values.tobytes() + bytes(-len(values) * 4 % 32)
        at = len(data)
    path.write_bytes(out + bytes(-len(out) % 32) + data)


TOKENS = ["<pad>", *map(chr, range(97, 123)), "ab", "1", "11", "111", "1111"]
ARCHITECTURES = {"mixtral": "llama", "qwen3_moe": "qwen3moe", "olmo3": "olmo2"}
PERMUTED = ("llama", "mixtral", "smollm3")
NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "block_sparse_moe.gate": "ffn_gate_inp", "mlp.gate": "ffn_gate_inp", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
EXPERTS = {"w1": "gate", "w2": "down", "w3": "up", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


def gguf_name(name, family):
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    name, kind = name.rsplit(".", 1)
    if name in whole:
        return f"{whole[name]}.{kind}"
    _, _, layer, name = name.split(".", 3)
    if name == "post_attention_layernorm":  # behind the branch where there is another norm behind the MLP
        return f"blk.{layer}.{'post_attention_norm' if family.startswith(('gemma2', 'gemma3', 'olmo')) else 'ffn_norm'}.{kind}"
    if ".experts." in name:
        return f"blk.{layer}.ffn_{EXPERTS[name.rsplit('.', 1)[1]]}_exps.{kind}"
    return f"blk.{layer}.{NAMES[name]}.{kind}"


def permuted(shape, values, heads):
    """As llama.cpp's converter does it: a head's two halves row by row, one from either."""
    d, cols = shape[0] // heads, len(values) // shape[0]
    order = [h * d + j * (d // 2) + i for h in range(heads) for i in range(d // 2) for j in range(2)]
    return shape, array.array("f", b"".join(values[r * cols:(r + 1) * cols].tobytes() for r in order))


def to_gguf(c, tensors):
    """The file's tensors, and what must come back of each (Gemma's norms are rounded where 1 is added)."""
    family, out, back = c["model_type"], {}, {}
    for name, (shape, values) in tensors.items():
        if name == "score.weight":
            continue
        to, back[name] = gguf_name(name, family), (shape, values)
        if family.startswith("gemma") and name.endswith("norm.weight"):
            values = array.array("f", [x + 1 for x in values])
            back[name] = shape, array.array("f", [x - 1 for x in values])
        if family in PERMUTED and (".q_proj." in name or ".k_proj." in name):
            shape, values = permuted(shape, values, c["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"])
        if "_exps." in to:
            before = out.get(to, ([0], array.array("f")))
            shape, values = [before[0][0] + 1, *shape], before[1] + values
        out[to] = shape, values
    return out, back


def metadata(c):
    arch = ARCHITECTURES.get(c["model_type"], c["model_type"])
    rope = c["rope_parameters"].get("full_attention", c["rope_parameters"])
    size = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    own = {"context_length": c["max_position_embeddings"], "embedding_length": c["hidden_size"], "block_count": c["num_hidden_layers"],
           "feed_forward_length": c["intermediate_size"], "attention.head_count": c["num_attention_heads"],
           "attention.head_count_kv": c["num_key_value_heads"], "attention.layer_norm_rms_epsilon": c["rms_norm_eps"]}
    if c["model_type"] != "gemma":
        own["rope.freq_base"] = float(rope["rope_theta"])
    if c.get("head_dim"):
        own |= {"attention.key_length": size, "attention.value_length": size}
    if "num_experts_per_tok" in c:
        own |= {"expert_count": c["num_local_experts"], "expert_used_count": c["num_experts_per_tok"]}
    if "moe_intermediate_size" in c:
        own["expert_feed_forward_length"] = c["moe_intermediate_size"]
    if rope["rope_type"] == "yarn":
        own |= {"rope.scaling.type": "yarn", "rope.scaling.factor": rope["factor"], "rope.scaling.original_context_length": rope["original_max_position_embeddings"]}
        own |= {f"rope.scaling.yarn_{b}": rope[a] for a, b in (("attention_factor", "attn_factor"), ("beta_fast", "beta_fast"), ("beta_slow", "beta_slow")) if a in rope}
    if c["model_type"] == "phi3":
        own |= {"attention.sliding_window": c["sliding_window"] or 0, "rope.scaling.original_context_length": c["original_max_position_embeddings"],
                "rope.scaling.attn_factor": math.sqrt(1 + math.log(c["max_position_embeddings"] / c["original_max_position_embeddings"]) / math.log(c["original_max_position_embeddings"])),
                "rope.dimension_count": int(size * rope.get("partial_rotary_factor", 1))}
    if c["model_type"] == "olmo3":
        own |= {"attention.sliding_window": c["sliding_window"], "attention.sliding_window_pattern": [t == "sliding_attention" for t in c["layer_types"]],
                "rope.freq_base_swa": c["rope_parameters"]["sliding_attention"]["rope_theta"]}
    filler = [f"[PAD{i}]" for i in range(len(TOKENS), c["vocab_size"])]
    return {"general.architecture": arch, **{f"{arch}.{k}": v for k, v in own.items()}, "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "dbrx" if c["model_type"] in ("olmo2", "olmo3", "phi3") else "llama-bpe",
            "tokenizer.ggml.tokens": TOKENS + filler, "tokenizer.ggml.token_type": [1] * len(TOKENS) + [5] * len(filler), "tokenizer.ggml.merges": ["a b", "1 1", "11 1", "111 1"],
            "tokenizer.ggml.padding_token_id": 0}


def narrowed(name, c, tensors):
    """What GGUF has no place for is set to what llama.cpp takes for granted."""
    if name == "qwen3_moe":  # each layer is a mixture
        c["num_hidden_layers"], c["mlp_only_layers"] = 1, []
        return {k: v for k, v in tensors.items() if ".layers." not in k or ".layers.0." in k}
    if name == "phi3" and LLAMA:  # which leaves Phi's window out
        c["sliding_window"] = None
    if name == "olmo3" and LLAMA:  # which turns all layers by one base
        c["rope_parameters"]["sliding_attention"]["rope_theta"] = c["rope_parameters"]["full_attention"]["rope_theta"]
    if name == "smollm3":  # each fourth layer without rotary: 0, 1, 2 and 0 again
        c.update(num_hidden_layers=4, no_rope_layer_interval=4, no_rope_layers=None, layer_types=None)
        return tensors | {k.replace(".layers.0.", ".layers.3."): v for k, v in tensors.items() if ".layers.0." in k}
    if name == "llama_yarn":  # with biases of attention, whose rows of query and key are permuted as well
        rope = c["rope_parameters"]
        c.update(attention_bias=True, rope_parameters={k: rope[k] for k in rope if k[:6] not in ("mscale", "trunca")} | {"attention_factor": 1.25})
        biases = {k[:-6] + "bias": ([v[0][0]], array.array("f", [(i * 29 % 17 - 8) / 32 for i in range(v[0][0])])) for k, v in tensors.items() if "self_attn" in k}
        return tensors | biases
    if name.startswith("olmo"):  # an output matrix of its own
        shape, values = tensors["model.embed_tokens.weight"]
        return tensors | {"lm_head.weight": (shape, values[::-1])}
    return tensors


def both(name):
    folder, file, out = work / name, work / f"{name}.gguf", work / f"{name}.back"
    shutil.copytree(ROOT / "tests" / "data" / "model" / name, folder, dirs_exist_ok=True)
    c = json.loads((folder / "config.json").read_text())
    tensors = narrowed(name, c, load(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(c))
    save(folder / "model.safetensors", tensors)
    theirs, back = to_gguf(c, tensors)
    rope = c["rope_parameters"]
    for kind in ("long", "short") if rope.get("long_factor") else ():
        theirs[f"rope_factors_{kind}.weight"] = [len(rope[f"{kind}_factor"])], array.array("f", rope[f"{kind}_factor"])
    if gguf:
        arch = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[ARCHITECTURES.get(c["model_type"], c["model_type"])]
        names = gguf.get_tensor_name_map(arch, c["num_hidden_layers"])
        for k in back:
            asked = re.sub(r"experts\.\d+", "experts", k)
            if "block_sparse_moe.experts" in asked:
                asked = f"layers.{asked.split('.')[2]}.feed_forward.experts.{asked.split('.')[-2]}.weight"
            check(names.get_name(asked, (".weight", ".bias")) == gguf_name(k, c["model_type"]), f"{name}: {asked} by the gguf package")
    write_gguf(file, metadata(c), theirs)
    return c, folder, file, out, back, theirs


def refused(folder, name, meta, tensors, why):
    """A file with other keys and tensors, None for one that it lacks."""
    c, *_, theirs = both(name)
    file = work / f"{folder}.gguf"
    less = lambda whole, change: {k: v for k, v in {**whole, **change}.items() if v is not None}
    write_gguf(file, less(metadata(c), meta), less(theirs, tensors))
    said = run("convert", file, "-o", work / folder, status=1)
    check(why in (said or ""), f"{folder}: {said}")


def check_llama(name, file, out):
    """Differences between the likeliest tokens' logits; llama.cpp keeps keys and values in f16."""
    server = subprocess.Popen([LLAMA, "-c", LLAMA_SERVER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = server.stdout.readline().strip()
        check(address.startswith("http://"), f"{name}: llama.cpp does not load the file")
        for row in [r["input_ids"] for r in ROWS][name == "phi3":] if address else ():  # LongRoPE's long divisors at any length
            c = http.client.HTTPConnection(address.split("//")[1], timeout=60)
            c.request("POST", "/completion", json.dumps(dict(prompt=row, n_predict=1, n_probs=8, temperature=0, cache_prompt=False)))
            top = json.loads(c.getresponse().read())["completion_probabilities"][0]["top_logprobs"]
            ours = [run("score", "--model", out, "--head", f"logit:{t['id']}", rows=[{"input_ids": row}])[0]["score"] for t in top]
            off = max(abs(t["logprob"] - top[0]["logprob"] - o + ours[0]) for t, o in zip(top, ours))
            check(len(top) == 8 and off < 0.02, f"{name}: {len(row)} tokens, logits beside llama.cpp's: off by {off}")
    finally:
        server.stdin.close()
        server.terminate()
        server.wait()


def check_family(name):
    c, folder, file, out, back, _ = both(name)
    run("convert", file, "-o", out, "--save-dtype", "f32")
    if not (out / "model.safetensors").exists():
        return
    got = load(out / "model.safetensors")
    check(got.keys() == back.keys(), f"{name}: tensors: {sorted(got.keys() ^ back.keys())}")
    check(all(got[k][0] == back[k][0] and got[k][1].tobytes() == back[k][1].tobytes() for k in got if k in back), f"{name}: tensors' values")
    scores = [[r["score"] for r in run("score", "--model", f, "--head", "logit:7", rows=ROWS)] for f in (folder, out)]
    exact = not c["model_type"].startswith("gemma")
    check(scores[0] == scores[1] if exact else all(abs(a - b) < 1e-5 * max(1, abs(a)) for a, b in zip(*scores)), f"{name}: scores {scores}")
    ids = run("tokenize", "--model", out, rows=[{"text": "ab1111"}])[0]["input_ids"]
    check([TOKENS[i] for i in ids] == ["ab", "111", "1"], f"{name}: ids {ids}")  # three digits together at most
    if LLAMA and name not in ("olmo2", "llama_yarn"):  # which have biases and a factor of attention that it reads otherwise
        check_llama(name, file, out)
    if transformers:
        m, info = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        check(not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), f"{name}: {info}")
        with torch.no_grad():
            want = [m(input_ids=torch.tensor([r["input_ids"]])).logits[0, -1, 7].item() for r in ROWS]
        check(all(abs(a - b) <= 1e-4 * max(1, abs(b)) for a, b in zip(scores[1], want)), f"{name}: transformers' logits {want}, {scores[1]}")


try:
    for name in ("llama", "gemma", "phi3", "olmo2", "olmo3", "smollm3", "mixtral", "qwen3_moe", "qwen2_yarn", "llama_yarn"):
        check_family(name)
    refused("experts", "mixtral", {}, {"blk.1.ffn_up_exps.weight": ([3, 24, 32], array.array("f", [0] * 3 * 24 * 32))}, "blk.1.ffn_up_exps.weight: expected shape [4, 24, 32]")
    refused("used", "mixtral", {"llama.expert_used_count": None}, {}, "llama.expert_used_count: expected a whole number")
    refused("few", "qwen3_moe", {}, {"blk.0.ffn_down_exps.weight": None}, "blk.0.ffn_down_exps.weight is missing")
    refused("none", "qwen2_yarn", {"qwen2.expert_count": 4}, {}, "key qwen2.expert_count is not supported")
    refused("bias", "olmo2", {}, {"blk.0.ffn_up.bias": ([80], array.array("f", [0] * 80))}, "some would be lost")
    refused("short", "phi3", {}, {"rope_factors_short.weight": None}, "rope_factors_short.weight: expected 3 values")
    refused("turned", "olmo2", {"olmo2.rope.dimension_count": 6}, {}, "rope.dimension_count: expected the head size 8, got 6")
    refused("log", "llama_yarn", {"llama.rope.scaling.yarn_log_multiplier": 0.1}, {}, "yarn_log_multiplier is not supported")
    refused("window", "qwen3_moe", {"qwen3moe.attention.sliding_window": 16}, {}, "sliding_window is not supported")
finally:
    shutil.rmtree(work)
sys.exit(bad)
