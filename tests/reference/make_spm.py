#!/usr/bin/env python3
"""make_spm.py - SentencePiece models of tests/data/tokenizer/spm_* and the ids that transformers gives for them.

usage: tests/reference/make_spm.py     (needs: pip install sentencepiece protobuf transformers)

Trains tiny BPE models (tokenizer.model, no tokenizer.json) and writes expected_spm.json: for each of them and every text
of make_tokens.py's corpus the ids without special tokens, by transformers' slow tokenizer (its SentencePiece backend), and
by its LlamaTokenizer where the folder says "legacy": false. spm_unigram and the like are there to be refused.
"""
import io
import json
import os

import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2 as pb
from transformers import AddedToken, LlamaTokenizer
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from make_tokens import CORPUS, OUT, SENTENCES

CODE = open(os.path.join(os.path.dirname(__file__), "..", "..", "src", "base", "mem.c")).read().split("\n")
TEXTS = CORPUS + ["<s>[INST] hi [/INST] ok</s>", "<s> x </s> y", "</s>", "a<s>b", "<|im_start|>user\nhi<|im_end|>\n", "[UNUSED_TOKEN_1]",
                  "<pad>x", "x<pad>", "a <extra> b", "\u2581<s>\u2581", "qx xq qqx", "  \u2581 <s>  \n", "\u2047", "\u2585", "abab ab aba"]


def train(**kw):
    out = io.BytesIO()
    args = dict(model_type="bpe", vocab_size=560, byte_fallback=True, normalization_rule_name="identity", character_coverage=0.995,
                remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2)
    args.update(kw)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(SENTENCES[:6] + CODE[:200]), model_writer=out, **args)
    m = pb.ModelProto.FromString(out.getvalue())
    m.trainer_spec.ClearField("self_test_sample_size")
    return m


def without_characters(m):
    """Some characters of longer pieces are no pieces themselves, and some pieces have equal scores."""
    kept = [p for p in m.pieces if p.piece not in ("q", "x", "k")]
    del m.pieces[:]
    m.pieces.extend(kept)
    m.pieces.add(piece="qx", score=-1.5)
    for i, p in enumerate(m.pieces):
        if p.type == 1:
            p.score = -(i // 7)
    return m


def save(name, model, config=None, **files):
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as f:
        f.write(model.SerializeToString(deterministic=True))
    for file, value in [("tokenizer_config", config), *files.items()]:
        if value is not None:
            with open(os.path.join(folder, file + ".json"), "w") as f:
                json.dump(value, f)
    return os.path.join(folder, "tokenizer.model")


def ids(tokenizer):
    return [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]


def slow(path, **kw):
    named = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    named.update(kw)
    return ids(SentencePieceBackend(vocab_file=path, legacy=True, **named))


def main():
    want = {}
    llama = train()
    path = save("spm_llama", llama, {"tokenizer_class": "LlamaTokenizer", "bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"},
                                     "unk_token": "<unk>", "pad_token": "<pad>", "add_bos_token": True, "legacy": True},
                added_tokens={"<pad>": len(llama.pieces), "<extra>": len(llama.pieces) + 1})
    want["spm_llama"] = slow(path, pad_token="<pad>", added_tokens_decoder={
        len(llama.pieces): AddedToken("<pad>", special=True, normalized=False), len(llama.pieces) + 1: AddedToken("<extra>")})

    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": False}
    path = save("spm_first", llama, config)
    want["spm_first"] = ids(LlamaTokenizer.from_pretrained(os.path.dirname(path)))

    plain = train(add_dummy_prefix=False, user_defined_symbols=["[UNUSED_TOKEN_0]", "[UNUSED_TOKEN_1]", "    ", "=="])
    at = {p.piece: i for i, p in enumerate(plain.pieces)}
    added = {i: AddedToken(t, special=True, normalized=False) for i, t in [
        (0, "<unk>"), (1, "<s>"), (2, "</s>"), (at["[UNUSED_TOKEN_0]"], "<|im_start|>"), (len(plain.pieces), "<|im_end|>")]}
    path = save("spm_plain", plain, {"tokenizer_class": "InternLM2Tokenizer", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>",
                                     "unk_token": "<unk>", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
                                     "added_tokens_decoder": {str(i): {"content": t.content, "special": True} for i, t in added.items()}})
    want["spm_plain"] = slow(path, pad_token="</s>", added_tokens_decoder=added)

    want["spm_unknown"] = slow(save("spm_unknown", without_characters(train(byte_fallback=False, vocab_size=300))))

    want["spm_loose"] = slow(save("spm_loose", without_characters(train())))

    for name, kw in ("spm_unigram", dict(model_type="unigram", vocab_size=340)), ("spm_nfkc", dict(normalization_rule_name="nfkc", vocab_size=380)):
        m = train(**kw)
        m.normalizer_spec.precompiled_charsmap = m.normalizer_spec.precompiled_charsmap[:16]  # that it is there is enough
        save(name, m)
    versions = dict(sentencepiece=sentencepiece.__version__, transformers=transformers.__version__)
    with open(os.path.join(OUT, "expected_spm.json"), "w") as f:
        json.dump(dict(versions, texts=TEXTS, tiny=want), f, separators=(",", ":"))


main()
