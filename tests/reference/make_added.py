#!/usr/bin/env python3
"""make_added.py - tokenizers of tests/data/tokenizer whose added tokens come from several files, and transformers' ids.

usage: tests/reference/make_added.py     (needs: pip install transformers)

Writes folders added_*, all of bytes without merges, and expected_added.json: the ids of texts in which every kind of
added token stands beside every kind of white space, word and other character.
"""
import itertools
import json
import os

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "tokenizer")


def flags(content, special=False, **more):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": special, **more}


def added(*tokens):
    return [{"id": 256 + i, **t} for i, t in enumerate(tokens)]


FOLDERS = {
    "added_flags": (added(flags("<r>", True, rstrip=True), flags("<l>", True, lstrip=True), flags("<b>", lstrip=True, rstrip=True), flags("word", single_word=True),
                          flags("wo"), flags("<w>", True, single_word=True, rstrip=True), flags("\n"), flags("\u3000\u3000"), flags("<n>", normalized=True, rstrip=True)), {}, {}),
    "added_decoder": (added(flags("<r>", True), flags("<l>", True, lstrip=True), flags("word")),
                      {"added_tokens_decoder": {"300": flags("<b>", lstrip=True), "256": flags("<r>", True, rstrip=True), "299": flags("wo", single_word=True), "257": flags("<l>", True)},
                       "eos_token": "<w>", "pad_token": "<r>", "image_token": "<n>", "additional_special_tokens": ["word", "\u3000\u3000"]},
                      {"special_tokens_map.json": {"bos_token": "\n"}, "added_tokens.json": {"z": 400}}),
    "added_named": (added(flags("<r>", True)), {"eos_token": "<r>", "unk_token": "<w>", "extra_special_tokens": ["<l>"], "cls_token": "z"},
                    {"special_tokens_map.json": {"bos_token": {"content": "<b>", "lstrip": True, "rstrip": True, "normalized": False, "single_word": False}, "mask_token": "word"},
                     "added_tokens.json": {"<n>": 300, "wo": 299, "<w>": 301}}),
}
# one of every class that \w and \s of the tokenizers library tell apart
AROUND = ["", " ", "\t", "\n", "\r\n", "\x0b\x0c", "\x1c", "\u0085", "\u00a0", "\u1680", "\u180e", "\u2003\u3000", "\u3000\u3000\u3000", "\u2028\u2029", "\u200b", "\u202f\u205f", " \n ", "x", "_", "7", "\u00bd", "\u00b2",
          "\u2167", "\u24b6", "\U0001f170", "\u0301", "\u0903", "\u20dd", "\u200c", "\u200d", "\u203f", "\u00e9", "今", "\U0001f600", "-", "z", "wo"]
TOKENS = ["<r>", "<l>", "<b>", "word", "<w>", "<n>"]
TEXTS = [a + t + b for t, a, b in itertools.product(TOKENS, AROUND, AROUND) if a == "" or b == "" or a == b]
TEXTS += [a + c + b for a, c, b in itertools.product(TOKENS, AROUND, TOKENS)] + ["wordword", "word wo words", "<r> \n\n <l>", "<r>\n\n"]


def main():
    tiny = {}
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for name, (tokens, config, files) in FOLDERS.items():
        folder = os.path.join(OUT, name)
        os.makedirs(folder, exist_ok=True)
        files = {"tokenizer.json": {"version": "1.0", "added_tokens": tokens, "normalizer": {"type": "NFC"} if name == "added_flags" else None,
                                    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, "post_processor": None,
                                    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, "model": {"type": "BPE", "vocab": vocab, "merges": []}},
                 "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **config}, **files}
        for file, value in files.items():
            with open(os.path.join(folder, file), "w") as f:
                json.dump(value, f)
        t = AutoTokenizer.from_pretrained(folder)
        tiny[name] = [t.encode(text, add_special_tokens=False) for text in TEXTS]
    with open(os.path.join(OUT, "expected_added.json"), "w") as f:
        json.dump({"texts": TEXTS, "tiny": tiny}, f, separators=(",", ":"))


main()
