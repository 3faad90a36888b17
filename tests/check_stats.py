#!/usr/bin/env python3
"""`reward stats`: its tables and --json counted again, categories without case, the report's own numbers beside its sources.

Plain Python 3; the program is $BUILD/reward.
"""
import json, os, subprocess, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
MODEL = str(ROOT / "tests/data/format/smollm.gguf")
cache = tempfile.TemporaryDirectory()  # where the GGUF file is converted to
os.environ["XDG_CACHE_HOME"] = cache.name
OURS = ["helpsteer2", "offsetbias", "wildguardmix", "magpie-ultra", "magpie-pro-llama3", "magpie-pro-llama3.1", "magpie-air"]
CATEGORIES = ["Math", "Coding & Debugging", "Information seeking", "Advice seeking", "Reasoning", "Planning", "Brainstorming", "Creative Writing", "Data analysis", "Editing", "Role playing"]


def row(source, category=None, more=()):
    m = [dict(role="user", content="hello")] + list(more)
    return dict(chosen=m + [dict(role="assistant", content="a")], rejected=m + [dict(role="assistant", content="b")], source=source, **(dict(task_category=category) if category else {}))


def stats(rows, *args):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.write("".join(json.dumps(r) + "\n" for r in rows))
        f.flush()
        return subprocess.run([REWARD, "stats", f.name, "--model", MODEL, "--quiet", *args], check=True, capture_output=True, text=True).stdout


turn = [dict(role="assistant", content="x"), dict(role="user", content="y")]
rows = [row("mine", "Coding & Debugging"), row("mine", "coding & debugging", turn), row("mine", "Odd one")]
got = json.loads(stats(rows, "--json"))
assert got["task_categories"] == {"Coding & Debugging": 2, "Odd one": 1} and "report" not in got, got
assert got["sources"]["mine"]["pairs"] == 3 and got["sources"]["mine"]["mean_turns"] == 8 / 3, got
assert json.loads(stats([], "--json"))["all"] == dict(pairs=0, mean_turns=None, mean_prompt_tokens=None, mean_response_tokens=None)
assert "0.0" not in stats([])  # of nothing there is no mean
assert "report" not in stats(rows)  # none of the sources is the report's

some = rows + [row("magpie-air", "Math"), row("helpsteer2")]
got = json.loads(stats(some, "--json"))
assert got["report"] == dict(sources={"magpie-air": dict(pairs_378k=98000, pairs_80k=42, mean_turns=2, mean_prompt_tokens=66.6, mean_response_tokens=240), "helpsteer2": dict(pairs_378k=7221, pairs_80k=7221, mean_turns=3.9, mean_prompt_tokens=21.3, mean_response_tokens=690)},
                             task_categories={"Coding & Debugging": 8193, "Math": 29657}), got
lines = [l.split() for l in stats(some).splitlines()]
assert ["magpie-air", "1", "98,000", "42", "2.0", "2.0"] in [l[:6] for l in lines] and ["mine", "3", "-", "-", "2.7", "-"] in [l[:6] for l in lines], lines
assert ["Coding", "&", "Debugging", "2", "8,193"] in lines and ["Odd", "one", "1", "-"] in lines, lines
assert [l[1:4] for l in lines if l[:1] == ["all"]] == [["5", "-", "-"]], lines  # the report's sums are of its sources only

every = [row(s) for s in OURS] + [row("magpie-ultra", c) for c in CATEGORIES]
got = json.loads(stats(every, "--json"))["report"]
assert list(got["sources"]) == OURS and got["all"] == dict(pairs_378k=378273, pairs_80k=81973, mean_turns=2.2, mean_prompt_tokens=96.3, mean_response_tokens=527.2), got
assert all(sum(s[k] for s in got["sources"].values()) == got["all"][k] for k in ("pairs_378k", "pairs_80k")), got
assert sum(got["task_categories"].values()) == 59539 and list(got["task_categories"]) == CATEGORIES, got
assert ["all", "11", "59,539"] in [l.split() for l in stats(every).splitlines()]
assert max(map(len, stats(every).splitlines())) <= 120
print("tables and --json as counted, the report's numbers beside its own sources only")
