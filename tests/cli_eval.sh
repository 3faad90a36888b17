#!/usr/bin/env bash
# `reward eval`, `compare` and `report` as users call them: what they print, write and return.
set -u
. "$(dirname "$0")/lib.sh"
data=tests/data/eval

for suite in rewardbench rewardbench2 rm-bench judgebench ppe-preference ppe-correctness rmb; do
  expect 0 "length baseline" "$reward" eval --suite $suite --data $data/$suite.jsonl --scores $data/$suite.jsonl \
    -o "$tmp/$suite.json" --html "$tmp/$suite.html"
  gzip -c $data/$suite.jsonl >"$tmp/$suite.gz"
  "$reward" eval --suite $suite --data "$tmp/$suite.gz" --scores "$tmp/$suite.gz" -o - -q 2>/dev/null >"$tmp/again.json"
  python3 - "$tmp" $suite <<'P' || fail "$suite: results"
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

head -n 30 $data/rewardbench.jsonl >"$tmp/part.jsonl"
expect 0 "Without rows: " "$reward" eval --suite rewardbench --data "$tmp/part.jsonl" --scores "$tmp/part.jsonl" -o "$tmp/part.json"
python3 -c "import json; r = json.load(open('$tmp/part.json')); assert r['overall'] is None and r['interval'] is None and r['missing']" ||
  fail "a part of the data has an overall"
expect 1 "expected 59 rows" "$reward" eval --suite rewardbench --data $data/rewardbench.jsonl --scores "$tmp/part.jsonl" -o "$tmp/no.json"
expect 1 "is --suite right" "$reward" eval --suite rewardbench2 --data $data/rewardbench.jsonl --scores $data/rewardbench.jsonl
sed '2s/"chosen_score"/"error": "too long", "x"/' $data/rewardbench.jsonl >"$tmp/error.jsonl"
# an item without a score is named and counted; what it is part of has no figure, the rest is written
expect 1 "error.jsonl:2: too long" "$reward" eval --suite rewardbench --data $data/rewardbench.jsonl --scores "$tmp/error.jsonl" \
  -o "$tmp/error.json" --html "$tmp/error.html"
grep -qF "Without a score: 1 of 59 items" "$tmp/error.html" || fail "the page does not name the item without a score"
python3 - "$tmp" <<'P' || fail "an item without a score"
import json, sys
work = sys.argv[1]
r, whole = json.load(open(f"{work}/error.json")), json.load(open(f"{work}/rewardbench.json"))
item = json.loads(open("tests/data/eval/rewardbench.jsonl").readlines()[1])
assert r["overall"] is None and r["interval"] is None and r["items"]["accuracy"] is None and r["missing"] == []
assert r["unscored"] == 1 and r["items"]["n"] == 58 and whole["unscored"] == 0 and whole["unscored_items"] == []
u, = r["unscored_items"]
assert u["id"] == str(item["id"]) and u["line"] == 2 and u["subset"] == item["subset"] and "too long" in u["why"], u
section = whole["subsets"][item["subset"]]["section"]
assert all((v is None) if k == section else v == whole["sections"][k] for k, v in r["sections"].items())
for k, v in r["subsets"].items():
    if k == item["subset"]:
        assert v["accuracy"] is None and v["unscored"] == 1 and v["n"] == whole["subsets"][k]["n"] - 1, v
    else:
        assert v == whole["subsets"][k]
P
expect 1 "1 of 59 items have no score" "$reward" eval --suite rewardbench --data $data/rewardbench.jsonl --scores "$tmp/error.jsonl" \
  --format rewardbench -o "$tmp/error.public.json"
expect 1 "1 of 59 items have no score" "$reward" eval --suite rewardbench --data $data/rewardbench.jsonl --scores "$tmp/error.jsonl" \
  --format rewardbench -o "$tmp/error.public.jsonl"
python3 - "$tmp" <<'P' || fail "public files with an item without a score"
import json, sys
s, rows = json.load(open(f"{sys.argv[1]}/error.public.json")), [json.loads(l) for l in open(f"{sys.argv[1]}/error.public.jsonl")]
assert s["accuracy"] is None and s["unscored"] == 1 and s["num_prompts"] == 58 and s[rows[1]["subset"]] is None
assert len(rows) == 59 and rows[1]["results"] is None and all(r["results"] is not None for r in rows[2:])
P
expect 1 "error.jsonl:2: too long" "$reward" compare $data/rewardbench.jsonl "$tmp/error.jsonl" $data/rewardbench.jsonl --suite rewardbench -o "$tmp/c.json"
python3 -c "import json; c = json.load(open('$tmp/c.json')); assert c['overall']['a'] is None and c['unscored'] == 1 and c['n'] == 58 == c['equal']" ||
  fail "comparison with an item without a score"
sed 's/"chosen_score"/"error": "bad", "x"/' $data/rewardbench.jsonl >"$tmp/errors.jsonl"
expect 1 "59 of 59 items have no score" "$reward" eval --suite rewardbench --data $data/rewardbench.jsonl --scores "$tmp/errors.jsonl" -o "$tmp/no.json"
[ ! -e "$tmp/no.json" ] || fail "a result was written although there is no score"
expect 2 "one of --model, --scores and --endpoint" "$reward" eval --suite pairs --data x
expect 2 "--suite" "$reward" eval --suite mine --data x --scores y

# beside results of the published items stand the published systems, as dots and as Table 2; beside others they do not
python3 - "$tmp" <<'P'
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
expect 0 "Items 2985" "$reward" eval --suite rewardbench --data "$tmp/full.jsonl" --scores "$tmp/full.jsonl" --name mine --html "$tmp/full.html"
for text in "mine (this page)" "Skywork-Reward-Gemma-2-27B-v0.2" "gpt-4o-2024-08-06" "Table 2 of the report"; do
  grep -qF "$text" "$tmp/full.html" || fail "the page of the whole RewardBench lacks $text"
done
[ "$(grep -o '<figure' "$tmp/full.html" | wc -l)" -eq 6 ] || fail "bars of sections and of the published systems"
grep -qF "not of others" "$tmp/full.html" && fail "the whole RewardBench is no other"
grep -qF "gpt-4o-2024-08-06" "$tmp/rewardbench.html" && fail "Table 2 beside 59 items"
grep -qF "published 2,985 items; not of others (rewardbench.jsonl: 59)" "$tmp/rewardbench.html" || fail "the page of 59 items does not say why"
expect 0 "" "$reward" eval --suite rewardbench --data "$tmp/part.jsonl" --scores "$tmp/part.jsonl" --html "$tmp/part.html"
grep -qF "gpt-4o-2024-08-06" "$tmp/part.html" && fail "published systems beside a part without all sections"

# the public tools' files
expect 0 "" "$reward" eval --suite rewardbench --data $data/rewardbench.jsonl --scores $data/rewardbench.jsonl --format rewardbench -o "$tmp/public.json"
expect 0 "" "$reward" eval --suite rewardbench --data $data/rewardbench.jsonl --scores $data/rewardbench.jsonl --format rewardbench -o "$tmp/public.jsonl"
python3 - "$tmp" <<'P' || fail "public files"
import json, sys
work = sys.argv[1]
s, rows = json.load(open(f"{work}/public.json")), [json.loads(l) for l in open(f"{work}/public.jsonl")]
want = json.load(open("tests/data/eval/expected.json"))["rewardbench"]["figures"]["subsets"]
assert all(abs(s[k] - v) < 1e-12 and abs(s["extra_results"][k] - v) < 1e-12 for k, v in want.items())
assert len(rows) == s["num_prompts"] and abs(sum(r["results"] for r in rows) / len(rows) - s["accuracy"]) < 1e-12
assert all(r["results"] == (r["scores_chosen"] > r["scores_rejected"]) for r in rows)
P

expect 0 "+0.00" "$reward" compare $data/rewardbench.jsonl $data/rewardbench.jsonl $data/rewardbench.jsonl --suite rewardbench -o "$tmp/c.json"
python3 -c "import json; c = json.load(open('$tmp/c.json')); assert c['overall']['difference'] == 0 == c['a_better'] and c['equal'] == c['n'] == 59" ||
  fail "comparison with itself"

# agreement, correlation and the items apart, against the same reckoned here; b: other scores of the same rows
python3 - "$tmp" <<'P'
import json, sys
with open(f"{sys.argv[1]}/b.jsonl", "w") as f:
    for k, line in enumerate(open("tests/data/eval/rewardbench.jsonl")):
        r = json.loads(line)
        f.write(json.dumps({"chosen_score": 7 * r["chosen_score"] + k % 5, "rejected_score": 7 * r["rejected_score"] + k % 3}) + "\n")
P
"$reward" compare $data/rewardbench.jsonl "$tmp/b.jsonl" $data/rewardbench.jsonl --suite rewardbench --show 3 -o "$tmp/c.json" >"$tmp/table"
[ "$(tail -n 1 "$tmp/table" | cut -c1-9)" = "Items 59:" ] || fail "comparison's last line"
grep -q "^Where they differ most, 3 of the [0-9]* items" "$tmp/table" || fail "comparison's items: $(cat "$tmp/table")"
python3 - "$tmp" <<'P' || fail "comparison: where they differ"
import hashlib, json, statistics as st, sys
work = sys.argv[1]
c, path = json.load(open(f"{work}/c.json")), "tests/data/eval/rewardbench.jsonl"
rows = [json.loads(l) for l in open(path)]
a, b = ([r["chosen_score"] - r["rejected_score"] for r in map(json.loads, open(p))] for p in (path, f"{work}/b.jsonl"))
near = lambda x, y: abs(x - y) < 1e-9
assert near(c["agreement"], 100 * sum((x > 0) == (y > 0) for x, y in zip(a, b)) / 59)
assert near(c["margins"]["correlation"], st.correlation(a, b))
sd = {"a": st.pstdev(a), "b": st.pstdev(b)}
assert near(c["margins"]["a"]["sd"], sd["a"]) and near(c["margins"]["b"]["mean"], st.mean(b))
apart = [(abs(x / sd["a"] - y / sd["b"]), i) for i, (x, y) in enumerate(zip(a, b)) if (x > 0) != (y > 0)]
apart.sort(key=lambda t: -t[0])
got = c["differ_most"]
assert len(got) == 3 < len(apart) == c["a_better"] + c["b_better"]
for g, (distance, _) in zip(got, apart):
    i = g["line"] - 1
    assert near(g["distance"], distance) and g["id"] == str(rows[i]["id"]) and g["subset"] == rows[i]["subset"] and g["file"] == path
    assert near(g["a"]["margin"], a[i]) and near(g["b"]["margin"], b[i])
    assert g["better"] == ("a" if a[i] > 0 else "b") and (g["a"]["credit"], g["b"]["credit"]) == (a[i] > 0, b[i] > 0)
assert c["scored_by"] == {"a": {"scores": path}, "b": {"scores": f"{work}/b.jsonl"}}
assert [d["path"] for d in c["data"]] == [path] and c["data"][0]["sha256"] == hashlib.sha256(open(path, "rb").read()).hexdigest()
P
"$reward" compare $data/rewardbench.jsonl "$tmp/b.jsonl" $data/rewardbench.jsonl --suite rewardbench --show 0 -o "$tmp/c.json" >"$tmp/table"
grep -q "differ most" "$tmp/table" && fail "--show 0 shows items"
grep -qF '"differ_most": []' "$tmp/c.json" || fail "--show 0: JSON"

# what each side was: as results.json says it
printf '{"chosen_ids": [%s], "rejected_ids": [%s]}\n' "5, 6, 7" "5, 6" "9, 8" "9, 4, 3" "5" "7" >"$tmp/ids.jsonl"
model=tests/data/model/llama
"$reward" score -q --model $model "$tmp/ids.jsonl" -o "$tmp/ids.scored.jsonl"
# by a model: rows that are too long for it
expect 1 "ids.jsonl:1: 3 tokens, more than --max-length 2" "$reward" eval -q --suite pairs --data "$tmp/ids.jsonl" --model $model --max-length 2 -o "$tmp/long.json"
python3 -c "import json; r = json.load(open('$tmp/long.json')); assert r['overall'] is None and r['unscored'] == 2 and r['items']['n'] == 1, r" ||
  fail "rows too long for the model"
sed 's/"chosen_score/"x/; s/"rejected_score/"chosen_score/; s/"x/"rejected_score/' "$tmp/ids.scored.jsonl" >"$tmp/ids.other.jsonl"
expect 0 "" "$reward" eval -q --suite pairs --data "$tmp/ids.jsonl" --model $model --max-length 64 --overlong drop -o "$tmp/ids.json"
expect 0 "ids.jsonl:" "$reward" compare -q $model "$tmp/ids.other.jsonl" "$tmp/ids.jsonl" --max-length 64 --overlong drop -o "$tmp/c.json"
python3 - "$tmp" <<'P' || fail "comparison: what scored"
import json, sys
c, r = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("c", "ids"))
side = c["scored_by"]["a"]
assert {"model", "device", "dtype", "max_length", "overlong"} <= side.keys() and side["max_length"] == 64 and side["overlong"] == "drop"
assert all(r[k] == v for k, v in side.items()) and c["data"] == r["data"]
assert c["a"] == side["model"] and c["scored_by"]["b"] == {"scores": c["b"]}
P

expect 2 "expected A, B and ROWS" "$reward" compare a b
expect 2 "--show: expected 0 or more, got -1" "$reward" compare a b c --show -1

expect 0 "" "$reward" report "$tmp/rewardbench.json" "$tmp/rm-bench.json" -o "$tmp/report.html"
grep -q "Evaluation: rm-bench" "$tmp/report.html" || fail "report"
grep -qE "<script|https?://" "$tmp/report.html" && fail "the report refers to something outside"
expect 1 "README.md" "$reward" report README.md -o "$tmp/no.html"
# one that cannot be read is named, the others make the page: also a run whose second line is broken
mkdir -p "$tmp/torn" "$tmp/run"
printf '%s\n' '{"step": 1, "loss": 0.5}' '{"step": 2, "loss": 0.4}' >"$tmp/run/metrics.jsonl"
printf '%s\n' '{"step": 1, "loss": 0.5, "sources": {"a": {"n": 1}}}' '{"loss": 1}' >"$tmp/torn/metrics.jsonl"
for bad_one in README.md "$tmp/nowhere.json" "$tmp/torn"; do
  rm -f "$tmp/some.html"
  expect 1 "$bad_one" "$reward" report "$tmp/run" "$bad_one" "$tmp/rm-bench.json" -o "$tmp/some.html"
  grep -qF "1 of 3 could not be read and are not on the page" "$tmp/out" || fail "report: $(cat "$tmp/out")"
  grep -q "Evaluation: rm-bench" "$tmp/some.html" || fail "report without $bad_one"
  "$reward" report "$tmp/run" "$tmp/rm-bench.json" -o "$tmp/without.html"
  cmp -s "$tmp/some.html" "$tmp/without.html" || fail "report: $bad_one left something on the page"
done
expect 1 "none of the 2 could be read" "$reward" report README.md "$tmp/torn" -o "$tmp/no.html"
[ ! -e "$tmp/no.html" ] || fail "a page of nothing"
expect 2 "are needed" "$reward" report "$tmp/rewardbench.json"
exit $bad
