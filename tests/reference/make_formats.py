#!/usr/bin/env python3
"""Records what the safetensors, gguf, transformers and tokenizers packages do, into tests/data/format/.

    python3 tests/reference/make_formats.py        needs torch, transformers, safetensors, gguf, tokenizers,
                                                  sentencepiece

  layout.safetensors        one tensor of each dtype, a scalar and an empty one, as the package lays them out
  halves.safetensors        f32 bit patterns (x) and PyTorch's rounding of them to f16 and bf16
  blocks.gguf               random blocks of every supported quantized type
  blocks.safetensors        the gguf package's dequantization of them
  smollm.gguf, llama.gguf   tiny random Llama models with a tokenizer: tied embedding and head size from the hidden
                            size; own head, explicit head size, Llama 3.1's rotary scaling, filler tokens
  qwen2.gguf, qwen3.gguf, llama_pieces.gguf, gemma2.gguf, gemma3.gguf
                            the other architectures; the last three with a SentencePiece vocabulary
  NAME.safetensors          transformers' reading of NAME.gguf
  ../../fuzz/corpus/        seeds of the fuzz targets
  NAME.ids.json             texts, and their ids by a tokenizer with the published pre-tokenizer of that name
"""
import io, json
from pathlib import Path
import numpy as np, torch, gguf
from gguf.constants import GGMLQuantizationType as Q, GGML_QUANT_SIZES
from safetensors.torch import save_file
import sentencepiece as spm
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM
from transformers.convert_slow_tokenizer import generate_merges

OUT = Path(__file__).resolve().parent.parent / "data" / "format"
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(5)


def layout():
    kinds = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32,
             torch.float32, torch.float64, torch.int64]
    tensors = {f"t{i}": torch.arange(3).to(kind) for i, kind in enumerate(kinds)}  # t7 is the f32 one
    tensors |= {"scalar": torch.tensor(7.0), "empty": torch.zeros(0, 2), 'quote"\n\u00e9': torch.ones(1, 2, dtype=torch.uint8)}
    save_file(tensors, OUT / "layout.safetensors", metadata={"format": "pt"})


def halves():
    bits = [rng.integers(0, 1 << 32, 1500, dtype=np.uint32)]
    for exponent in range(127 - 26, 127 + 18):  # around ties of f16, from below its denormals to above its largest
        low = rng.integers(0, 1 << 10, 8, dtype=np.uint32) << 13
        bits += [np.uint32(exponent << 23) | low | np.uint32(tie) for tie in (0, 0x0FFF, 0x1000, 0x1001)]
    edges = [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFC00001, 0x7F7FFFFF, 0x477FEFFF, 0x477FF000, 1, 0x33000000,
             0x33000001, 0x387FFFFF, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F7F8000]
    x = torch.from_numpy(np.concatenate(bits + [np.array(edges, dtype=np.uint32)]).view(np.float32).copy())
    save_file({"x": x, "f16": x.to(torch.float16), "bf16": x.to(torch.bfloat16)}, OUT / "halves.safetensors")


def blocks():
    writer, expected = gguf.GGUFWriter(OUT / "blocks.gguf", "none"), {}
    for kind in (Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q4_K, Q.Q5_K, Q.Q6_K):
        values, size = GGML_QUANT_SIZES[kind]
        rows = rng.integers(0, 256, (2, 256 // values * size), dtype=np.uint8)
        b = rows.reshape(-1, size)
        scales = {Q.Q8_0: [0], Q.Q4_0: [0], Q.Q5_0: [0], Q.Q4_1: [0, 2], Q.Q5_1: [0, 2], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2],
                  Q.Q6_K: [208], Q.F16: [0], Q.BF16: [0], Q.F32: [2]}[kind]
        for at in scales:  # finite scales; NaNs of different bits cannot be compared
            b[:, at + 1] &= 0xBB
        writer.add_tensor(kind.name, rows, raw_dtype=kind)
        value = gguf.quants.dequantize(rows, kind)
        expected[kind.name] = torch.from_numpy(np.ascontiguousarray(value))
        assert expected[kind.name].shape == (2, 256) and torch.isfinite(expected[kind.name]).all(), kind
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
    save_file(expected, OUT / "blocks.safetensors")


GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = GPT4.replace(r"\p{N}{1,3}", r"\p{N}")
PRE = {"qwen2": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                                                 pre_tokenizers.ByteLevel(False, use_regex=False)]),
       "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]),
       "llama-bpe": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(GPT4), "isolated"),
                                                     pre_tokenizers.ByteLevel(False, use_regex=False)])}
TEXTS = ["", "hello there", "  the 2024 then\n\n\nthe", "12345 ½²", "it's IT'S\t(the)", "h\u00e9llo \u4e2d\u6587 \U0001F600",
         "<|im_start|>user\nhello<|im_end|>\n", "a<tool>b", " hello", "there", "hello\r\n  there  ", "thethethe 7 77 777 7777"]


class Bytes:
    """A byte-level vocabulary with a few merges."""
    kind = "gpt2"

    def __init__(self, pre, filler):
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        merges = [("t", "h"), ("th", "e"), ("\u0120", "the"), ("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("\u0120", "t"),
                  ("\u0120t", "h"), ("\u0120", "\u0120"), ("7", "7"), ("77", "7"), ("i", "t"), ("\u010a", "\u010a"), ("\u00c3", "\u00a9")]
        words = alphabet + ["".join(m) for m in merges]
        words += ["hello"] * ("hello" not in words) + ["there"]  # "there" has no merges: found whole only where they are ignored
        special, user = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<tool>"]
        self.tokens = words + special + user
        self.types = [1] * len(words) + [3] * len(special) + [4] * len(user) + [5] * filler
        self.at, self.pre, self.filler, self.merges = self.tokens.index("<|endoftext|>"), pre, filler, merges
        self.reference = t = Tokenizer(models.BPE({x: i for i, x in enumerate(self.tokens)}, merges, ignore_merges=pre == "llama-bpe"))
        t.pre_tokenizer = PRE[pre]()
        if pre == "qwen2":
            t.normalizer = normalizers.NFC()
        t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in special])
        t.add_tokens([AddedToken(x, special=False, normalized=False) for x in user])

    def write(self, w):
        w.add_tokenizer_pre(self.pre)
        w.add_token_list(self.tokens + [f"[PAD{i}]" for i in range(self.filler)])
        w.add_token_types(self.types)
        w.add_token_merges([" ".join(m) for m in self.merges])
        w.add_bos_token_id(self.at + 1); w.add_eos_token_id(self.at + 2); w.add_unk_token_id(self.at); w.add_pad_token_id(self.at + 2)


class Pieces:
    """A SentencePiece BPE model trained on a few sentences; the merges by transformers' conversion, whose ids are held to
    sentencepiece's own."""
    kind, filler = "llama", 0

    def __init__(self, prefix):
        words = (" ".join(TEXTS[:6]) + " the theatre hello other 2024 then there those hell 777 thinking with weather " * 3).split()
        model = io.BytesIO()
        user, control = ["<tool>", "\u2581\u2581", "\u2581" * 4, "\n\n"], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        spm.SentencePieceTrainer.train(sentence_iterator=iter([" ".join(words)] * 3), model_writer=model, model_type="bpe", vocab_size=340,
                                       byte_fallback=True, character_coverage=1.0, hard_vocab_limit=False, num_threads=1,
                                       add_dummy_prefix=prefix, normalization_rule_name="identity", remove_extra_whitespaces=False,
                                       control_symbols=control, user_defined_symbols=user, minloglevel=2, pad_id=3)
        sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
        self.sp, self.prefix, n = sp, prefix, sp.get_piece_size()
        kind = lambda i: (2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 4 if sp.id_to_piece(i) in user else 1)
        self.tokens, self.types = [sp.id_to_piece(i) for i in range(n)], [kind(i) for i in range(n)]
        self.scores = [sp.get_score(i) for i in range(n)]
        vocab = {x: i for i, x in enumerate(self.tokens)}
        joins = {x: s for x, s, k in zip(self.tokens, self.scores, self.types) if k in (1, 4)}
        merges = generate_merges({x: vocab[x] for x in joins}, joins)
        self.reference = t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        marks = [normalizers.Replace(" ", "\u2581")]
        t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581")] + marks if prefix else marks)
        for x, k in zip(self.tokens, self.types):
            if k in (2, 3, 4):
                (t.add_special_tokens if k != 4 else t.add_tokens)([AddedToken(x, special=k != 4, normalized=False)])
        for text in ["hello there", "the 2024 then those", "thinking with the weather", "h\u00e9llo \u4e2d \U0001F600", "otherhello 77777"]:
            assert t.encode(text).ids == sp.encode(text), text

    def write(self, w):
        # as the public conversion script has them: user-defined pieces with spaces for marks, and another score
        user = [k == 4 for k in self.types]
        w.add_token_list([x.replace("\u2581", " ") if u else x for x, u in zip(self.tokens, user)])
        w.add_token_scores([-1000.0 if u else s for s, u in zip(self.scores, user)])
        w.add_token_types(self.types)
        w.add_bos_token_id(self.tokens.index("<|im_start|>")); w.add_eos_token_id(self.tokens.index("<|im_end|>")); w.add_unk_token_id(0); w.add_pad_token_id(3)
        w.add_add_space_prefix(self.prefix)


def tiny(name, words, own_head=False, rope=False, arch="llama"):
    heads, kv, hidden, ff, layers = 4, 2, 32, 64, 2
    gemma, head_dim = arch.startswith("gemma"), 16 if rope or arch in ("qwen3", "gemma2", "gemma3") else hidden // heads
    vocab = len(words.tokens) + words.filler
    w = gguf.GGUFWriter(OUT / f"{name}.gguf", arch)
    w.add_context_length(512); w.add_embedding_length(hidden); w.add_block_count(layers); w.add_feed_forward_length(ff)
    w.add_head_count(heads); w.add_head_count_kv(kv); w.add_layer_norm_rms_eps(1e-5); w.add_rope_dimension_count(head_dim)
    w.add_rope_freq_base(500000.0 if rope else 1000000.0 if arch == "gemma3" else 10000.0); w.add_vocab_size(vocab)
    if head_dim != hidden // heads:
        w.add_key_length(head_dim); w.add_value_length(head_dim)
    if gemma:
        w.add_sliding_window(16)
    if arch == "gemma2":
        w.add_attn_logit_softcapping(40.0); w.add_final_logit_softcapping(30.0)
    if arch == "gemma3":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR); w.add_rope_scaling_factor(8.0)
    w.add_tokenizer_model(words.kind)
    words.write(w)
    w.add_chat_template("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}")

    def add(tensor, rows, cols, kind, n_head=0):
        x = rng.normal(0, 0.5, (rows, cols)).astype(np.float32)
        if n_head and arch == "llama":  # the permutation of the public conversion script
            x = x.reshape(n_head, 2, head_dim // 2, cols).swapaxes(1, 2).reshape(rows, cols)
        w.add_tensor(tensor, gguf.quants.quantize(x, kind), raw_dtype=kind)

    def vector(tensor, n, mean):
        w.add_tensor(tensor, rng.normal(mean, 0.3, n).astype(np.float32))

    add("token_embd.weight", vocab, hidden, Q.Q8_0)
    for i in range(layers):
        vector(f"blk.{i}.attn_norm.weight", hidden, 1)
        add(f"blk.{i}.attn_q.weight", heads * head_dim, hidden, Q.Q4_1, heads)
        add(f"blk.{i}.attn_k.weight", kv * head_dim, hidden, Q.Q4_0, kv)
        add(f"blk.{i}.attn_v.weight", kv * head_dim, hidden, Q.Q5_1)
        for part, n in (("q", heads * head_dim), ("k", kv * head_dim), ("v", kv * head_dim)) if arch == "qwen2" else ():
            vector(f"blk.{i}.attn_{part}.bias", n, 0)
        for part in ("q", "k") if arch in ("qwen3", "gemma3") else ():
            vector(f"blk.{i}.attn_{part}_norm.weight", head_dim, 1)
        add(f"blk.{i}.attn_output.weight", hidden, heads * head_dim, Q.Q5_0)
        for norm in ("post_attention_norm", "post_ffw_norm") if gemma else ():
            vector(f"blk.{i}.{norm}.weight", hidden, 1)
        vector(f"blk.{i}.ffn_norm.weight", hidden, 1)
        add(f"blk.{i}.ffn_gate.weight", ff, hidden, Q.F16)
        add(f"blk.{i}.ffn_up.weight", ff, hidden, Q.BF16)
        add(f"blk.{i}.ffn_down.weight", hidden, ff, Q.Q8_0)
    vector("output_norm.weight", hidden, 1)
    if own_head:
        add("output.weight", vocab, hidden, Q.Q8_0)
    if rope:  # as the public conversion script computes it, factor 8
        freq = 500000.0 ** -(np.arange(0, head_dim, 2) / head_dim)
        wave = 2 * np.pi / freq
        smooth = (8192 / wave - 1) / 3
        w.add_tensor("rope_freqs.weight", np.where(wave < 2048, 1, np.where(wave > 8192, 8, 1 / ((1 - smooth) / 8 + smooth))).astype(np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    own = {"head_dim": head_dim} if arch == "qwen3" else {}  # transformers takes 128 for granted
    model = AutoModelForCausalLM.from_pretrained(OUT, gguf_file=f"{name}.gguf", dtype=torch.float32, **own)
    save_file({k: v.contiguous() for k, v in model.state_dict().items() if own_head or k != "lm_head.weight"}, OUT / f"{name}.safetensors")
    t = words.reference
    assert t.get_vocab_size() == len(words.tokens)
    rows = [{"text": x, "ids": t.encode(x, add_special_tokens=False).ids} for x in TEXTS]
    (OUT / f"{name}.ids.json").write_text("[" + ",\n ".join(json.dumps(r) for r in rows) + "]\n")


def seeds():
    """Small valid files for the fuzz targets."""
    folder = OUT.parent.parent / "fuzz" / "corpus"
    (folder / "gguf").mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(folder / "gguf" / "convertible.gguf", "llama")
    w.add_context_length(8); w.add_embedding_length(4); w.add_block_count(1); w.add_feed_forward_length(2)
    w.add_head_count(2); w.add_head_count_kv(1); w.add_layer_norm_rms_eps(1e-5)
    w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre("llama-bpe"); w.add_token_list(["a", "b", "<s>"])
    w.add_token_types([1, 1, 3]); w.add_token_merges(["a b"]); w.add_bos_token_id(2); w.add_add_bos_token(True)
    w.add_chat_template("{{ messages }}")
    shapes = {"token_embd": (3, 4), "blk.0.attn_norm": (4,), "blk.0.attn_q": (4, 4), "blk.0.attn_k": (2, 4), "blk.0.attn_v": (2, 4),
              "blk.0.attn_output": (4, 4), "blk.0.ffn_norm": (4,), "blk.0.ffn_gate": (2, 4), "blk.0.ffn_up": (2, 4),
              "blk.0.ffn_down": (4, 2), "output_norm": (4,), "rope_freqs": (1,)}
    for name, shape in shapes.items():
        w.add_tensor(name + ".weight", np.ones(shape, dtype=np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    w = gguf.GGUFWriter(folder / "gguf" / "pieces.gguf", "gemma3")
    w.add_context_length(8); w.add_embedding_length(4); w.add_block_count(1); w.add_feed_forward_length(2); w.add_key_length(4)
    w.add_head_count(1); w.add_head_count_kv(1); w.add_layer_norm_rms_eps(1e-5); w.add_sliding_window(2)
    w.add_tokenizer_model("llama"); w.add_token_list(["<unk>", "<s>", "<0x41>", "  ", "a", "b", "ab", "\u2581ab", "\u2581"])
    w.add_token_types([2, 3, 6, 4, 1, 1, 1, 1, 1]); w.add_token_scores([0, 0, 0, -1000, -3, -4, -1, -2, -5])
    w.add_unk_token_id(0); w.add_bos_token_id(1); w.add_add_space_prefix(True)
    for name, shape in shapes.items():
        if name != "rope_freqs":
            w.add_tensor(name + ".weight", np.ones({"token_embd": (9, 4), "blk.0.attn_k": (4, 4), "blk.0.attn_v": (4, 4)}.get(name, shape), dtype=np.float32))
    for name in ("attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"):
        w.add_tensor(f"blk.0.{name}.weight", np.ones(4, dtype=np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    for name, arch in (("experts", "llama"), ("longrope", "phi3")):
        w = gguf.GGUFWriter(folder / "gguf" / f"{name}.gguf", arch)
        w.add_context_length(8); w.add_embedding_length(4); w.add_block_count(1); w.add_feed_forward_length(2)
        w.add_head_count(2); w.add_head_count_kv(1); w.add_layer_norm_rms_eps(1e-5); w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre("llama-bpe")
        w.add_token_list(["a", "b", "<s>"]); w.add_token_types([1, 1, 3]); w.add_token_merges([])
        own = {"blk.0.ffn_gate_inp": (3, 4), "blk.0.ffn_gate_exps": (3, 2, 4), "blk.0.ffn_up_exps": (3, 2, 4), "blk.0.ffn_down_exps": (3, 4, 2)}
        left = ("ffn_gate", "ffn_up", "ffn_down", "rope_freqs")
        if arch == "phi3":
            w.add_rope_scaling_orig_ctx_len(4); w.add_sliding_window(3); w.add_rope_scaling_attn_factors(1.5)
            own = {"blk.0.attn_qkv": (8, 4), "blk.0.ffn_up": (4, 4), "rope_factors_long": (1,), "rope_factors_short": (1,)}
            left = ("ffn_gate", "rope_freqs", "attn_q", "attn_k", "attn_v")
        else:
            w.add_expert_count(3); w.add_expert_used_count(2)
        for tensor, shape in {**{k: v for k, v in shapes.items() if k.split(".")[-1] not in left}, **own}.items():
            w.add_tensor(tensor + ".weight", np.ones(shape, dtype=np.float32))
        w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    w = gguf.GGUFWriter(folder / "gguf" / "types.gguf", "none")
    for kind in (Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q4_K, Q.Q5_K, Q.Q6_K, Q.F16, Q.BF16):
        w.add_tensor(kind.name, np.ones((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), raw_dtype=kind)
    w.add_array("numbers", [1, 2, 3]); w.add_array("words", ["x", "yz"]); w.add_bool("flag", True); w.add_float64("wide", 0.5)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    (folder / "safetensors").mkdir(exist_ok=True)
    (folder / "safetensors" / "layout.safetensors").write_bytes((OUT / "layout.safetensors").read_bytes())


layout()
halves()
blocks()
tiny("smollm", Bytes("smollm", 0))
tiny("llama", Bytes("llama-bpe", 3), own_head=True, rope=True)
tiny("qwen2", Bytes("qwen2", 2), own_head=True, arch="qwen2")
tiny("qwen3", Bytes("qwen2", 2), arch="qwen3")
tiny("llama_pieces", Pieces(True), own_head=True)
tiny("gemma2", Pieces(False), arch="gemma2")
tiny("gemma3", Pieces(False), arch="gemma3")
seeds()
for f in sorted(OUT.iterdir()):
    print(f.name, f.stat().st_size)
