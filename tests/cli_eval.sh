#!/usr/bin/env bash
# `reward eval`, `compare` and `report` as users call them: what they print, write and return.
set -u
cd "$(dirname "$0")/.."
REWARD=${BUILD:-build}/reward
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=1; }
# expect STATUS TEXT COMMAND…: the exit status, and TEXT in what it printed.
expect() {
  local status=$1 text=$2 got
  shift 2
  "$@" >"$work/out" 2>&1
  got=$?
  [ $got -eq "$status" ] || fail "$*: exit status $got, expected $status: $(tail -n 1 "$work/out")"
  [ -z "$text" ] || grep -qF -- "$text" "$work/out" || fail "$*: expected '$text' in: $(cat "$work/out")"
}
data=tests/data/eval

for suite in rewardbench rewardbench2 rm-bench judgebench; do
  expect 0 "length baseline" "$REWARD" eval --suite $suite --data $data/$suite.jsonl --scores $data/$suite.jsonl \
    -o "$work/$suite.json" --html "$work/$suite.html"
  gzip -c $data/$suite.jsonl >"$work/$suite.gz"
  "$REWARD" eval --suite $suite --data "$work/$suite.gz" --scores "$work/$suite.gz" -o - -q 2>/dev/null >"$work/again.json"
  python3 - "$work" $suite <<'P' || fail "$suite: results"
import json, math, sys
work, suite = sys.argv[1:]
r, again = json.load(open(f"{work}/{suite}.json")), json.load(open(f"{work}/again.json"))
want = json.load(open("tests/data/eval/expected.json"))[suite]["figures"]
near = lambda a, b: math.isclose(a, 100 * b, abs_tol=1e-9)
assert r["suite"] == suite and r["unit"] == "percent" and r["missing"] == []
assert near(r["overall"], want["overall"])
assert all(near(r["sections"][k], v) for k, v in want["sections"].items()) and r["sections"].keys() == want["sections"].keys()
assert all(near(r["subsets"][k]["accuracy"], v) for k, v in want["subsets"].items())
assert all({"n", "correct", "accuracy"} <= s.keys() for s in r["subsets"].values())
assert r["interval"][0] <= r["overall"] <= r["interval"][1] and r["bootstrap"] == {"level": 95, "resamples": 2000, "seed": 0}
assert isinstance(r["ties"], int) and r["truncated"] == 0 and r["dropped"] == 0 and "overall" in r["length_baseline"]
if suite == "rm-bench":
    assert all(near(r[k], want["sections"][k]) for k in ("easy", "normal", "hard"))
for k in ("data", "scores"):  # the same figures and intervals from a compressed copy
    r.pop(k), again.pop(k)
assert r == again
P
done

head -n 30 $data/rewardbench.jsonl >"$work/part.jsonl"
expect 0 "Without rows: " "$REWARD" eval --suite rewardbench --data "$work/part.jsonl" --scores "$work/part.jsonl" -o "$work/part.json"
python3 -c "import json; r = json.load(open('$work/part.json')); assert r['overall'] is None and r['interval'] is None and r['missing']" ||
  fail "a part of the data has an overall"
expect 1 "expected 59 rows" "$REWARD" eval --suite rewardbench --data $data/rewardbench.jsonl --scores "$work/part.jsonl" -o "$work/no.json"
expect 1 "is --suite right" "$REWARD" eval --suite rewardbench2 --data $data/rewardbench.jsonl --scores $data/rewardbench.jsonl
sed '2s/"chosen_score"/"error": "too long", "x"/' $data/rewardbench.jsonl >"$work/error.jsonl"
expect 1 "error.jsonl:2: too long" "$REWARD" eval --suite rewardbench --data $data/rewardbench.jsonl --scores "$work/error.jsonl" -o "$work/no.json"
[ ! -e "$work/no.json" ] || fail "a result was written although scores were missing"
expect 2 "one of --model, --scores and --endpoint" "$REWARD" eval --suite pairs --data x
expect 2 "--suite" "$REWARD" eval --suite mine --data x --scores y

# beside results with all four sections stand the published systems, as bars and as Table 2; with a caution where
# the items are others than the published ones
python3 - "$work" <<'P'
import json, sys
counts = {"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40, "mt-bench-hard": 37,
          "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
          "refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154, "xstest-should-respond": 250, "donotanswer": 136,
          "math-prm": 447, **{f"hep-{l}": 164 for l in ("cpp", "go", "java", "js", "python", "rust")}}
with open(sys.argv[1] + "/full.jsonl", "w") as f:
    for subset, n in counts.items():
        for i in range(n):
            f.write(json.dumps({"id": f"{subset}{i}", "subset": subset, "prompt": "p", "chosen": "a", "rejected": "b",
                                "chosen_score": 1 if i % 4 else -1, "rejected_score": 0}) + "\n")
P
expect 0 "Items 2985" "$REWARD" eval --suite rewardbench --data "$work/full.jsonl" --scores "$work/full.jsonl" --name mine --html "$work/full.html"
for text in "mine (this page)" "Skywork-Reward-Gemma-2-27B-v0.2" "gpt-4o-2024-08-06" "Table 2 of the report"; do
  grep -qF "$text" "$work/full.html" || fail "the page of the whole RewardBench lacks $text"
done
[ "$(grep -o '<figure' "$work/full.html" | wc -l)" -eq 6 ] || fail "bars of sections and of the published systems"
grep -qF "Caution" "$work/full.html" && fail "a caution beside the whole RewardBench"
for text in "gpt-4o-2024-08-06" "rewardbench.jsonl (this page)" "not the published 2,985 items (rewardbench.jsonl: 59)"; do
  grep -qF "$text" "$work/rewardbench.html" || fail "the page of 59 items of RewardBench lacks $text"
done
expect 0 "" "$REWARD" eval --suite rewardbench --data "$work/part.jsonl" --scores "$work/part.jsonl" --html "$work/part.html"
grep -qF "gpt-4o-2024-08-06" "$work/part.html" && fail "published systems beside a part without all sections"

# the public tools' files
expect 0 "" "$REWARD" eval --suite rewardbench --data $data/rewardbench.jsonl --scores $data/rewardbench.jsonl --format rewardbench -o "$work/public.json"
expect 0 "" "$REWARD" eval --suite rewardbench --data $data/rewardbench.jsonl --scores $data/rewardbench.jsonl --format rewardbench -o "$work/public.jsonl"
python3 - "$work" <<'P' || fail "public files"
import json, sys
work = sys.argv[1]
s, rows = json.load(open(f"{work}/public.json")), [json.loads(l) for l in open(f"{work}/public.jsonl")]
want = json.load(open("tests/data/eval/expected.json"))["rewardbench"]["figures"]["subsets"]
assert all(abs(s[k] - v) < 1e-12 and abs(s["extra_results"][k] - v) < 1e-12 for k, v in want.items())
assert len(rows) == s["num_prompts"] and abs(sum(r["results"] for r in rows) / len(rows) - s["accuracy"]) < 1e-12
assert all(r["results"] == (r["scores_chosen"] > r["scores_rejected"]) for r in rows)
P

expect 0 "+0.00" "$REWARD" compare $data/rewardbench.jsonl $data/rewardbench.jsonl $data/rewardbench.jsonl --suite rewardbench -o "$work/c.json"
python3 -c "import json; c = json.load(open('$work/c.json')); assert c['overall']['difference'] == 0 == c['a_better'] and c['equal'] == c['n'] == 59" ||
  fail "comparison with itself"
expect 2 "expected A, B and ROWS" "$REWARD" compare a b

expect 0 "" "$REWARD" report "$work/rewardbench.json" "$work/rm-bench.json" -o "$work/report.html"
grep -q "Evaluation: rm-bench" "$work/report.html" || fail "report"
grep -qE "<script|https?://" "$work/report.html" && fail "the report refers to something outside"
expect 1 "README.md" "$REWARD" report README.md -o "$work/no.html"
expect 2 "are needed" "$REWARD" report "$work/rewardbench.json"
exit $bad
