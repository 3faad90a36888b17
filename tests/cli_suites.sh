#!/usr/bin/env bash
# PPE, RMB and JudgeBench as published: their rows through `reward score`, the same figures from a model and from its
# scores, folders of files, the seven-benchmark table, and reports of all that.
set -u
. "$(dirname "$0")/lib.sh"
data=tests/data/eval
model=$tmp/model
mkdir "$model"
cp tests/data/model/llama/{config.json,model.safetensors} "$model/"
python3 - "$model" <<'P'
import json, sys
chars = "abcdefghijklmnopqrstuvwxyz0123456789 .,?!+\"\n"
added = [{"id": 190, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]
with open(sys.argv[1] + "/tokenizer.json", "w") as f:
    json.dump({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
               "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": False, "byte_fallback": False, "merges": [],
                         "vocab": {"<unk>": 0, **{c: i + 3 for i, c in enumerate(chars)}}}}, f)
with open(sys.argv[1] + "/tokenizer_config.json", "w") as f:
    json.dump({"eos_token": "<|end|>", "chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"}, f)
P

# what a model gets is what its scores get: rows as they are published, without the scores that the recorded rows carry
mkdir "$tmp/bench" "$tmp/scores"
for suite in ppe-preference ppe-correctness rmb judgebench; do
  python3 - $data/$suite.jsonl $suite >"$tmp/bench/$suite.jsonl" <<'P'
import json, sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    keep = lambda k: not k.startswith("score_") and not k.endswith(("_score", "_scores")) and (k != "scores" or sys.argv[2] == "ppe-correctness")
    print(json.dumps({k: v for k, v in r.items() if keep(k)}))
P
  expect 0 "" "$reward" score -q --model "$model" "$tmp/bench/$suite.jsonl" -o "$tmp/scores/$suite.jsonl"
  expect 0 "" "$reward" eval -q --suite $suite --data "$tmp/bench/$suite.jsonl" --model "$model" -o "$tmp/by_model.json"
  expect 0 "" "$reward" eval -q --suite $suite --data "$tmp/bench/$suite.jsonl" --scores "$tmp/scores/$suite.jsonl" -o "$tmp/by_scores.json"
  python3 - "$tmp" $suite <<'P' || fail "$suite: a model's figures are not those of its scores"
import json, sys
a, b = (json.load(open(f"{sys.argv[1]}/{n}.json")) for n in ("by_model", "by_scores"))
assert a["overall"] is not None and ("best_of_k" in a) == (sys.argv[2] == "ppe-correctness")
for k in set(a) & set(b) - {"data", "rewards"}: assert a[k] == b[k], k
P
done
expect 0 "" "$reward" score -q --best --model "$model" "$tmp/bench/ppe-correctness.jsonl" -o "$tmp/best.jsonl"
python3 - "$tmp" <<'P' || fail "the best of numbered responses"
import json, sys
for line, was in zip(open(sys.argv[1] + "/best.jsonl"), open(sys.argv[1] + "/bench/ppe-correctness.jsonl")):
    r, was = json.loads(line), json.loads(was)
    assert len(r["scores"]) == 6 and r["best"] == r["scores"].index(max(r["scores"]))
    assert r["best_response"] == was[f"response_{r['best'] + 1}"] and r["conflict_pairs"] == was["conflict_pairs"]
P
# labels that are rewards, pairs that are none, a set that nothing names
expect 1 "are these rewards?" "$reward" eval --suite ppe-correctness --data "$tmp/best.jsonl" --scores "$tmp/best.jsonl"
sed 's/"conflict_pairs": \[\[[0-9]*, [0-9]*\]/"conflict_pairs": [[0, 0]/' "$tmp/bench/ppe-correctness.jsonl" >"$tmp/same.jsonl"
expect 1 "same.jsonl:1: conflict_pairs[0]: expected the places (from 0) of a right and a wrong one of 6 responses, got [0, 0]" \
  "$reward" eval --suite ppe-correctness --data "$tmp/same.jsonl" --scores "$tmp/same.jsonl"
sed 's/"benchmark"/"other"/' "$tmp/bench/ppe-correctness.jsonl" >"$tmp/unnamed.jsonl"
expect 1 "as in PPE-MATH-Best-of-K" "$reward" eval --suite ppe-correctness --data "$tmp/unnamed.jsonl" --scores "$tmp/unnamed.jsonl"
sed 's/"model_b"/"modelb"/' "$tmp/bench/ppe-preference.jsonl" >"$tmp/winner.jsonl"
sed -i '1s/"winner": "[a-z_]*"/"winner": "nobody"/' "$tmp/winner.jsonl"
expect 1 'winner.jsonl:1: winner: expected model_a, model_b or a tie, got "nobody"' "$reward" eval --suite ppe-preference \
  --data "$tmp/winner.jsonl" --scores "$tmp/winner.jsonl"

# a prompt without a score: nothing is made of fewer prompts, the other sets stay as they are
python3 - "$tmp/scores/ppe-correctness.jsonl" >"$tmp/part.jsonl" <<'P'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
for r in rows[:1]: r.pop("scores"), r.update(error="too long")
print("\n".join(map(json.dumps, rows)))
P
expect 1 "part.jsonl:1: too long" "$reward" eval -q --suite ppe-correctness --data "$tmp/bench/ppe-correctness.jsonl" --scores "$tmp/part.jsonl" -o "$tmp/part.json"
expect 0 "" "$reward" eval -q --suite ppe-correctness --data "$tmp/bench/ppe-correctness.jsonl" --scores "$tmp/scores/ppe-correctness.jsonl" -o "$tmp/whole.json"
python3 - "$tmp" <<'P' || fail "ppe-correctness with a prompt that has no score"
import json, sys
part, whole = (json.load(open(f"{sys.argv[1]}/{n}.json")) for n in ("part", "whole"))
first = json.loads(open(sys.argv[1] + "/bench/ppe-correctness.jsonl").readline())
lost, = [s for s, v in part["sections"].items() if v is None]
assert part["overall"] is None and lost.lower()[:4] == first["benchmark"][:4] and part["unscored"] == 1
for s, b in part["best_of_k"].items():
    if s != lost:
        assert b == whole["best_of_k"][s] and part["sections"][s] == whole["sections"][s]
        continue
    assert all(b[k] is None for k in ("accuracy", "auc", "auc_scaled", "max", "end", "loss", "sampled_accuracy")) and set(b["curve"] + b["ideal"]) == {None}
    for m, v in b["models"].items(): assert (v["auc"] is None) == (m == first["model_name"])
P

# folders as they are published: RMB's tree of JSON arrays, a folder for each of PPE's sets; a suite finds its own in them
python3 - "$tmp" $data <<'P'
import json, os, sys
tmp, data = sys.argv[1:]
rows = [json.loads(l) for l in open(f"{data}/rmb.jsonl")]
for path in sorted({r["category_path"] for r in rows}):
    os.makedirs(os.path.dirname(f"{tmp}/tree/RMB_dataset/{path}"), exist_ok=True)
    json.dump([r for r in rows if r["category_path"] == path], open(f"{tmp}/tree/RMB_dataset/{path}.json", "w"), indent=2)
rows = [json.loads(l) for l in open(f"{data}/ppe-correctness.jsonl")]
names = {"mmlu_pro": "PPE-MMLU-Pro", "math": "PPE-MATH", "gpqa": "PPE-GPQA", "ifeval": "PPE-IFEval", "mbpp_plus": "PPE-MBPP-Plus"}
for name, folder in names.items():
    os.makedirs(f"{tmp}/tree/{folder}-Best-of-K/data")
    with open(f"{tmp}/tree/{folder}-Best-of-K/data/train.jsonl", "w") as f:
        for r in rows:
            if r["benchmark"].startswith(name): f.write(json.dumps({k: v for k, v in r.items() if k != "benchmark"}) + "\n")
os.makedirs(f"{tmp}/tree/reward-bench/data")
rows = open(f"{data}/rewardbench.jsonl").read()
open(f"{tmp}/tree/reward-bench/data/filtered-00000.jsonl", "w").write(rows)
open(f"{tmp}/tree/reward-bench/data/raw-00000.jsonl", "w").write(rows)
open(f"{tmp}/tree/other.jsonl", "w").write('{"chosen": "a", "rejected": "b", "prompt": "c"}\n')
P
for suite in rmb ppe-correctness; do
  find "$tmp/tree" -name '*.json*' | LC_ALL=C sort | while read -r f; do
    case $suite:$f in
    rmb:*RMB_dataset*) python3 -c 'import json, sys; [print(json.dumps(r)) for r in json.load(open(sys.argv[1]))]' "$f" ;;
    ppe-correctness:*Best-of-K*) cat "$f" ;;
    esac
  done >"$tmp/in_order.jsonl"
  expect 0 "" "$reward" eval -q --suite $suite --data "$tmp/tree" --scores "$tmp/in_order.jsonl" -o "$tmp/tree.json"
  python3 - "$tmp/tree.json" $suite <<'P' || fail "$suite: figures of a folder"
import json, sys
r, want = json.load(open(sys.argv[1])), json.load(open("tests/data/eval/expected.json"))[sys.argv[2]]["figures"]
assert abs(r["overall"] - 100 * want["overall"]) < 1e-9 and r["sections"].keys() == want["sections"].keys(), r
assert len(r["data"]) == {"rmb": len(r["subsets"]), "ppe-correctness": 5}[sys.argv[2]]
P
done

# the table of seven: a folder with all of them, scores of each by its suite's name
mkdir "$tmp/all"
cp $data/*.jsonl "$tmp/all/"
expect 0 "Skywork-Reward-V2-Llama-3.1-8B-40M" "$reward" eval -q --suite all --data "$tmp/all" --scores "$tmp/all" --name mine \
  -o "$tmp/all.json" --html "$tmp/all.html"
grep -q '^mine .*46\.2\*' "$tmp/stdout" || fail "the table of seven: $(cat "$tmp/stdout")"
grep -qF "rewardbench 59 instead of 2,985" "$tmp/stdout" || fail "other items than published are not said to be"
grep -qF "Internlm2-20b-reward: RM-Bench 72.1" "$tmp/all.html" || fail "the page does not say what was revised"
grep -qE "<script|https?://" "$tmp/all.html" && fail "the page refers to something outside"
python3 - "$tmp" <<'P' || fail "results of all suites"
import json, statistics, sys
r, want = json.load(open(sys.argv[1] + "/all.json")), json.load(open("tests/data/eval/expected.json"))
near = lambda a, b: abs(a - b) < 1e-9
assert r["suite"] == "all" and r["complete"] and r["name"] == "mine" and list(r["benchmarks"]) == r["average_over"]
for name, b in r["benchmarks"].items():
    f = want[name]["figures"]
    assert near(b["percent"], 100 * (statistics.mean(f["sections"].values()) if name == "judgebench" else f["overall"]))
    assert b["complete"] and b["result"]["suite"] == name and b["result"]["data"][0]["path"].endswith(name + ".jsonl")
assert near(r["average"], statistics.mean(b["percent"] for b in r["benchmarks"].values()))
rows = {p["model"]: p for p in r["published"]["rows"]}
for p in rows.values():  # the published averages are those of the published figures, as far as rounding tells
    for v in (p, p.get("later_revision", p)):
        seven = [v[k] for k in r["benchmarks"]]
        assert v["average"] is None or None in seven or abs(statistics.mean(seven) - v["average"]) < 0.101, v
assert rows["INF-ORM-Llama3.1-70B"]["rmb"] == 70.5 and rows["INF-ORM-Llama3.1-70B"]["later_revision"]["rm-bench"] == 75.4
P
rm "$tmp/all/rmb.jsonl"
sed -i '2s/"chosen_score"/"error": "x", "y"/' "$tmp/all/rewardbench.jsonl"
expect 1 "44.0 (of 5)" "$reward" eval -q --suite all --data "$tmp/all" --scores "$tmp/all" -o "$tmp/part.json"
grep -qF "Not complete, and in no average: rewardbench (1 items without a score); rmb (no rows)." "$tmp/stdout" || fail "$(cat "$tmp/stdout")"
python3 - "$tmp" <<'P' || fail "results of some suites"
import json, statistics, sys
r = json.load(open(sys.argv[1] + "/part.json"))
b = r["benchmarks"]
assert not r["complete"] and set(r["average_over"]) == set(b) - {"rmb", "rewardbench"} and b["rmb"]["result"] is None
assert b["rewardbench"]["percent"] is None and b["rewardbench"]["result"]["unscored"] == 1
assert abs(r["average"] - statistics.mean(b[k]["percent"] for k in r["average_over"])) < 1e-9
P
expect 0 "average is over 4 of the 7" "$reward" eval -q --suite all --data "$tmp/bench" --model "$model"
cp "$tmp/stdout" "$tmp/by_model"
expect 0 "average is over 4 of the 7" "$reward" eval -q --suite all --data "$tmp/bench" --scores "$tmp/scores" --name model
cmp "$tmp/stdout" "$tmp/by_model" || fail "all suites by a model and by its scores"
expect 1 "rmb (expected its scores in $tmp/none/rmb.jsonl, found none)" "$reward" eval -q --suite all --data "$tmp/tree" --scores "$tmp/none"
expect 1 "expected files of the benchmarks, found none" "$reward" eval --suite all --data "$model" --scores "$tmp/all"
expect 2 "expected a folder" "$reward" eval --suite all --data $data/rmb.jsonl --scores "$tmp/all"
expect 2 "--format: expected one suite" "$reward" eval --suite all --data "$tmp/all" --scores "$tmp/all" --format rewardbench -o "$tmp/no.json"

# two ranks, and two jobs of one file, give what one process gives
if command -v mpirun >/dev/null && [ -e "${reward%/*}/libreward_mpi.so" ]; then
  . tests/ranks/lib.sh
  for suite in ppe-preference ppe-correctness rmb all; do
    [ $suite = all ] && rows=$tmp/bench || rows=$tmp/bench/$suite.jsonl
    expect 0 "" "$reward" eval -q --suite $suite --threads 1 --data "$rows" --model "$model" -o "$tmp/one.json"
    expect 0 "" ranks 2 "$reward" eval -q --suite $suite --threads 1 --data "$rows" --model "$model" -o "$tmp/two.json"
    cmp "$tmp/one.json" "$tmp/two.json" || fail "$suite: two ranks"
  done
fi
for task in 1/2 2/2; do "$reward" score -q --threads 1 --part-rows 2 --task $task --model "$model" "$tmp/bench/rmb.jsonl" -o "$tmp/parts.jsonl" || fail "task $task"; done
expect 0 "" "$reward" score -q --threads 1 --part-rows 2 --resume --model "$model" "$tmp/bench/rmb.jsonl" -o "$tmp/parts.jsonl"
cmp "$tmp/parts.jsonl" "$tmp/scores/rmb.jsonl" || fail "rmb's rows by two jobs"

# reports of them
expect 0 "" "$reward" report "$tmp/all.json" "$tmp/by_model.json" "$tmp/tree.json" -o "$tmp/report.html"
for text in "Evaluation: ppe-preference" "Evaluation: ppe-correctness" "Evaluation: rmb" "How often the response with the highest score"; do
  grep -qF "$text" "$tmp/report.html" || fail "the report lacks $text"
done
expect 0 "" "$reward" compare "$tmp/scores/ppe-correctness.jsonl" "$tmp/scores/ppe-correctness.jsonl" "$tmp/bench/ppe-correctness.jsonl" \
  --suite ppe-correctness -o "$tmp/c.json"
python3 -c "import json; c = json.load(open('$tmp/c.json')); assert c['overall']['difference'] == 0 == c['a_better'] and c['n'] == c['equal'] == 13" ||
  fail "comparison of ppe-correctness"
exit $bad
