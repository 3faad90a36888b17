#!/usr/bin/env bash
# `reward sweep`: the grid it lays out, that done runs are skipped and interrupted ones go on, that its figures are those
# of `reward eval` and `compare`, and what it refuses.
set -eu
. "$(dirname "$0")/lib.sh"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(6)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
def pairs(name, n):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as f:
        for i in range(n):
            p = draw(random.randrange(1, 9))
            good, bad = draw(random.randrange(3, 12)), draw(random.randrange(3, 12))
            (good if i % 7 else bad).append(random.randrange(150, 200)) # something to learn
            f.write(json.dumps({"chosen_ids": p + good, "rejected_ids": p + bad, "source": "xy"[i % 2], "id": f"{name}{i}"}) + "\n")
pairs("a", 40); pairs("b", 64); pairs("c", 10); pairs("eval", 90); pairs("other", 30)
E2
sweep() { "$reward" sweep --quiet --model tests/data/model/llama --batch-size 8 --lr 2e-3 --threads 1 "$@"; }
losses=(--losses bt,ce,hinge --seeds 0,5 --data "$tmp/a.jsonl" --epochs 3 --eval "$tmp/eval.jsonl" --eval "pairs:$tmp/other.jsonl" --out "$tmp/losses")

sweep "${losses[@]}" --dry-run >"$tmp/plan"
[ ! -e "$tmp/losses" ]
python3 - "$tmp" <<'E2'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1] + "/a.jsonl")]
tokens = 3 * sum(len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in rows)
plan = [l.split() for l in open(sys.argv[1] + "/plan")]
runs = [l for l in plan if l and l[0].startswith("/")]
assert len(runs) == 6 and all(l[1:] == ["40", "15", f"{tokens:,}"] for l in runs), plan
assert plan[-1][-1] == f"{6 * tokens:,}", plan[-1]
E2
"$reward" sweep --help >/dev/null

# one run is stopped on its way, then the sweep goes on; nothing that is done is done again
"$reward" train --quiet --model tests/data/model/llama --batch-size 8 --lr 2e-3 --threads 1 --epochs 3 --loss bt --seed 0 \
  --data "$tmp/a.jsonl" --out "$tmp/alone"
for i in 1 2 3; do
  (exec "$reward" sweep --quiet --model tests/data/model/llama --batch-size 8 --lr 2e-3 --threads 1 "${losses[@]}" --save-every 1 >"$tmp/first" 2>&1) &
  pid=$!
  sleep "0.0$i"
  kill -TERM $pid 2>/dev/null || true # not INT: a shell's background jobs ignore it
  wait $pid || { status=$?; [ $status -eq 130 ] || [ $status -eq 143 ]; } # 143: before the handler stood
done
sweep "${losses[@]}" --save-every 1 >"$tmp/table"
cmp "$tmp/alone/model.safetensors" "$tmp/losses/bt-0/model.safetensors"
find "$tmp"/losses/*-* -type f -exec touch -d 2020-01-01 {} +
cp "$tmp/losses/sweep.json" "$tmp/before.json"
sweep "${losses[@]}" --save-every 1 --threads 2 >"$tmp/again"
cmp "$tmp/table" "$tmp/again"
cmp "$tmp/before.json" "$tmp/losses/sweep.json"
[ -z "$(find "$tmp"/losses/*-* -newermt 2021-01-01 -type f)" ]

for run in bt-0 bt-5 ce-0 hinge-5; do
  "$reward" eval --quiet --suite pairs --model "$tmp/losses/$run" --data "$tmp/eval.jsonl" -o "$tmp/$run.json" >/dev/null
done
"$reward" compare --quiet "$tmp/losses/bt-0" "$tmp/losses/ce-0" "$tmp/eval.jsonl" -o "$tmp/difference.json" >/dev/null
sweep --losses bt,ce --data "$tmp/a.jsonl" --epochs 3 --eval "$tmp/eval.jsonl" --out "$tmp/one" >"$tmp/one.table"
python3 - "$tmp" <<'E2'
import json, math, statistics, sys
t = sys.argv[1]
load = lambda p: json.load(open(f"{t}/{p}"))
s = load("losses/sweep.json")
assert s["baseline"] == "bt" and s["equal"] == "epochs" and [g["name"] for g in s["groups"]] == ["bt", "ce", "hinge"]
by = {g["name"]: g for g in s["groups"]}
assert [g["report"] for g in s["groups"]] == [93.8, 87.6, 93.3]
for run in ("bt-0", "bt-5", "ce-0", "hinge-5"):
    name, seed = run.split("-")
    r = next(r for r in by[name]["runs"] if r["seed"] == int(seed))
    assert r["figures"][0] == load(run + ".json")["overall"], run
    assert r["steps"] == 15 and len(r["figures"]) == 2
for g in s["groups"]:
    for e, v in enumerate(g["evals"]):
        f = [r["figures"][e] for r in g["runs"]]
        assert math.isclose(v["mean"], statistics.mean(f)) and math.isclose(v["sd"], statistics.stdev(f)) and v["seeds"] == 2
        assert set(v["subsets"]) == {"x", "y"}
        base = by["bt"]["evals"][e]["mean"]
        if g["name"] == "bt": assert "difference" not in v
        else:
            assert math.isclose(v["difference"], v["mean"] - base, abs_tol=1e-9)
            assert v["interval"][0] <= v["difference"] <= v["interval"][1]
# with one seed it is the paired comparison of two models, over the same draws
one, d = load("one/sweep.json")["groups"][1]["evals"][0], load("difference.json")
d = d["overall"] if "overall" in d else d
assert math.isclose(one["difference"], d["difference"]) and all(math.isclose(a, b) for a, b in zip(one["interval"], d["interval"])), (one, d)
assert one["sd"] is None
table = open(t + "/table").read()
assert "bt (baseline)" in table and "RewardBench of Gemma-2-27B by loss" in table and "by training data" not in table
page = open(t + "/losses/report.html").read()
for text in ("bt (baseline)", "2410.18451", "By source", "hinge-5"): assert text in page, text
E2

# data sets, equal steps; files without a name belong to the set before
sweep --data small="$tmp/a.jsonl" large="$tmp/b.jsonl" "$tmp/c.jsonl" --steps 6 --seeds 1 --eval "$tmp/eval.jsonl" \
  --baseline large --out "$tmp/data" >"$tmp/table"
python3 - "$tmp" <<'E2'
import json, sys
s = json.load(open(sys.argv[1] + "/data/sweep.json"))
assert s["equal"] == "steps" and s["baseline"] == "large" and [g["name"] for g in s["groups"]] == ["small", "large"]
runs = [json.load(open(g["runs"][0]["dir"] + "/run.json")) for g in s["groups"]]
assert [r["rows"]["used"] for r in runs] == [40, 74] and all(r["steps_done"] == 6 for r in runs)
assert "by training data" in open(sys.argv[1] + "/table").read()
E2
# both at once; a run that fails is named, the others go on, and the exit status says so
sweep --data s="$tmp/a.jsonl" --data l="$tmp/b.jsonl" --losses bt,margin-mse --margin 1e300 --steps 2 --eval "$tmp/eval.jsonl" --out "$tmp/both" >"$tmp/table" 2>"$tmp/said" && exit 1
[ "$(ls -d "$tmp"/both/*/ | xargs -n1 basename | sort | tr '\n' ' ')" = "l-bt-0 l-margin-mse-0 s-bt-0 s-margin-mse-0 " ]
grep -q "both/s-margin-mse-0 failed" "$tmp/said" && grep -q "l-bt " "$tmp/table" && grep -q "0 of 1" "$tmp/table"

# a file has the names of train beside its own; of data, the command line's alone
printf '%s\n' 'losses: [bt, ce]' 'seeds: [0, 1]' 'lora-rank: 2' 'lora-targets: [q_proj, v_proj]' 'shuffle: false' 'data: [nowhere.jsonl]' "eval: [$tmp/eval.jsonl, $tmp/other.jsonl]" >"$tmp/grid.yaml"
sweep --config "$tmp/grid.yaml" --data "$tmp/c.jsonl" --steps 1 --out "$tmp/grid" >/dev/null
[ "$(ls -d "$tmp"/grid/*/ | xargs -n1 basename | tr '\n' ' ')" = "bt-0 bt-1 ce-0 ce-1 " ]
grep -q q_proj "$tmp/grid/ce-1/adapter_config.json" && grep -q '"--shuffle=no"' "$tmp/grid/ce-1/run.json"
echo 'nonsense: 1' >"$tmp/unknown.yaml"
fails 2 "" sweep "${losses[@]}" --config "$tmp/unknown.yaml"
grep -q "unknown.yaml: 'nonsense': unknown option" "$tmp/out"

fails 2 "" sweep "${losses[@]}" --lr 1e-4 # other arguments
grep -q "other arguments" "$tmp/out"
fails 2 "" sweep "${losses[@]}" --seed 3
fails 2 "" sweep "${losses[@]}" --loss bt
fails 2 "" sweep "${losses[@]}" --nonsense 1
fails 2 "" sweep "${losses[@]}" --baseline nobody
fails 2 "" sweep --losses nonsense --data "$tmp/a.jsonl" --eval "$tmp/eval.jsonl" --out "$tmp/z"
fails 2 "" sweep --losses bt,bt --data "$tmp/a.jsonl" --eval "$tmp/eval.jsonl" --out "$tmp/z"
fails 2 "" sweep --seeds 0,x --data "$tmp/a.jsonl" --eval "$tmp/eval.jsonl" --out "$tmp/z"
fails 2 "" sweep --data "$tmp/a.jsonl" --out "$tmp/z"
fails 2 "" "$reward" sweep
echo work >"$tmp/losses/bt-0/notes.txt"
sweep "${losses[@]}" --lr 1e-4 --losses bt --force >/dev/null
[ -e "$tmp/losses/bt-0/notes.txt" ] # a run is replaced, not its folder
echo "sweep: grid, resumption, figures, refusals"
