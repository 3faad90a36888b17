#!/usr/bin/env python3
"""What `reward curate` wrote opens in Hugging Face's datasets as it stands, as Parquet and as JSONL; what datasets writes
as Parquet is scored as its JSONL is.

Needs datasets, in $REWARD_PYTHON or python3, and a build with Arrow's library: else skipped (77).
"""
import json, os, subprocess, sys, tempfile
from pathlib import Path

if os.environ.get("REWARD_PYTHON") and not os.environ.get("REWARD_PYTHON_USED"):
    os.execve(os.environ["REWARD_PYTHON"], [os.environ["REWARD_PYTHON"], __file__], {**os.environ, "REWARD_PYTHON_USED": "1"})
ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
try:
    import datasets
except ImportError:
    print("datasets is not installed; name a Python that has it in REWARD_PYTHON")
    sys.exit(77)
datasets.disable_progress_bars()


def reward(*args, ok=True):
    r = subprocess.run([REWARD, *map(str, args)], capture_output=True, text=True)
    assert r.returncode == 0 or not ok, (args, r.stderr)
    return r


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    os.environ["HF_DATASETS_CACHE"] = str(tmp / "cache")
    datasets.config.HF_DATASETS_CACHE = tmp / "cache"
    made = {"helpsteer2": [dict(prompt=f"p {i // 2} \u00e9", response=f"a {i}", helpfulness=i % 2) for i in range(40)],
            "magpie-air": [dict(uuid=str(i), instruction=f"q {i}", responses=[f"r {i} {k}" for k in range(3)], task_category="Math",
                                rewards_armorm=[dict(score=(i * k) % 7 / 8) for k in range(3)]) for i in range(30)]}
    (tmp / "recipe.yaml").write_text("name: two sources\nstages:\n- source: helpsteer2\n- source: magpie-air\n- dedup: exact\n")
    inputs = []
    for name, source in made.items():  # sources as Parquet, too
        datasets.Dataset.from_list(source).to_parquet(str(tmp / f"{name}.parquet"))
        (tmp / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in source))
        inputs += ["--input", f"{name}={tmp}/{name}.parquet"]
    first = reward("curate", tmp / "recipe.yaml", *inputs, "--format", "parquet", "-o", tmp / "set", ok=False)
    if "needs Arrow" in first.stderr:
        print("built without Arrow's library: make deps, make")
        sys.exit(77)
    assert first.returncode == 0, first.stderr
    reward("curate", tmp / "recipe.yaml", *inputs, "--format", "parquet", "-o", tmp / "again", "--threads", "1")
    files = sorted(str(p.relative_to(tmp / "set")) for p in (tmp / "set").rglob("*") if p.is_file())
    assert files == ["README.md", "data/train-00000-of-00001.parquet", "manifest.json", "removed.jsonl", "report.html", "report.json"], files
    for f in files:
        assert (tmp / "set" / f).read_bytes() == (tmp / "again" / f).read_bytes(), f"{f} differs between runs"
    reward("curate", tmp / "recipe.yaml", *[i.replace(".parquet", ".jsonl") for i in inputs], "-o", tmp / "lines")
    want = rows(tmp / "lines/train.jsonl")
    assert len(want) > 30 and {r["source"] for r in want} == set(made)
    want = [{"task_category": None, **r} for r in want]
    for folder in ("set", "lines"):
        data = datasets.load_dataset(str(tmp / folder))
        assert list(data) == ["train"] and data["train"].to_list() == want, f"load_dataset({folder}) gives other rows"
        assert data["train"].features["chosen"] == datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    print(f"{len(want)} rows, equal")
    listed = {f["path"] for f in json.loads((tmp / "set/manifest.json").read_text())["outputs"]}
    assert listed == set(files) - {"manifest.json"}, listed

    # what pair rows bring with them has columns of its own; what a row lacks is null
    own = [dict(margin=0.5, source="mine", id="a"), dict(margin=2), dict(id=17)]
    (tmp / "own.jsonl").write_text("".join(json.dumps(dict(prompt=f"p{i}", chosen="c", rejected="r", **o)) + "\n" for i, o in enumerate(own)))
    (tmp / "own.yaml").write_text("name: own\nstages:\n- source: pairs\n")
    for folder, form in (("own.set", "parquet"), ("own.lines", "jsonl")):
        reward("curate", tmp / "own.yaml", "--input", f"pairs={tmp}/own.jsonl", "--format", form, "-o", tmp / folder)
        data = datasets.load_dataset(str(tmp / folder))["train"]
        assert data["margin"][:] == [0.5, 2.0, None] and data["source_id"][:] == ["a", None, "17"] and data["source"][:] == ["mine", "pairs", "pairs"], data.to_list()
        assert data["id"][:] == ["pairs:1", "pairs:2", "pairs:3"] and data.features["margin"] == datasets.Value("float64")

    # what a write stage leaves is a file by itself, and no part of the set; margins may be whole numbers
    (tmp / "whole.jsonl").write_text("".join(json.dumps(dict(prompt=f"p{i}", chosen="c", rejected="r", margin=i)) + "\n" for i in range(5)))
    (tmp / "write.yaml").write_text("name: w\nstages:\n- source: pairs\n- write: before.parquet\n- sample: {pairs: 2}\n")
    for form in ("parquet", "jsonl"):
        reward("curate", tmp / "write.yaml", "--input", f"pairs={tmp}/whole.jsonl", "--format", form, "-o", tmp / f"write.{form}")
        data = datasets.load_dataset(str(tmp / f"write.{form}"))
        assert list(data) == ["train"] and len(data["train"]) == 2 and data["train"].features["margin"] == datasets.Value("float64"), data
        assert datasets.load_dataset("parquet", data_files=str(tmp / f"write.{form}/before.parquet"))["train"]["margin"][:] == list(range(5))

    # rankings have columns of their own, beside those of pairs where there are both
    (tmp / "nectar.jsonl").write_text("".join(json.dumps(dict(prompt=f"\n\nHuman: q{i}\n\nAssistant: ", answers=[dict(answer=f"a{k}", rank=k + 1) for k in range(3)])) + "\n" for i in range(4)))
    for name, more, args in (("only", "", []), ("mixed", "- source: pairs\n", ["--input", f"pairs={tmp}/whole.jsonl"])):
        (tmp / "rank.yaml").write_text(f"name: r\nstages:\n- {{source: nectar, pairs: ranking}}\n{more}")
        for form in ("parquet", "jsonl"):
            reward("curate", tmp / "rank.yaml", "--input", f"nectar={tmp}/nectar.jsonl", *args, "--format", form, "-o", tmp / f"rank.{name}.{form}")
            data = datasets.load_dataset(str(tmp / f"rank.{name}.{form}"))["train"]
            assert data[0]["responses"] == ["a0", "a1", "a2"] and data[0]["scores"] == [-1, -2, -3] and data[0]["prompt"] == [dict(role="user", content="q0")], data[0]
            assert ("chosen" in data.features) == bool(args) and len(data) == 4 + 5 * bool(args)

    # rows that datasets merged from files of different columns: what a row lacks is null
    model = ROOT / "tests/data/model/llama"
    mixed = [dict(input_ids=[5, 6, 7], text=None, prompt=None, margin=None, extra="k"),
             dict(chosen_ids=[5, 9], rejected_ids=[5, 8], messages=None, margin=0.5, source=None)]
    datasets.Dataset.from_list([{**dict.fromkeys(set(mixed[0]) | set(mixed[1])), **r} for r in mixed]).to_parquet(str(tmp / "mixed.parquet"))
    (tmp / "mixed.jsonl").write_text("".join(json.dumps(r) + "\n" for r in mixed))
    for name in ("parquet", "jsonl"):
        reward("score", "--model", model, tmp / f"mixed.{name}", "-o", tmp / f"{name}.out.jsonl")
    present = lambda r: {k: v for k, v in r.items() if v is not None}
    got, want = [list(map(present, rows(tmp / f"{n}.out.jsonl"))) for n in ("parquet", "jsonl")]
    assert got == want and "score" in got[0] and "chosen_score" in got[1], (got, want)
    reward("score", "--model", model, tmp / "mixed.parquet", "-o", tmp / "scored.parquet")
    again = datasets.load_dataset("parquet", data_files=str(tmp / "scored.parquet"))["train"].to_list()
    assert list(map(present, again)) == want, again
