#!/usr/bin/env python3
"""Checks the example data under examples/: schemas, and that form gives no label away.

usage: check_examples.py [EXAMPLES_DIR]      (default: examples beside this file's folder)

The pairs of each source are formed by the rules of `reward curate`. A logistic regression over the
presence of words and word pairs and over length is trained on them and must stay at or below 65% on
prompts that it has not seen; the rule "the longer one is better" must be right in 42% to 58%. What a
model learns from these examples is thus neither vocabulary nor length. A file that is not there is
named and skipped. Python's standard library only; the same data gives the same numbers.
"""
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict

BOW_LIMIT = 0.65
LENGTH_LIMITS = (0.42, 0.58)        # all pairs together
FILE_LENGTH_LIMITS = (0.35, 0.65)   # one file of at least 50 pairs
LONGEST_RESPONSE = 150              # words
NGRAM = 8
CONTAMINATED_PROMPTS = 10           # at least so many training prompts share NGRAM words with the benchmark
CATEGORIES = {c.lower() for c in (
    "Math", "Coding & Debugging", "Information seeking", "Advice seeking", "Reasoning", "Planning",
    "Brainstorming", "Creative writing", "Data analysis", "Editing", "Role playing", "Others")}

problems = []


def problem(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def read(path):
    rows = []
    with open(path, encoding="utf-8") as f:
        for n, text in enumerate(f, 1):
            row = json.loads(text)
            if json.dumps(row, ensure_ascii=False, separators=(",", ":")) != text.rstrip("\n"):
                problem(path, n, "the row is not in compact JSON")
            rows.append((n, row))
    return rows


def words(text):
    return re.findall(r"\w+|[^\w\s]", text.lower())


# ---- schemas: field -> check; a row has these fields and no others but OPTIONAL

def is_text(x):
    return isinstance(x, str) and x.strip() != ""


def is_number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)


def is_messages(x):
    return (isinstance(x, list) and [m.get("role") for m in x] == ["user", "assistant"]
            and all(is_text(m.get("content")) for m in x))


def one_of(*values):
    return lambda x: x in values


def texts(count):
    return lambda x: isinstance(x, list) and len(x) == count and all(map(is_text, x))


def category(x):
    return isinstance(x, str) and x.lower() in CATEGORIES


DIFFICULTY = one_of("very easy", "easy", "medium", "hard", "very hard")
QUALITY = one_of("very poor", "poor", "average", "good", "excellent")
MAGPIE = {
    "uuid": lambda x: re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", x),
    "instruction": is_text,
    "gen_input_configs": lambda x: set(x) == {"temperature", "top_p"},
    "intent": is_text, "knowledge": is_text, "difficulty": DIFFICULTY, "input_quality": QUALITY,
    "quality_explanation": is_text, "task_category": category, "input_length": lambda x: isinstance(x, int),
    "responses": texts(5), "gen_response_configs": lambda x: is_text(x["prompt"]),
    "rewards_armorm": lambda x: len(x) == 5 and all(set(s) == {"score"} and is_number(s["score"]) for s in x),
    "chosen": is_messages, "rejected": is_messages,
}
ULTRA = {
    "instruction": is_text, "response": is_text, "response_base": is_text, "intent": is_text, "knowledge": is_text,
    "difficulty": DIFFICULTY, "quality": QUALITY, "explanation": is_text, "primary_tag": category,
    "other_tags": lambda x: isinstance(x, list) and all(map(category, x)),
    "score": is_number, "score_base": is_number, "score_difference": is_number,
    "model_name_response": is_text, "model_name_response_base": is_text,
}
WILDGUARD = {
    "prompt": is_text, "adversarial": lambda x: isinstance(x, bool), "response": lambda x: x is None or is_text(x),
    "prompt_harm_label": one_of("harmful", "unharmful"), "response_refusal_label": one_of("refusal", "compliance", None),
    "response_harm_label": one_of("harmful", "unharmful", None), "subcategory": is_text,
}
OFFSETBIAS = {"instruction": is_text, "output_1": is_text, "output_2": is_text, "label": one_of(1, 2)}
HELPSTEER = {"prompt": is_text, "response": is_text,
             **{k: one_of(0, 1, 2, 3, 4) for k in ("helpfulness", "correctness", "coherence", "complexity", "verbosity")}}
BENCH = {"id": lambda x: isinstance(x, int) or is_text(x), "subset": is_text, "prompt": is_text,
         "chosen": is_text, "rejected": is_text}
OPTIONAL = {"chosen_model", "rejected_model"}


# ---- rows to (prompt, chosen, rejected), and what a source's rows must hold beside the schema

def first_best(responses, scores):
    """Chosen and rejected of scored responses, or None where they have equal scores or texts."""
    hi, lo = scores.index(max(scores)), scores.index(min(scores))
    if scores[hi] == scores[lo] or responses[hi] == responses[lo]:
        return None
    return responses[hi], responses[lo]


def magpie_pairs(path, rows):
    for n, r in rows:
        if r["input_length"] != len(r["instruction"]):
            problem(path, n, f"input_length: expected {len(r['instruction'])}, got {r['input_length']}")
        best = first_best(r["responses"], [s["score"] for s in r["rewards_armorm"]])
        if best is None:
            continue
        for side, text in zip(("chosen", "rejected"), best):
            if [m["content"] for m in r[side]] != [r["instruction"], text]:
                problem(path, n, f"{side} is not the prompt with the response of the {side} score")
        yield r["instruction"], *best


def ultra_pairs(path, rows):
    for n, r in rows:
        if abs(r["score"] - r["score_base"] - r["score_difference"]) > 1e-9:
            problem(path, n, "score_difference is not score - score_base")
        best = first_best([r["response"], r["response_base"]], [r["score"], r["score_base"]])
        if best:
            yield r["instruction"], *best


def wildguard_pairs(path, rows):
    kinds, harmful = defaultdict(dict), {}
    for n, r in rows:
        if r["response"] is not None and r["response_refusal_label"]:
            kinds[r["prompt"]].setdefault(r["response_refusal_label"], r["response"])
        if harmful.setdefault(r["prompt"], r["prompt_harm_label"]) != r["prompt_harm_label"]:
            problem(path, n, "prompt_harm_label differs from the same prompt's other row")
    for prompt, k in kinds.items():
        if len(k) == 2:
            order = ("refusal", "compliance") if harmful[prompt] == "harmful" else ("compliance", "refusal")
            yield prompt, k[order[0]], k[order[1]]


def offsetbias_pairs(path, rows):
    for _, r in rows:
        outputs = (r["output_1"], r["output_2"])
        yield r["instruction"], outputs[r["label"] - 1], outputs[2 - r["label"]]


def helpsteer_pairs(path, rows):
    if len(rows) % 2:
        problem(path, len(rows), "an odd number of rows")
    for (n, a), (_, b) in zip(rows[::2], rows[1::2]):
        if a["prompt"] != b["prompt"]:
            problem(path, n, "the next row has another prompt")
        elif a["helpfulness"] != b["helpfulness"]:
            a, b = sorted((a, b), key=lambda r: -r["helpfulness"])
            yield a["prompt"], a["response"], b["response"]


def bench_pairs(path, rows):
    for _, r in rows:
        yield r["prompt"], r["chosen"], r["rejected"]


FILES = [
    ("sources/magpie-ultra.jsonl", ULTRA, ultra_pairs),
    ("sources/magpie-pro-llama3.1.jsonl", MAGPIE, magpie_pairs),
    ("sources/magpie-pro-llama3.jsonl", MAGPIE, magpie_pairs),
    ("sources/magpie-air.jsonl", MAGPIE, magpie_pairs),
    ("sources/wildguardmix.jsonl", WILDGUARD, wildguard_pairs),
    ("sources/offsetbias.jsonl", OFFSETBIAS, offsetbias_pairs),
    ("sources/helpsteer2.jsonl", HELPSTEER, helpsteer_pairs),
    ("benchmark.jsonl", BENCH, bench_pairs),
]


def check_schema(path, rows, schema):
    for n, r in rows:
        missing, unknown = set(schema) - set(r), set(r) - set(schema) - OPTIONAL
        if missing or unknown:
            problem(path, n, f"fields: missing {sorted(missing)}, unknown {sorted(unknown)}")
            continue
        for field, ok in schema.items():
            if not ok(r[field]):
                problem(path, n, f"{field}: {json.dumps(r[field], ensure_ascii=False)[:80]} does not fit the schema")


# ---- what form alone gives away

def features(chosen, rejected):
    """Difference of the two sides: word and word pair presence, and length."""
    x = Counter()
    for sign, text in ((1, chosen), (-1, rejected)):
        w = words(text)
        for t in set(w) | set(zip(w, w[1:])):
            x[t] += sign
    x = {t: float(v) for t, v in x.items() if v}
    x["length"] = math.log((len(chosen) + 1) / (len(rejected) + 1))
    return x


def train(rows, l2, epochs=12):
    """Logistic regression on differences, all of label 1 (no intercept), by Adagrad."""
    w, g2 = defaultdict(float), defaultdict(lambda: 1e-8)
    rng = random.Random(0)
    order = list(range(len(rows)))
    for _ in range(epochs):
        rng.shuffle(order)
        for i in order:
            x = rows[i]
            s = sum(w[t] * v for t, v in x.items())
            p = 1 / (1 + math.exp(min(s, 50)))
            for t, v in x.items():
                g = -p * v + l2 * w[t]
                g2[t] += g * g
                w[t] -= 0.1 * g / math.sqrt(g2[t])
    return w


def groups(pairs):
    """Group number of each pair: pairs that share a prompt or a response stay together."""
    parent = list(range(len(pairs)))

    def root(i):
        while parent[i] != i:
            i = parent[i] = parent[parent[i]]
        return i

    seen = {}
    for i, pair in enumerate(pairs):
        for text in pair:
            parent[root(i)] = root(seen.setdefault(text, i))
    return [root(i) for i in range(len(pairs))]


def form_accuracy(pairs, l2, seed, folds=5):
    """Held-out accuracy of the form-only classifier; a tie counts as half."""
    group = groups(pairs)
    names = sorted(set(group))
    random.Random(seed).shuffle(names)
    fold = {g: i % folds for i, g in enumerate(names)}
    x = [features(c, r) for _, c, r in pairs]
    right = 0.0
    for k in range(folds):
        w = train([x[i] for i, g in enumerate(group) if fold[g] != k], l2)
        for i, g in enumerate(group):
            if fold[g] == k:
                s = sum(w[t] * v for t, v in x[i].items() if t in w)
                right += 0.5 if s == 0 else s > 0
    return right / len(pairs)


def longer_chosen(pairs):
    lengths = [(len(words(c)), len(words(r))) for _, c, r in pairs]
    return sum(0.5 if c == r else c > r for c, r in lengths) / len(pairs)


def ngrams(prompt):
    w = re.findall(r"[^\W_]+", prompt.lower())
    return {tuple(w[i:i + NGRAM]) for i in range(len(w) - NGRAM + 1)} or {tuple(w)}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    base = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "examples")
    training, bench, absent = [], [], []
    for name, schema, to_pairs in FILES:
        path = os.path.join(base, name)
        if not os.path.exists(path):
            absent.append(name)
            continue
        rows = read(path)
        before = len(problems)
        check_schema(path, rows, schema)
        if len(problems) > before:
            continue
        pairs = list(to_pairs(path, rows))
        longer = longer_chosen(pairs)
        mean = sum(len(words(t)) for p in pairs for t in p[1:]) / (2 * len(pairs))
        print(f"{name}: {len(rows)} rows, {len(pairs)} pairs, {mean:.0f} words a response, "
              f"the chosen one is longer in {longer:.1%}")
        if len(pairs) >= 50 and not FILE_LENGTH_LIMITS[0] <= longer <= FILE_LENGTH_LIMITS[1]:
            problem(path, 0, f"the longer response is chosen in {longer:.1%}")
        if len({p for p, _, _ in pairs}) != len(pairs):
            twice = [p for p, k in Counter(p for p, _, _ in pairs).items() if k > 1]
            problem(path, 0, f"a prompt stands there twice: {twice[0]!r}")
        for p in pairs:
            for text in p[1:]:
                if len(words(text)) > LONGEST_RESPONSE:
                    problem(path, 0, f"a response of {len(words(text))} words: {text[:60]!r}")
        (bench if name == "benchmark.jsonl" else training).extend(pairs)

    for name, pairs in (("training sources", training), ("benchmark", bench), ("all examples", training + bench)):
        if not pairs or (name == "all examples" and not bench):
            continue
        # The strength of the penalty that works best is the one that counts.
        by_l2 = {l2: sum(form_accuracy(pairs, l2, seed) for seed in range(3)) / 3 for l2 in (1e-4, 1e-2, 1e-1)}
        best = max(by_l2.values())
        longer = longer_chosen(pairs)
        print(f"{name}: {len(pairs)} pairs; held-out accuracy from words and length {best:.1%} (limit {BOW_LIMIT:.0%}); "
              f"longer is better in {longer:.1%}")
        if best > BOW_LIMIT:
            problem(base, 0, f"{name}: words and length tell the chosen response in {best:.1%}")
        if not LENGTH_LIMITS[0] <= longer <= LENGTH_LIMITS[1]:
            problem(base, 0, f"{name}: the longer response is chosen in {longer:.1%}")

    following = os.path.join(base, "following")
    if os.path.isdir(following):
        pairs, prompts = [], {}
        for split in ("train", "test"):
            rows = read(os.path.join(following, split + ".jsonl"))
            prompts[split] = {r["prompt"] for _, r in rows}
            pairs += [(r["prompt"], r["chosen"], r["rejected"]) for _, r in rows]
        if prompts["train"] & prompts["test"]:
            problem(following, 0, "a held-out prompt is in train.jsonl")
        best, longer = max(form_accuracy(pairs, l2, 0) for l2 in (1e-4, 1e-2)), longer_chosen(pairs)
        print(f"following: {len(pairs)} pairs; held-out accuracy from words and length {best:.1%} (limit {BOW_LIMIT:.0%}); "
              f"longer is better in {longer:.1%}")
        if best > BOW_LIMIT or not LENGTH_LIMITS[0] <= longer <= LENGTH_LIMITS[1]:
            problem(following, 0, "words or length tell the chosen response")
        with tempfile.TemporaryDirectory() as made:
            subprocess.run([sys.executable, os.path.join(base, "following.py"), made], check=True)
            for split in ("train", "test"):
                if open(os.path.join(made, split + ".jsonl"), "rb").read() != open(os.path.join(following, split + ".jsonl"), "rb").read():
                    problem(following, 0, f"{split}.jsonl is not what following.py writes")

    if len(training) >= 100:  # the check itself: a word that half of the chosen responses carry must be found
        planted = [(p, c + " Indeed." if i % 2 else c, r) for i, (p, c, r) in enumerate(training)]
        found = form_accuracy(planted, 1e-2, 0)
        print(f"with a planted word: {found:.1%}")
        if found <= BOW_LIMIT:
            problem(base, 0, f"the classifier does not find a planted word ({found:.1%})")

    if training and bench:
        known = set().union(*(ngrams(p) for p, _, _ in bench))
        hit = sum(not known.isdisjoint(ngrams(p)) for p, _, _ in training)
        print(f"contaminated training prompts ({NGRAM} words shared with the benchmark): {hit}")
        if hit < CONTAMINATED_PROMPTS:
            problem(base, 0, f"{hit} contaminated prompts, expected at least {CONTAMINATED_PROMPTS}")

    if absent:
        print("not there, skipped: " + ", ".join(absent))
    for p in problems[:20]:
        print(p, file=sys.stderr)
    print(f"check_examples: {'FAILED, ' + str(len(problems)) + ' problems' if problems else 'ok'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
