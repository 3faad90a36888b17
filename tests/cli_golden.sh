#!/usr/bin/env bash
# reward.json of a trained checkpoint: its calibration, and golden rows that every command checks before it scores.
set -eu
. "$(dirname "$0")/lib.sh"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(5)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
with open(sys.argv[1] + "/rows.jsonl", "w") as f:
    for i in range(30): f.write(json.dumps({"chosen_ids": draw(3 + 4 * i), "rejected_ids": draw(5)}) + "\n")
E2
train() { "$reward" train --quiet --model tests/data/model/llama --data "$tmp/rows.jsonl" --batch-size 6 --epochs 2 --lr 1e-3 --threads 1 "$@"; }
train --out "$tmp/f32"
train --out "$tmp/bf16" --save-dtype bf16 --eval "$tmp/rows.jsonl" --keep best --eval-every 4
train --out "$tmp/again" --epochs 3 --save-every 1 # the model is itself a start
"$reward" train --quiet --model "$tmp/f32" --data "$tmp/rows.jsonl" --out "$tmp/next" --steps 1 --threads 1
python3 - "$tmp" <<'E2'
import json, math, sys
t = sys.argv[1]
r = json.load(open(t + "/f32/reward.json"))
m = [json.loads(l) for l in open(t + "/f32/metrics.jsonl")][-3:]
mean = sum(x["mean_reward"] for x in m) / 3
sd = math.sqrt(sum(x["reward_sd"] ** 2 + x["mean_reward"] ** 2 for x in m) / 3 - mean ** 2)
c = r["calibration"]
assert c["n"] == 3 and abs(c["mean"] - mean) < 1e-9 and abs(c["sd"] - sd) < 1e-9, (c, mean, sd)
golden = r["golden"]["rows"]
assert len(golden) == 4 and all(19 <= len(g["ids"]) <= 64 for g in golden)
with open(t + "/golden.jsonl", "w") as f:
    for g in golden: f.write(json.dumps({"input_ids": g["ids"], "want": g["score"]}) + "\n")
c = json.load(open(t + "/bf16/reward.json"))["calibration"]
step = json.load(open(t + "/bf16/run.json"))["best_step"]
e = [json.loads(l) for l in open(t + "/bf16/evals.jsonl")]
e = next(x for x in e if x["step"] == step)["rewards"]
assert c["n"] == 30 and all(math.isclose(c[k], e[k], rel_tol=1e-12) for k in ("mean", "sd")) and f"after step {step}" in c["on"], (c, e)
E2
"$reward" score --quiet --model "$tmp/f32" "$tmp/golden.jsonl" | python3 -c '
import json, sys
for l in sys.stdin:
    r = json.loads(l)
    assert r["score"] == r["want"], r'

# without training texts: the calibration stays, and nothing of the data is in any file of OUT; it is said which of the two
train --out "$tmp/none" --golden none --tensorboard no
python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); assert r["golden"]["rows"] == [] and r["calibration"]["n"] == 3' "$tmp/none/reward.json"
cmp "$tmp/none/model.safetensors" "$tmp/f32/model.safetensors"
"$reward" score --quiet --model "$tmp/none" "$tmp/golden.jsonl" >/dev/null
for golden in rows none; do
  "$reward" train --model tests/data/model/llama --data "$tmp/rows.jsonl" --out "$tmp/told" --steps 1 --force --golden $golden 2>"$tmp/said.$golden"
done
grep -q "told/reward.json holds 4 training texts" "$tmp/said.rows"
! grep -q "training texts" "$tmp/said.none"

# checkpoints kept on the way are models too: golden rows of their own weights, the evaluation at their step, else the
# batches before it
train --out "$tmp/kept" --keep 3 --save-every 2 --eval "$tmp/rows.jsonl" --eval-every 4
train --out "$tmp/kept16" --keep 1 --save-every 4 --save-dtype bf16
train --out "$tmp/keptlora" --keep 1 --save-every 4 --lora-rank 2
for m in kept/checkpoint-0000000{4,6,8} kept16/checkpoint-00000008 keptlora/checkpoint-00000008; do
  python3 -c '
import json, sys
for g in json.load(open(sys.argv[1]))["golden"]["rows"]: print(json.dumps({"input_ids": g["ids"], "want": g["score"]}))' "$tmp/$m/reward.json" >"$tmp/golden.jsonl"
  [ "$(wc -l <"$tmp/golden.jsonl")" -eq 4 ]
  "$reward" score --quiet --model "$tmp/$m" "$tmp/golden.jsonl" >"$tmp/scored.jsonl"
  python3 -c '
import json, sys
for l in open(sys.argv[1]):
    r = json.loads(l)
    assert r["score"] == r["want"], r' "$tmp/scored.jsonl"
done
python3 - "$tmp" <<'E2'
import json, math, sys
t = sys.argv[1]
at = lambda k: json.load(open(f"{t}/kept/checkpoint-{k:08}/reward.json"))
assert len({at(k)["golden"]["rows"][0]["score"] for k in (4, 6, 8)}) == 3
evals = {e["step"]: e["rewards"] for e in map(json.loads, open(t + "/kept/evals.jsonl"))}
for k in (4, 8):
    c = at(k)["calibration"]
    assert c["n"] == 30 and f"after step {k}" in c["on"] and math.isclose(c["mean"], evals[k]["mean"], rel_tol=1e-12), (c, evals[k])
c, m = at(6)["calibration"], [json.loads(l)["mean_reward"] for l in open(t + "/kept/metrics.jsonl")]
assert c["n"] == 2 and "steps 5 to 6" in c["on"] and math.isclose(c["mean"], (m[4] + m[5]) / 2, rel_tol=1e-12), (c, m)
E2

# other weights under the same reward.json: each command refuses, and says which row and how to go on
refused() { fails 1 "reward.json: golden row 1: expected the recorded score" "$@" && grep -q no-golden-check "$tmp/stderr"; }
"$reward" score --quiet --model "$tmp/bf16" "$tmp/rows.jsonl" -o "$tmp/ok.jsonl"
cp "$tmp/f32/reward.json" "$tmp/good.json"
cp "$tmp/kept/checkpoint-00000004/model.safetensors" "$tmp/kept/checkpoint-00000006/"
refused "$reward" score --quiet --model "$tmp/kept/checkpoint-00000006" "$tmp/rows.jsonl" -o "$tmp/s.jsonl"
cp tests/data/model/llama/model.safetensors "$tmp/f32/model.safetensors"
for extra in "" --no-golden-check; do
  check=refused
  [ -z "$extra" ] || check=
  $check "$reward" score --quiet --model "$tmp/f32" "$tmp/rows.jsonl" -o "$tmp/s.jsonl" $extra
  $check "$reward" eval --quiet --suite pairs --model "$tmp/f32" --data "$tmp/rows.jsonl" -o "$tmp/e.json" $extra >"$tmp/table"
  $check "$reward" compare --quiet "$tmp/next" "$tmp/f32" "$tmp/rows.jsonl" $extra >"$tmp/table"
  $check "$reward" train --quiet --model "$tmp/f32" --data "$tmp/rows.jsonl" --out "$tmp/t$extra" --steps 1 $extra
done
# a damaged file is an error of its own; one without golden rows, or none, is not
for bad in '{' '{"golden": {"rows": [{"score": 1}]}}' '{"golden": {"rows": [{"score": 1, "ids": []}]}}' \
  '{"golden": {"rows": [{"score": 1, "ids": [999]}]}}' '{"golden": {"rows": [{"score": 1, "ids": [-1]}]}}' '{"golden": {"rows": [3]}}'; do
  echo "$bad" >"$tmp/f32/reward.json"
  "$reward" score --quiet --model "$tmp/f32" "$tmp/rows.jsonl" -o "$tmp/s.jsonl" 2>"$tmp/out" && { echo "taken: $bad"; exit 1; }
  grep -q "reward.json" "$tmp/out"
done
echo '{"calibration": {}}' >"$tmp/f32/reward.json"
"$reward" score --quiet --model "$tmp/f32" "$tmp/rows.jsonl" -o "$tmp/s.jsonl"
rm "$tmp/f32/reward.json"
"$reward" score --quiet --model "$tmp/f32" "$tmp/rows.jsonl" -o "$tmp/s.jsonl"
echo "golden rows and calibration"
