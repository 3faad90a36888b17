#!/usr/bin/env python3
"""PPE's and RMB's figures against the published formulas, written down here once more, on random scores with ties.

    tests/check_suites.py                    # 12 random cases a suite; $BUILD (build) has the program
    tests/check_suites.py record             # makes the rows and figures in tests/data/eval that test_eval reads

PPE correctness: the formulas of the paper (arXiv 2410.14872, best of K): every set of K responses is enumerated, and
where several share the highest score each of them is as likely to be chosen. RMB: a pair or a best of N is right when
the chosen response is above all others, a section is the share of its items (the RMB repository's my_run_rm.py), and
the benchmark is the mean of its four sections (its paper's table; RM-R1's eval/.../process_final_result.py, whose
published sections are recomputed below). Rows carry their scores: one file is data and scores at once.
"""
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETS = {"MMLU-Pro": "mmlu_pro_best_of_k", "MATH": "math_best_of_k", "GPQA": "gpqa_best_of_k",
        "MBPP-Plus": "mbpp_plus_best_of_k", "IFEval": "ifeval_best_of_k"}
TAGS = ("hard_prompt", "easy_prompt", "if_prompt", "is_code", "math_prompt")
LANGUAGES = ("English", "Chinese", "Russian", "German")


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def grid(rng):
    return rng.randrange(-4, 5) / 4


def text(rng, letter="w"):
    return letter * rng.randint(1, 9)


# ---- PPE, human preference ----

def ppe_preference(rng, most):
    rows = []
    for i in range(4 * most):
        rows.append({"question_id": f"q{i // 2}", "model_a": "a", "model_b": "b",
                     "winner": rng.choice(["model_a", "model_b", "model_a", "model_b", "tie", "tie (bothbad)"]),
                     "prompt": f"question {i}", "response_1": text(rng), "response_2": text(rng),
                     "language": rng.choice(LANGUAGES), **{t: rng.random() < 0.5 for t in TAGS},
                     "score_1": grid(rng), "score_2": grid(rng)})
    rows[0].update(winner="model_b", language="Chinese")
    rows[-1].update(winner="model_a", language="Russian")

    def figures(score):
        def accuracy(of):
            return mean(score(r, 1) > score(r, 2) if r["winner"] == "model_a" else score(r, 2) > score(r, 1) for r in of)
        decided = [r for r in rows if r["winner"] in ("model_a", "model_b")]
        by = {"all": decided, **{t: [r for r in decided if r[t]] for t in TAGS}}
        by["english_prompt"] = [r for r in decided if r["language"] == "English"]
        by["non_english_prompt"] = [r for r in decided if r["language"] != "English"]
        by["chinese_prompt"] = [r for r in decided if r["language"] == "Chinese"]
        by["russian_prompt"] = [r for r in decided if r["language"] == "Russian"]
        return {"overall": accuracy(decided), "sections": {}, "subsets": {k: accuracy(v) for k, v in by.items() if v}}

    return rows, figures(lambda r, k: r[f"score_{k}"]), figures(lambda r, k: len(r[f"response_{k}"]))


# ---- PPE, correctness ----

def best_of(prompts, k):
    """(labels, scores) of prompts: expected correctness of the best-scored of k, and of the best of k there is."""
    chosen, ideal = [], []
    for right, scores in prompts:
        for of in itertools.combinations(range(len(right)), k):
            top = max(scores[i] for i in of)
            tied = [right[i] for i in of if scores[i] == top]
            chosen.append(mean(tied))
            ideal.append(max(right[i] for i in of))
    return mean(chosen), mean(ideal)


def scaled(scores):
    least, most = min(scores), max(scores)
    return [(s - least) / (most - least) if most > least else 0.5 for s in scores]


def area(prompts):
    right = [s for labels, scores in prompts for r, s in zip(labels, scores) if r]
    wrong = [s for labels, scores in prompts for r, s in zip(labels, scores) if not r]
    return mean((a > b) + (a == b) / 2 for a in right for b in wrong)


def ppe_correctness(rng, most):
    n, rows = 6, []
    for name in SETS.values():
        for i in range(rng.randint(2, most)):
            right = [rng.random() < 0.5 for _ in range(n)]
            right[0], right[1] = True, False
            pairs = [rng.choice([[a, b], [b, a]]) for a in range(n) for b in range(a) if right[a] != right[b]]
            row = {"question_id": f"q{i // 2}", "benchmark": name, "model_name": ["one", "other"][i % 2], "scores": right,
                   "mean_score": mean(right), "prompt": f"question {i}",
                   **{f"response_{k + 1}": text(rng) for k in range(n)}, "conflict_pairs": pairs,
                   "sampled_conflict_pairs": [rng.choice(pairs) for _ in range(5)]}
            scores = [grid(rng) for _ in range(n)]
            rows.append({**row, **{f"score_{k + 1}": s if rng.random() < 0.5 else [s] for k, s in enumerate(scores)}})
    rng.shuffle(rows)

    def figures(score):
        def accuracy(of, field):
            return mean(score(r, a) > score(r, b) if r["scores"][a] else score(r, b) > score(r, a)
                        for r in of for a, b in r[field])

        def best(of):
            prompts = [(r["scores"], [score(r, k) for k in range(n)]) for r in of]
            curves = [best_of(prompts, k) for k in range(1, n + 1)]
            return {"accuracy": accuracy(of, "conflict_pairs"), "sampled_accuracy": accuracy(of, "sampled_conflict_pairs"),
                    "auc": area(prompts), "auc_scaled": area([(labels, scaled(s)) for labels, s in prompts]),
                    "max": max(c for c, _ in curves), "end": curves[-1][0],
                    "loss": mean((c - i) ** 2 for c, i in curves), "curve": [c for c, _ in curves],
                    "ideal": [i for _, i in curves]}
        of_set = {s: [r for r in rows if r["benchmark"] == name] for s, name in SETS.items()}
        of_model = {(s, m): [r for r in of if r["model_name"] == m] for s, of in of_set.items() for m in ("one", "other")}
        return {"overall": mean(accuracy(of, "conflict_pairs") for of in of_set.values()),
                "sections": {s: accuracy(of, "conflict_pairs") for s, of in of_set.items()},
                "subsets": {f"{s}/{m}": accuracy(of, "conflict_pairs") for (s, m), of in of_model.items()},
                "best_of_k": {s: {**best(of), "models": {m: best(of_model[s, m]) for m in ("one", "other")}}
                              for s, of in of_set.items()}}

    def given(r, k):
        s = r[f"score_{k + 1}"]
        return s[0] if isinstance(s, list) else s
    return rows, figures(given), figures(lambda r, k: len(r[f"response_{k + 1}"]))


# ---- RMB ----

CATEGORIES = {"Helpfulness pairwise": "Pairwise_set/Helpfulness/", "Helpfulness BoN": "BoN_set/Helpfulness/",
              "Harmlessness pairwise": "Pairwise_set/Harmlessness/", "Harmlessness BoN": "BoN_set/Harmlessness/"}


def rmb(rng, most):
    rows = []

    def answer():
        return {"llm_name": "m", "answer": text(rng)}
    for section, prefix in CATEGORIES.items():
        for i in range(rng.randint(2, most)):
            path = prefix + (rng.choice(["Code/Data Management", "Chat/Discussion"]) if "Help" in section else f"S{i % 3}")
            turns = [{"content": f"question {i}", "language": "English", "role": "user"}]
            if rng.random() < 0.3:
                turns += [{"content": "reply", "language": "English", "role": "assistant"}, turns[0]]
            row = {"conversation_input": turns, "category_path": path}
            if "pairwise" in section:
                rows.append({"pair_uid": str(len(rows)), **row, "chosen": answer(), "reject": answer(),
                             "chosen_score": rng.randrange(3), "rejected_score": rng.randrange(3)})
            else:
                losers = rng.randint(2, 6)
                rows.append({"bon_uid": len(rows), **row, "bon_best": answer(),
                             "loser_list": [answer() for _ in range(losers)], "chosen_score": rng.randrange(5),
                             "rejected_scores": [rng.randrange(4) for _ in range(losers)]})
    rng.shuffle(rows)

    def figures(score):
        def accuracy(of):
            return mean(min(score(r)[0] > s for s in score(r)[1:]) for r in of)
        sections = {s: accuracy([r for r in rows if r["category_path"].startswith(p)]) for s, p in CATEGORIES.items()}
        return {"overall": mean(sections.values()), "sections": sections,
                "subsets": {c: accuracy([r for r in rows if r["category_path"] == c])
                            for c in sorted({r["category_path"] for r in rows})}}

    def lengths(r):
        chosen, others = ("chosen", [r["reject"]]) if "reject" in r else ("bon_best", r["loser_list"])
        return [len(r[chosen]["answer"])] + [len(o["answer"]) for o in others]
    return rows, figures(lambda r: [r["chosen_score"]] + r.get("rejected_scores", [r.get("rejected_score")])), figures(lengths)


SUITES = {"ppe-preference": ppe_preference, "ppe-correctness": ppe_correctness, "rmb": rmb}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def record(folder):
    expected = json.loads((folder / "expected.json").read_text())
    for name, make in SUITES.items():
        rows, figures, length = make(random.Random(name), 4)
        write_rows(folder / f"{name}.jsonl", rows)
        figures.pop("best_of_k", None), length.pop("best_of_k", None)
        expected[name] = {"figures": figures, "length_baseline": length}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def compare(got, figures, length):
    """Pairs of a figure in percent and the share that it should be; loss is a share in both."""
    pairs = [(got["overall"], figures["overall"]), (got["length_baseline"]["overall"], length["overall"])]
    assert got["sections"].keys() == figures["sections"].keys() and got["subsets"].keys() == figures["subsets"].keys(), got
    for k, v in figures["sections"].items():
        pairs += [(got["sections"][k], v), (got["length_baseline"]["sections"][k], length["sections"][k])]
    for k, v in figures["subsets"].items():
        pairs += [(got["subsets"][k]["accuracy"], v), (got["subsets"][k]["length_baseline"], length["subsets"][k])]
    for name, of in figures.get("best_of_k", {}).items():
        for is_, want in [(got["best_of_k"][name], of)] + [(got["best_of_k"][name]["models"][m], w) for m, w in of["models"].items()]:
            pairs += [(is_[k], want[k]) for k in ("accuracy", "sampled_accuracy", "auc", "auc_scaled", "max", "end")]
            pairs += [(100 * is_["loss"], want["loss"])]
            pairs += list(zip(is_["curve"], want["curve"])) + list(zip(is_["ideal"], want["ideal"]))
            assert len(is_["curve"]) == len(is_["ideal"]) == len(want["curve"])
    return pairs


def check(program):
    worst, count = 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        data, out = Path(temporary) / "rows.jsonl", Path(temporary) / "results.json"
        for name, make in SUITES.items():
            for seed in range(12):
                rows, figures, length = make(random.Random(f"{name} {seed}"), 8)
                write_rows(data, rows)
                subprocess.run([program, "eval", "--suite", name, "--data", data, "--scores", data, "-o", out, "--quiet"],
                               check=True, stdout=subprocess.DEVNULL)
                pairs = compare(json.loads(out.read_text()), figures, length)
                worst = max(worst, max(abs(a - 100 * b) for a, b in pairs))
                count += len(pairs)
    print(f"{count} figures in {12 * len(SUITES)} cases; largest difference {worst:.2e} percent")
    assert worst < 1e-9


def published():
    """The four sections that RM-R1 publishes of RM-R1-Qwen2.5-Instruct-32B, their mean, and RMB's items behind them."""
    helpful, harmless = 8071 / 10067, 5692 / 7064
    sections = [helpful, harmless, 1372 / 2109, 1111 / 1677]
    want = [0.8017284195887553, 0.8057757644394111, 0.6505452821242295, 0.6624925462134764]
    assert all(abs(a - b) < 1e-15 for a, b in zip(sections, want)) and abs(mean(sections) - 0.7301355030914681) < 1e-15
    assert 10067 + 7064 + 2109 + 1677 == 20917


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(ROOT / "tests/data/eval")
    else:
        published()
        check(Path(os.environ.get("BUILD", ROOT / "build")).resolve() / "reward")
