#!/usr/bin/env python3
"""The benchmark formulas against the public rewardbench package.

    python -m venv v && v/bin/pip install numpy pandas && v/bin/pip install --no-deps rewardbench
    v/bin/python tests/reference/check_rewardbench.py record tests/data/eval   # makes the files that test_eval reads
    v/bin/python tests/reference/check_rewardbench.py check build/reward       # 20 larger random cases a suite

Rows carry random scores from a coarse grid (so that ties occur), named as `reward score` names them: one file is
data and scores at once. RewardBench and RewardBench 2 figures come from the package's own functions; RM-Bench and
JudgeBench have no package, so their figures follow the READMEs of THU-KEG/RM-Bench and ScalerLab/JudgeBench, with numpy.
The package's imports of model libraries are replaced by empty modules: none of them is used here.
"""
import json
import random
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pandas as pd


class Dataset:
    """The few methods of datasets.Dataset that the package's functions call."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)

    def to_pandas(self):
        return pd.DataFrame(self.rows)

    @staticmethod
    def from_pandas(frame):
        return Dataset(frame.to_dict("records"))

    @staticmethod
    def from_dict(columns):
        return Dataset([dict(zip(columns, v)) for v in zip(*columns.values())])


def public_package():
    class Empty(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__init__": lambda self, *a, **k: None})

    for name in ("torch", "datasets", "fastchat", "fastchat.conversation", "huggingface_hub", "transformers",
                 "rewardbench", "rewardbench.models"):
        sys.modules[name] = Empty(name)
    sys.modules["datasets"].Dataset = Dataset
    import importlib.metadata
    import importlib.util
    root = Path(importlib.metadata.distribution("rewardbench").locate_file("rewardbench"))
    loaded = []
    for part in ("constants", "utils"):
        spec = importlib.util.spec_from_file_location(f"rewardbench.{part}", root / f"{part}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded.append(module)
    return loaded


constants, utils = public_package()


def grid(rng):
    return rng.randrange(-6, 7) / 4


def rewardbench(rng, most):
    rows = []
    for subset in constants.EXAMPLE_COUNTS:
        for i in range(rng.randint(1, most)):
            rows.append({"id": len(rows), "subset": subset, "prompt": f"question {i}", "chosen": "a" * rng.randint(1, 9),
                         "rejected": "b" * rng.randint(1, 9), "chosen_score": grid(rng), "rejected_score": grid(rng)})
    rng.shuffle(rows)

    def figures(score):
        subsets = {}
        for subset in constants.EXAMPLE_COUNTS:
            of = [r for r in rows if r["subset"] == subset]
            subsets[subset] = sum(score(r, "chosen") > score(r, "rejected") for r in of) / len(of)
        sections = utils.calculate_scores_per_section(constants.EXAMPLE_COUNTS, constants.SUBSET_MAPPING, subsets)
        return {"overall": float(np.mean(list(sections.values()))), "sections": sections, "subsets": subsets}

    return rows, figures(lambda r, side: r[side + "_score"]), figures(lambda r, side: len(r[side]))


def rewardbench2(rng, most):
    rows = []
    for subset in ("Factuality", "Precise IF", "Math", "Safety", "Focus"):
        for i in range(rng.randint(1, most)):
            wrong = rng.randint(1, 4)
            rows.append({"id": f"{subset}-{i}", "subset": subset, "num_correct": 1, "n": 1 + wrong})
    for n in range(2 * most):
        # most groups have both rows; some only one; correct responses may be one
        kinds = rng.choice([("ref", "tied")] * 5 + [("ref",), ("tied",)])
        for kind in kinds:
            right = 1 if kind == "ref" else rng.randint(1, 4)
            rows.append({"id": f"{kind}:{n}", "subset": "Ties", "num_correct": right, "n": right + rng.randint(1, 4)})
    for r in rows:
        n, right = r.pop("n"), r["num_correct"]
        texts = ["w" * rng.randint(1, 9) for _ in range(n)]
        scores = [grid(rng) for _ in range(n)]
        if r["subset"] == "Ties":
            # correct ones often above the others, and often close together
            lift = rng.choice([0, 1, 3])
            scores = [(s / 4 if rng.random() < 0.5 else s) + lift * (i < right) for i, s in enumerate(scores)]
        r.update(prompt="question", chosen=texts[:right], rejected=texts[right:], chosen_scores=scores[:right],
                 rejected_scores=scores[right:])
    rng.shuffle(rows)

    def figures(score):
        subsets = {}
        for subset in ("Factuality", "Precise IF", "Math", "Safety", "Focus"):
            of = [r for r in rows if r["subset"] == subset]
            flat = [{"id": r["id"], "text": "", "scores": s} for r in of for s in score(r)]
            rolled = utils.reroll_and_score_dataset(Dataset(flat), [len(score(r)) for r in of])
            subsets[subset] = float(np.mean([r["results"] for r in rolled]))
        ties = [{"id": r["id"], "num_correct": r["num_correct"], "scores": score(r)} for r in rows if r["subset"] == "Ties"]
        subsets["Ties"] = float(utils.process_single_model(Dataset(ties))[1])
        return {"overall": float(np.mean(list(subsets.values()))), "sections": subsets, "subsets": subsets}

    return (rows, figures(lambda r: r["chosen_scores"] + r["rejected_scores"]),
            figures(lambda r: [float(len(t)) for t in r["chosen"] + r["rejected"]]))


def rm_bench(rng, most):
    rows = []
    for domain in ("chat", "math", "code", "safety-refuse", "safety-response"):
        for i in range(rng.randint(1, most)):
            rows.append({"id": i, "domain": domain, "prompt": "question",
                         "chosen": ["c" * rng.randint(1, 9) for _ in range(3)],
                         "rejected": ["r" * rng.randint(1, 9) for _ in range(3)],
                         "chosen_scores": [grid(rng) for _ in range(3)],
                         "rejected_scores": [grid(rng) for _ in range(3)]})
    rng.shuffle(rows)

    def levels(of, score):
        matrix = np.zeros((3, 3))
        for r in of:
            matrix += np.array(score(r, "chosen"))[:, None] > np.array(score(r, "rejected"))[None, :]
        matrix /= len(of)
        return {"hard": np.triu(matrix, 1).sum() / 3, "normal": np.diag(matrix).mean(), "easy": np.tril(matrix, -1).sum() / 3}

    def figures(score):
        by = {d: levels([r for r in rows if r["domain"].startswith(d)], score) for d in ("chat", "math", "code", "safety")}
        sections = {d: float(np.mean(list(v.values()))) for d, v in by.items()}
        subsets = {d: float(np.mean(list(levels([r for r in rows if r["domain"] == d], score).values())))
                   for d in sorted({r["domain"] for r in rows})}
        out = {"overall": float(np.mean(list(sections.values()))), "sections": sections, "subsets": subsets}
        sections.update({k: float(np.mean([v[k] for v in by.values()])) for k in ("easy", "normal", "hard")})
        return out

    return rows, figures(lambda r, s: r[s + "_scores"]), figures(lambda r, s: [len(t) for t in r[s]])


def judgebench(rng, most):
    rows = []
    for source in ("mmlu-pro-law", "mmlu-pro-math", "livebench-reasoning", "livebench-math", "livecodebench"):
        for i in range(rng.randint(1, most)):
            rows.append({"pair_id": f"{source}/{i}", "source": source, "question": "question",
                         "response_A": "a" * rng.randint(1, 9), "response_B": "b" * rng.randint(1, 9),
                         "label": rng.choice(["A>B", "B>A"]), "scores": [grid(rng), grid(rng)]})
    rng.shuffle(rows)
    section_of = {"mmlu-pro-law": "knowledge", "mmlu-pro-math": "knowledge", "livebench-reasoning": "reasoning",
                  "livebench-math": "math", "livecodebench": "coding"}

    def figures(score):
        def accuracy(of):
            return float(np.mean([("A>B" if score(r)[0] > score(r)[1] else "B>A") == r["label"] for r in of]))
        return {"overall": accuracy(rows),
                "sections": {s: accuracy([r for r in rows if section_of[r["source"]] == s])
                             for s in sorted(set(section_of.values()))},
                "subsets": {s: accuracy([r for r in rows if r["source"] == s]) for s in sorted({r["source"] for r in rows})}}

    return rows, figures(lambda r: r["scores"]), figures(lambda r: [len(r["response_A"]), len(r["response_B"])])


SUITES = {"rewardbench": rewardbench, "rewardbench2": rewardbench2, "rm-bench": rm_bench, "judgebench": judgebench}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def record(folder):
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, make in SUITES.items():
        rows, figures, length = make(random.Random(name), 4)
        write_rows(folder / f"{name}.jsonl", rows)
        expected[name] = {"figures": figures, "length_baseline": length}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def public_files(run, rows, figures, folder):
    """What --format rewardbench writes, read as the package's own scripts read and group such files."""
    summary = json.loads(run("rewardbench", folder / "public.json", "--format", "rewardbench"))
    items = [json.loads(line) for line in run("rewardbench", folder / "public.jsonl", "--format", "rewardbench").splitlines()]
    assert {"accuracy", "num_prompts", "model", "ref_model", "tokenizer", "chat_template", "extra_results"} <= summary.keys()
    assert [(r["id"], r["subset"]) for r in items] == [(str(r["id"]), r["subset"]) for r in rows]
    assert [(r["scores_chosen"], r["scores_rejected"]) for r in items] == [(r["chosen_score"], r["rejected_score"]) for r in rows]
    frame = pd.DataFrame(items)
    grouped = {s: frame[frame["subset"] == s]["results"].mean() for s in np.unique(frame["subset"])}
    assert summary["num_prompts"] == len(rows) and summary["extra_results"].keys() == grouped.keys()
    sections = [utils.calculate_scores_per_section(constants.EXAMPLE_COUNTS, constants.SUBSET_MAPPING, of)
                for of in (grouped, summary["extra_results"], summary)]
    return ([(summary["accuracy"], frame["results"].mean())] + [(summary["extra_results"][k], v) for k, v in grouped.items()]
            + [(of[k], v) for of in sections for k, v in figures["sections"].items()])


def check(program):
    worst, cases = 0.0, 0

    def run(name, out, *more):
        subprocess.run([program, "eval", "--suite", name, "--data", data, "--scores", data, "-o", out, "--quiet", *more],
                       check=True, stdout=subprocess.DEVNULL)
        return out.read_text()

    with tempfile.TemporaryDirectory() as temporary:
        data, out = Path(temporary) / "rows.jsonl", Path(temporary) / "results.json"
        for name, make in SUITES.items():
            for seed in range(20):
                rows, figures, length = make(random.Random(f"{name} {seed}"), 12)
                write_rows(data, rows)
                got = json.loads(run(name, out))
                pairs = [(got["overall"], figures["overall"]), (got["length_baseline"]["overall"], length["overall"])]
                pairs += [(got["sections"][k], v) for k, v in figures["sections"].items()]
                pairs += [(got["length_baseline"]["sections"][k], v) for k, v in length["sections"].items()]
                pairs += [(got["subsets"][k]["accuracy"], v) for k, v in figures["subsets"].items()]
                pairs += [(got["subsets"][k]["length_baseline"], v) for k, v in length["subsets"].items()]
                if name == "rewardbench":
                    pairs += [(100 * a, b) for a, b in public_files(run, rows, figures, Path(temporary))]
                worst = max(worst, max(abs(a - 100 * b) for a, b in pairs))
                cases += len(pairs)
    print(f"{cases} figures in {20 * len(SUITES)} cases; largest difference {worst:.2e} percent")
    assert worst < 1e-9


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["check"]:
        check(sys.argv[2])
    else:
        sys.exit(__doc__)
