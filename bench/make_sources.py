#!/usr/bin/env python3
"""Made-up sources with the row counts of the Skywork-Reward report, in their seven public schemas, about 4 GB.

    bench/make_sources.py DIR [--scale F] [--seed N]

Writes helpsteer2, offsetbias, wildguardmix, magpie-ultra, magpie-pro-llama3.1, magpie-pro-llama3 and magpie-air .jsonl (five
responses a Magpie row, every field), bench.jsonl (2,985 rows in RewardBench's schema; a tenth of Ultra's prompts and a
hundredth of the others' quote one of its prompts), scores.jsonl (stage 2) and recipe inputs as args.txt. The texts are
invented words with the statistics of prose: sentences, paragraphs, lists, escapes, some accents and Chinese. The same
arguments give the same bytes. Categories are in the proportions that the report's table 3 implies.
"""
import argparse, itertools, random, time
from pathlib import Path

ap = argparse.ArgumentParser()
ap.add_argument("dir", type=Path)
ap.add_argument("--scale", type=float, default=1.0)
ap.add_argument("--seed", type=int, default=1)
a = ap.parse_args()
a.dir.mkdir(parents=True, exist_ok=True)
rng = random.Random(a.seed)
n_of = lambda rows: max(4, int(rows * a.scale))

# ---- words: Zipf over invented ones ----
SYLLABLES = "ka lo mi ren tas vor shi el an der qui po nu bra ge tion ing able er st me".split()
VOCABULARY = sorted({"".join(rng.choices(SYLLABLES, k=rng.choice((1, 1, 2, 2, 3, 4)))) for _ in range(60000)})
rng.shuffle(VOCABULARY)
VOCABULARY[40::97] = [w + "é" for w in VOCABULARY[40::97]]
WEIGHTS = list(itertools.accumulate(1 / (i + 3) for i in range(len(VOCABULARY))))
words = lambda k: rng.choices(VOCABULARY, cum_weights=WEIGHTS, k=k)


def sentence():
    w = words(rng.randrange(6, 22))
    kind = rng.random()
    if kind < 0.05:
        w[2] = '\\"' + w[2] + '\\"'
    text = " ".join(w).capitalize() + rng.choice((". ", ". ", ", ", "? ", ": "))
    if kind > 0.97:
        text += "请问北京到上海的高铁需要几个小时？"
    if kind > 0.8:
        text += rng.choice(("\\n\\n", "\\n- ", "\\n1. ", "\\n```python\\nx = f(y)\\n```\\n"))
    return text


# ---- one body of text that responses are cut from, at sentences ----
parts = [sentence().encode() for _ in range(120000)]
BODY, AT = b"".join(parts), list(itertools.accumulate(map(len, parts), initial=0))
PER_BYTE = len(parts) / len(BODY)


def response(mean_bytes):
    k = max(1, int(min(rng.expovariate(1), 4) * mean_bytes * PER_BYTE))
    i = rng.randrange(len(parts) - k)
    return BODY[AT[i]:AT[i + k]]


BENCH = [" ".join(words(rng.choice((5, 12, 30, 60, 120)))) for _ in range(2985)]


def prompt(mean_words, quoted):
    w = words(max(4, int(min(rng.expovariate(1), 5) * mean_words)))
    if rng.random() < quoted:
        b = rng.choice(BENCH).split()
        w[len(w) // 2:len(w) // 2] = b[:rng.randrange(8, 40)]
    w[0] = w[0].capitalize()
    return " ".join(w).encode() + b" " + str(rng.randrange(10**9)).encode() + b"?"


def messages(p, r):
    return b'[{"content": "' + p + b'", "role": "user"}, {"content": "' + r + b'", "role": "assistant"}]'


CATEGORIES = ["Math", "Coding & Debugging", "Information seeking", "Advice seeking", "Reasoning", "Planning", "Brainstorming",
              "Creative writing", "Data analysis", "Editing", "Role playing"]
SHARES = list(itertools.accumulate((98857, 27310, 78370, 45460, 38540, 21850, 10810, 7940, 7250, 3370, 3300)))


def magpie(rows, prompt_words, mean_bytes, centre):
    for i in range(rows):
        p, r = prompt(prompt_words, 0.01), [response(mean_bytes) for _ in range(5)]
        quality = rng.gauss(centre, 0.025)
        s = [rng.gauss(quality, 0.01) for _ in r]
        hi, lo = s.index(max(s)), s.index(min(s))
        category = rng.choices(CATEGORIES, cum_weights=SHARES)[0].encode()
        yield b"".join((
            b'{"uuid": "', b"%032x" % rng.getrandbits(128), b'", "instruction": "', p, b'", "gen_input_configs": {"temperature": 1.1, "top_p": 1.0}, '
            b'"intent": "', BODY[:AT[2]], b'", "knowledge": "', BODY[AT[2]:AT[4]], b'", "difficulty": "medium", "input_quality": "good", '
            b'"quality_explanation": "', BODY[AT[4]:AT[8]], b'", "task_category": "', category, b'", "input_length": %d, "responses": ["' % len(p),
            b'", "'.join(r), b'"], "gen_response_configs": {"prompt": "<|start_header_id|>user<|end_header_id|>\\n\\n', p,
            b'<|eot_id|>", "temperature": 0.8, "top_p": 1.0, "repetition_penalty": 1.0, "max_tokens": 4096}, "rewards_armorm": [',
            b", ".join(b'{"score": ' + repr(round(x, 11)).encode() + b"}" for x in s), b'], "chosen": ',
            messages(p, r[hi]), b', "rejected": ', messages(p, r[lo]), b"}\n"))


def ultra(rows):
    for i in range(rows):
        p, r, b = prompt(55, 0.1), response(3000), response(1500)
        s = rng.gauss(0.16, 0.02), rng.gauss(0.10, 0.02)
        yield b"".join((
            b'{"model_name_response_base": "405B", "instruction": "', p, b'", "response": "', r, b'", "response_base": "', b, b'", "intent": "', BODY[:AT[2]],
            b'", "difficulty": "easy", "quality": "good", "primary_tag": "', rng.choices(CATEGORIES, cum_weights=SHARES)[0].encode(),
            b'", "other_tags": ["Reasoning"], "score": %.11f, "score_base": %.11f, "score_difference": %.11f, "conversation": ' % (s[0], s[1], s[0] - s[1]),
            messages(p, r), b"}\n"))


def helpsteer(prompts):
    unequal = prompts * 7221 // 10162
    for i in range(prompts):
        p = prompt(16, 0.01)
        for t in range(rng.choice((0, 0, 1, 2))):
            p += b"\\n<extra_id_1>Assistant\\n" + response(800) + b"\\n<extra_id_1>User\\n" + prompt(10, 0)
        h = rng.sample(range(5), 2) if i < unequal else [3, 3]
        for x in h:
            yield b'{"prompt": "%s", "response": "%s", "helpfulness": %d, "correctness": 3, "coherence": 4, "complexity": 2, "verbosity": 2}\n' % (p, response(2500), x)


def offset(rows):
    for i in range(rows):
        yield b'{"instruction": "%s", "output_1": "%s", "output_2": "%s", "label": %d}\n' % (prompt(50, 0.01), response(900), response(900), rng.choice((1, 2)))


def wildguard(pairs, lone, prompts_only, scores):
    rows = []
    for k in range(pairs + lone + prompts_only):
        p, adversarial, harm = prompt(110, 0.001), k % 3 != 0, rng.choice((b'"harmful"', b'"unharmful"'))
        kinds = ("refusal", "compliance") if k < pairs else (rng.choice(("refusal", "compliance")),) if k < pairs + lone else (None,)
        for kind in kinds:
            text = b'"' + response(300 if kind == "refusal" else 2200) + b'"' if kind else b"null"
            rows.append((k if k < pairs else None, adversarial, b'{"prompt": "%s", "adversarial": %s, "response": %s, "prompt_harm_label": %s, "response_refusal_label": %s, '
                         b'"response_harm_label": null, "subcategory": "others"}\n' % (p, b"true" if adversarial else b"false", text, harm, b'"%s"' % kind.encode() if kind else b"null")))
    rng.shuffle(rows)
    first = {}
    for line, (k, adversarial, row) in enumerate(rows, 1):
        if k is not None and k in first and adversarial:
            good = rng.random() < 6709 / (18548 * 2 / 3)
            scores.write(b'{"id": "wildguardmix:%d+%d", "chosen_score": %.4f, "rejected_score": 0.5}\n' % (first[k], line, 1.25 if good else -1.25))
        first.setdefault(k, line)
        yield row


begun, total, args = time.time(), 0, []
with open(a.dir / "scores.jsonl", "wb") as scores:
    for name, rows in (("helpsteer2", helpsteer(n_of(10162))), ("offsetbias", offset(n_of(8504))),
                       ("wildguardmix", wildguard(n_of(18548), n_of(880), n_of(48783), scores)), ("magpie-ultra", ultra(n_of(50000))),
                       ("magpie-pro-llama3.1", magpie(n_of(98000), 90, 1450, 0.13)),
                       ("magpie-pro-llama3", magpie(n_of(98000), 26, 1550, 0.12)),
                       ("magpie-air", magpie(n_of(98000), 50, 1050, 0.10))):
        path = a.dir / f"{name}.jsonl"
        with open(path, "wb", buffering=1 << 22) as f:
            f.writelines(rows)
        total += path.stat().st_size
        args.append(f"--input {name}={path}")
subsets = ["alpacaeval-easy", "llmbar-natural", "xstest-should-respond", "math-prm", "hep-python"]
(a.dir / "bench.jsonl").write_text("".join(f'{{"id": {i}, "prompt": "{p}", "chosen": "one {i}", "rejected": "two {i}", "subset": "{subsets[i % 5]}"}}\n' for i, p in enumerate(BENCH)))
(a.dir / "args.txt").write_text(" ".join(args) + "\n")
print(f"{total / 1e9:.2f} GB in {time.time() - begun:.0f} s")
