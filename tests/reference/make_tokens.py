#!/usr/bin/env python3
"""make_tokens.py - the tokenizers of tests/data/tokenizer and the ids that the tokenizers package gives.

usage: tests/reference/make_tokens.py [FOLDER_OF_REAL_TOKENIZERS]     (needs: pip install tokenizers)

Trains tiny tokenizers on a few sentences and writes each one's tokenizer.json and tokenizer_config.json; writes
expected.json: for every tokenizer and every text of the corpus the ids, without special tokens. With a folder of real
tokenizers (NAME/tokenizer.json), theirs are recorded too; else the recorded ones are kept.
"""
import json
import os
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "tokenizer")

SENTENCES = [
    "A reward model reads a whole conversation and answers with one number.",
    "The chosen answer should be scored above the rejected one, whatever their lengths.",
    "for (int i = 0; i < n; i++) { sum += a[i] * b[i]; }  // the inner product\n",
    "def mean(xs):\n    return sum(xs) / len(xs)\n\n\nprint(mean([1, 2, 3]))\n",
    "In 2024 the set held 80,000 pairs; 378,000 before selection, and 1234567 tokens.",
    "It's what they're asking, isn't it? We'll see, I'd say; you've heard, I'm sure.",
    "Größe, façade, naïve, Ærøskøbing, Łódź, straße - words beyond ASCII.",
    "今日は良い天気です。散歩に行きましょう。 中文的句子也在这里。",
    "Привет, мир! Как дела? Хорошо.",
    "\t\ttabs and   runs of    spaces\r\nand line ends\r\n\r\n",
]

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CORPUS = SENTENCES + [
    "", " ", "  ", "   ", "\n", "\n\n\n", "\r\n", "\t", " \n ", "\n \n", "a", " a", "a ", "  a  ", "\u00a0", "\u3000x",
    "a\u2028b\u2029c", "x\u0085y", "tail of spaces     ", "     head of spaces", "one\r\ntwo\rthree\n\rfour",
    "if (x) {\n\treturn\ty;\n}\n", "int main(void) { return 0; }", "#include <stdio.h>", "a+=b;c--;d<<=2", "[]{}()<>",
    "https://example.org/a/b?c=d&e=f#g", "don't DON'T Don'T we'LL 'S 's ''s 'x", "it\u2019s", "3.14159 1e-10 0xFF 1,000,000",
    "123456789012345678901234567890", "1 22 333 4444 55555", "\u0661\u0662\u0663 \u00bd \u2167 \u2460", "5\u00b2 = 25",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1e9\U0001f1ea\U0001f3fd",
    "\u2764\ufe0f \u2764", "e\u0301 \u00e9 e\u0301\u0301", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", "\uac00\uac01 \u1100\u1161", "漢字とかなカナ", "中文，标点。", "ｆｕｌｌ　ｗｉｄｔｈ",
    "\ufb01 \u212b \u2126 \u1e9b\u0323", "\u0130\u0131 \u01c5 \u1e9e", "\ufeffbom", "\u200b\u200c\u200d\u2060", "\u00ad", "\ufffd", "\U0010ffff",
    "\ue000 \U000f0000", "\x00", "a\x00b", "\x01\x02\x1b[0m\x7f", "\u180e x", "\u1680x", "\u202fx", "\u205fx", "\u2007\u2007x",
    "\u2581", "\u2581\u2581a b", "a\u2581b", "<0x41>", "<0x0A>", "<unk>", "\u0120 \u010a \u0100", "_under_ __init__", "CamelCaseWord ALLCAPS",
    "a" * 300, " " * 300, "\n" * 50, "ab " * 100, "!?" * 70, "\u00e9" * 100, "今" * 100, "\U0001f600" * 30,
    "$\\frac{1}{2}$ \\begin{align}", "| a | b |\n|---|---|\n", "```python\nprint('x')\n```", "“quotes” ‘single’ — dash … dots",
    "<|end|>", "a<|end|>b", " <|end|> <|end|>", "<|end|", "<|end|><|end|>\n", "x [tag] y", "x[tag]y", "[tag]", "word", "wordword", " keyword ",
    "<|begin_of_text|>", "<|im_start|>user\nhi<|im_end|>\n", "<think>\n\n</think>", "<start_of_turn>user\nhi<end_of_turn>\n", "<bos>x<eos>",
    "<tool_call>{}</tool_call>", "[@BOS@]", "<table><tr>", "\n\n\n\nx\n\n", "\t\t\tx\t\t",
]

ADDED = [
    AddedToken("<|end|>", special=True, normalized=False),
    AddedToken("[tag]", special=False, normalized=False, lstrip=True, rstrip=True),
    AddedToken("word", special=False, normalized=False, single_word=True),
]


def byte_level(pre):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(SENTENCES, trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_tokens(ADDED)
    return t


def llama3():
    t = byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
    return t


def digits():
    t = byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    t.normalizer = normalizers.NFC()
    return t


def sentencepiece():
    """Byte fallback, no pre-tokenizer, spaces as marks: Llama 2's shape."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # for training: words, not whole lines
    t.train_from_iterator(SENTENCES[:6], trainers.BpeTrainer(
        vocab_size=520, special_tokens=["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)], show_progress=False))
    spec = json.loads(t.to_str())
    spec["pre_tokenizer"] = None
    spec["added_tokens"] = [a for a in spec["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(spec))
    t.add_tokens(ADDED)
    return t


def metaspace_first():
    """Mistral v0.3's and the newer Llama 2 files' shape: Metaspace that marks the text's beginning and splits nothing,
    and the decoder that undoes it."""
    return metaspace(dict(type="Metaspace", replacement="\u2581", prepend_scheme="first", split=False))


def metaspace_legacy():
    """The older spelling: add_prefix_space, before the scheme had a name; words are split."""
    return metaspace(dict(type="Metaspace", replacement="\u2581", add_prefix_space=True))


def internlm2():
    """No mark at the beginning, tokens of several spaces, no pre-tokenizer: InternLM2's shape."""
    t = json.loads(sentencepiece().to_str())
    t["normalizer"] = dict(type="Sequence", normalizers=[dict(type="Replace", pattern=dict(String=" "), content="\u2581")])
    t["decoder"] = dict(type="Sequence", decoders=[dict(type="Replace", pattern=dict(String="\u2581"), content=" "),
                                                  dict(type="ByteFallback"), dict(type="Fuse")])
    vocab, merges = t["model"]["vocab"], t["model"]["merges"]
    for k in 2, 4, 8:  # marks alone, as SentencePiece models have them
        merges.append(["\u2581" * (k // 2)] * 2)
        vocab["\u2581" * k] = 530 + k
    return Tokenizer.from_str(json.dumps(t))


def metaspace(pre):
    t = json.loads(sentencepiece().to_str())
    t["normalizer"], t["pre_tokenizer"] = None, pre
    t["decoder"] = dict(type="Sequence", decoders=[
        dict(type="Replace", pattern=dict(String="\u2581"), content=" "), dict(type="ByteFallback"), dict(type="Fuse"),
        dict(type="Strip", content=" ", start=1, stop=0)])
    return Tokenizer.from_str(json.dumps(t))


def ids(t):
    return [t.encode(text, add_special_tokens=False).ids for text in CORPUS]


def main():
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "expected.json")
    real = json.load(open(path))["real"] if os.path.exists(path) else {}
    tiny = {}
    for make in llama3, digits, sentencepiece, metaspace_first, metaspace_legacy, internlm2:
        folder = os.path.join(OUT, make.__name__)
        os.makedirs(folder, exist_ok=True)
        t = make()
        text = t.to_str()
        if make is metaspace_legacy:  # as it was spelled; tokenizers writes today's form
            text = text.replace('"prepend_scheme":"always","split":true', '"add_prefix_space":true')
            assert '"add_prefix_space":true' in text and ids(Tokenizer.from_str(text)) == ids(t)
        with open(os.path.join(folder, "tokenizer.json"), "w") as f:
            f.write(text)
        with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
            json.dump({"eos_token": "<|end|>", "pad_token": {"content": "<|end|>"}}, f)
        tiny[make.__name__] = ids(t)
    if len(sys.argv) > 1:
        for name in sorted(os.listdir(sys.argv[1])):
            real[name] = ids(Tokenizer.from_file(os.path.join(sys.argv[1], name, "tokenizer.json")))
    with open(path, "w") as f:
        json.dump({"tokenizers": tokenizers.__version__, "texts": CORPUS, "tiny": tiny, "real": real}, f, separators=(",", ":"))


if __name__ == "__main__":
    main()
