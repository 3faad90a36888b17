#!/usr/bin/env bash
# Training from the command line on a tiny model: the same bits at any --threads and --batch-tokens, after Ctrl-C and
# after kill -9 at any moment; counts of unusable rows; refusals.
set -eu
. "$(dirname "$0")/lib.sh"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(1)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
with open(sys.argv[1] + "/pairs.jsonl", "w") as f:
    for i in range(60):
        p = draw(random.randrange(0, 20))
        f.write(json.dumps({"chosen_ids": p + draw(random.randrange(1, 30)), "rejected_ids": p + draw(random.randrange(1, 30)), "source": "ab"[i % 2]}) + "\n")
    f.write('{"chosen_ids": [5, 6], "rejected_ids": [5, 6]}\n{"chosen_ids": [5], "rejected_ids": [999]}\n{"chosen_ids": [5], "rejected_ids": [6], "margin": NaN}\n')
    f.write(json.dumps({"chosen_ids": draw(100), "rejected_ids": draw(3)}) + "\n")
E2
train() { (exec "$reward" train --quiet --model tests/data/model/llama --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 4 --lr 1e-3 --max-length 90 --seed 3 "$@" 2>>"$tmp/warnings"); }
same() { cmp "$1/model.safetensors" "$2/model.safetensors"; }

train --out "$tmp/a" --threads 1
grep -q "row is left out" "$tmp/warnings"
python3 - "$tmp/a" <<'E2'
import json, sys
run = json.load(open(sys.argv[1] + "/run.json"))
assert run["rows"] == {"read": 64, "used": 60, "invalid": 2, "empty_dropped": 0, "overlong_dropped": 1, "truncated": 0, "identical_dropped": 1,
                       "control_tokens_escaped": 0, "content_changed_by_template": 0}, run["rows"]
assert run["status"] == "finished" and run["steps"] == 32
lines = [json.loads(l) for l in open(sys.argv[1] + "/metrics.jsonl")]
assert [m["step"] for m in lines] == list(range(1, 33))
assert lines[-1]["loss"] < 0.5 * lines[0]["loss"], (lines[0]["loss"], lines[-1]["loss"])
config = json.load(open(sys.argv[1] + "/config.json"))
assert config["architectures"] == ["LlamaForSequenceClassification"] and len(config["id2label"]) == 1
E2
train --out "$tmp/b" --threads 3 --batch-tokens 1
same "$tmp/a" "$tmp/b"
same_metrics "$tmp/a" "$tmp/b"

for i in 1 2 3 4 5 6; do # kill -9 at random moments, a checkpoint after every step
  killed "$reward" train --quiet --model tests/data/model/llama --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 4 --lr 1e-3 \
    --max-length 90 --seed 3 --out "$tmp/c" --threads 2 --save-minutes 0 --resume 2>>"$tmp/warnings"
done
train --out "$tmp/c" --resume
same "$tmp/a" "$tmp/c"
same_metrics "$tmp/a" "$tmp/c"
[ -z "$(ls "$tmp/c" | grep -E 'checkpoint|partial' || true)" ]

for i in 1 2 3 4; do # with checkpoints that stay, each a model with its reward.json
  "$reward" train --quiet --model tests/data/model/llama --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 4 --lr 1e-3 \
    --max-length 90 --seed 3 --out "$tmp/k" --threads 2 --save-every 1 --keep 2 --resume 2>>"$tmp/warnings" &
  pid=$!
  sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
  kill -9 $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  for c in "$tmp"/k/checkpoint-*[0-9]; do # whatever moment: what has its final name is whole
    [ ! -e "$c" ] || "$reward" score --quiet --model "$c" "$tmp/pairs.jsonl" >/dev/null 2>"$tmp/score" || grep -q "rows could not be scored" "$tmp/score"
    [ ! -e "$c" ] || [ -s "$c/reward.json" ]
  done
done
train --out "$tmp/k" --save-every 1 --keep 2 --resume
same "$tmp/a" "$tmp/k"

for r in mlp full; do
  train --out "$tmp/$r" --recompute $r
  same "$tmp/a" "$tmp/$r"
done

# frozen layers' states come from their file after the first epoch: after kill -9 too, and with another --batch-tokens
train --out "$tmp/f" --freeze-layers 1 --batch-tokens 1
python3 -c "import json, sys; k = json.load(open(sys.argv[1]))['frozen_states']; assert k['bytes'] > 0 and k['rows_reused'] == 180, k" "$tmp/f/run.json"
for i in 1 2 3 4; do
  killed "$reward" train --quiet --model tests/data/model/llama --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 4 --lr 1e-3 \
    --max-length 90 --seed 3 --out "$tmp/g" --freeze-layers 1 --save-minutes 0 --resume 2>>"$tmp/warnings"
done
train --out "$tmp/g" --freeze-layers 1 --resume
same "$tmp/f" "$tmp/g"
# the dry run judges the disk that OUT will lie on; run.json says why nothing was kept
TMPDIR=/nowhere "$reward" train --model tests/data/model/llama --data "$tmp/pairs.jsonl" --out "$tmp/h/not/yet" --freeze-layers 1 --batch-size 8 --dry-run 2>"$tmp/said" | grep -q "^seconds"
grep -qE "no room|each time" "$tmp/said" && { cat "$tmp/said"; exit 1; }
[ ! -e "$tmp/h" ]
"$reward" train --model tests/data/model/llama --data "$tmp/pairs.jsonl" --out /proc/none/rm --freeze-layers 1 --batch-size 8 --dry-run 2>"$tmp/said" | grep -q "^seconds"
grep -q "/proc: no room for the frozen layers' states" "$tmp/said"
why() { python3 -c 'import json, sys; k = json.load(open(sys.argv[1]))["frozen_states"]; assert sys.argv[2] in k.get("not_kept", "") and bool(k["bytes"]) == (sys.argv[3] != "0"), k' "$@"; }
why "$tmp/f/run.json" "" bytes
python3 -c 'import json, sys; assert "not_kept" not in json.load(open(sys.argv[1]))["frozen_states"]; assert "frozen_states" not in json.load(open(sys.argv[2]))' "$tmp/f/run.json" "$tmp/a/run.json"
train --out "$tmp/one" --epochs 1 --freeze-layers 1
why "$tmp/one/run.json" "no training row comes again" 0
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(3)
with open(sys.argv[1] + "/many.jsonl", "w") as f:
    for i in range(100): f.write(json.dumps({n: [random.randrange(3, 200) for _ in range(40)] for n in ("chosen_ids", "rejected_ids")}) + "\n")
E2
many=(--model tests/data/model/llama --data "$tmp/many.jsonl" --freeze-layers 1 --batch-size 50 --tensorboard no)
(ulimit -f 500; "$reward" train --quiet "${many[@]}" --out "$tmp/cut") # the file of the states reaches 500 KB
why "$tmp/cut/run.json" "their file cannot be written (File too large)" bytes
"$reward" train --quiet "${many[@]}" --out "$tmp/whole"
same "$tmp/cut" "$tmp/whole"
if small_disk 1m; then
  "$reward" train "${many[@]}" --out "$tmp/small/rm" 2>"$tmp/said"
  grep -q "small/rm: no room" "$tmp/said"
  why "$tmp/small/rm/run.json" "small/rm: no room for the frozen layers' states: 0.00102 GB of" 0
  same "$tmp/small/rm" "$tmp/whole"
fi

# 8-bit optimizer states: the same bits at any threads and after kill -9; the loss falls nearly as far
train --out "$tmp/q" --optimizer-states 8bit --threads 1
for i in 1 2 3 4; do
  killed "$reward" train --quiet --model tests/data/model/llama --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 4 --lr 1e-3 \
    --max-length 90 --seed 3 --out "$tmp/q2" --threads 2 --optimizer-states 8bit --save-minutes 0 --resume 2>>"$tmp/warnings"
done
train --out "$tmp/q2" --optimizer-states 8bit --threads 3 --resume
same "$tmp/q" "$tmp/q2"
python3 - "$tmp/a" "$tmp/q" <<'E2'
import json, sys
a, q = ([json.loads(l)["loss"] for l in open(d + "/metrics.jsonl")] for d in sys.argv[1:])
assert a[:2] == q[:2] and a != q, (a[:2], q[:2])  # the first update is exact
far = max(abs(x - y) for x, y in zip(a, q))
assert far < 0.05 * a[0], far
E2

# adapters: the same bits at any threads, passes and after kill -9; a PEFT directory; merged it scores alike
train --out "$tmp/lora" --lora-rank 4 --lr 1e-2 --threads 1
for i in 1 2 3; do
  killed "$reward" train --quiet --model tests/data/model/llama --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 4 --lr 1e-3 \
    --max-length 90 --seed 3 --out "$tmp/lora2" --threads 2 --lora-rank 4 --lr 1e-2 --save-minutes 0 --resume 2>>"$tmp/warnings"
done
train --out "$tmp/lora2" --lora-rank 4 --lr 1e-2 --threads 3 --batch-tokens 1 --recompute full --resume
cmp "$tmp/lora/adapter_model.safetensors" "$tmp/lora2/adapter_model.safetensors"
[ ! -e "$tmp/lora/model.safetensors" ]
[ -e "$tmp/lora/adapter_config.json" ]
"$reward" merge --quiet "$tmp/lora" -o "$tmp/merged"
for m in lora merged; do "$reward" score --quiet --model "$tmp/$m" "$tmp/pairs.jsonl" -o "$tmp/$m.jsonl" 2>/dev/null || [ $? -eq 1 ]; done
python3 - "$tmp/lora.jsonl" "$tmp/merged.jsonl" "$tmp/lora/metrics.jsonl" <<'E2'
import json, sys
a, b = ([json.loads(l).get("chosen_score") for l in open(f)] for f in sys.argv[1:3])
assert len(a) == 64 and all((x is None) == (y is None) and (x is None or abs(x - y) < 1e-4) for x, y in zip(a, b))
loss = [json.loads(l)["loss"] for l in open(sys.argv[3])]
assert loss[-1] < 0.5 * loss[0], loss
E2

# --config: lists and YAML's true and false mean what they say; what the command line gives is not taken from the file
cat >"$tmp/run.yaml" <<'E2'
betas: [0.8, 0.95]
no-decay: [norm, bias]
weight-decay: 0.5
shuffle: false
tensorboard: No
force: off
share: true
batch-size: 8
dry-run: false
quiet: on
data: [nowhere.jsonl, nowhere2.jsonl]
eval: [nowhere.jsonl]
lr: 1
E2
head -20 "$tmp/pairs.jsonl" >"$tmp/head.jsonl"
tail -n +21 "$tmp/pairs.jsonl" | head -30 >"$tmp/tail.jsonl"
by=(--model tests/data/model/llama --epochs 2 --lr 1e-2 --eval "$tmp/head.jsonl" --threads 1)
"$reward" train --config "$tmp/run.yaml" "${by[@]}" --data "$tmp/pairs.jsonl" --out "$tmp/by-file" 2>>"$tmp/warnings"
"$reward" train --quiet "${by[@]}" --data "$tmp/pairs.jsonl" --betas 0.8,0.95 --no-decay norm,bias --weight-decay 0.5 \
  --shuffle no --tensorboard no --share yes --batch-size 8 --out "$tmp/by-line" 2>>"$tmp/warnings"
same "$tmp/by-file" "$tmp/by-line"
[ ! -e "$tmp/by-file/tensorboard" ]
printf '%s\n' "data: [$tmp/head.jsonl, $tmp/tail.jsonl]" 'lora-rank: 2' 'lora-targets: [q_proj, v_proj]' 'shuffle: true' 'steps: 1' "eval: [$tmp/head.jsonl, 'pairs:$tmp/tail.jsonl']" >"$tmp/lora.yaml"
"$reward" train --quiet --model tests/data/model/llama --config="$tmp/lora.yaml" --out "$tmp/listed" 2>>"$tmp/warnings"
python3 - "$tmp/listed" <<'E2'
import json, sys
assert sorted(json.load(open(sys.argv[1] + "/adapter_config.json"))["target_modules"]) == ["q_proj", "v_proj"]
run = json.load(open(sys.argv[1] + "/run.json"))
assert run["rows"]["read"] == 50, run["rows"]
assert sum("--eval=" in a for a in run["arguments"]["command"]) == 2, run["arguments"]
E2

fails 2 "" train --out "$tmp/a"
fails 2 "" train --out "$tmp/d" --loss nonsense
fails 2 "" train --out "$tmp/d" --lora-rank 4 --lora-targets q_proj,nowhere
fails 2 "" "$reward" merge "$tmp/a" -o "$tmp/d"
: >"$tmp/warnings"
fails 2 "" train --out "$tmp/d" --overlong error --max-length 90
grep -q "pairs.jsonl:" "$tmp/warnings"
fails 2 "" "$reward" train --model tests/data/model/llama
fails 1 "" "$reward" train --model tests/data/model/nowhere --data "$tmp/pairs.jsonl" --out "$tmp/d"
train --out "$tmp/e" --epochs 1 --save-minutes 0 --threads 1
fails 2 "" "$reward" train --quiet --model tests/data/model/llama --data "$tmp/pairs.jsonl" --out "$tmp/a" --force --lr nan
for loss in bt focal focal-penalty hinge margin-mse ce tempered-log temperature-bt plackett-luce; do
  train --out "$tmp/l-$loss" --loss "$loss" --epochs 1 --center 0.01
done
"$reward" score --quiet --model "$tmp/a" "$tmp/pairs.jsonl" -o "$tmp/scored.jsonl" 2>/dev/null && exit 1 || [ $? -eq 1 ]
"$reward" score --quiet --model "$tmp/a" --threads 1 --batch-tokens 1 "$tmp/pairs.jsonl" -o "$tmp/again.jsonl" 2>/dev/null || true
cmp "$tmp/scored.jsonl" "$tmp/again.jsonl"
[ "$(wc -l <"$tmp/scored.jsonl")" -eq 64 ]
[ "$(grep -c '"error"' "$tmp/scored.jsonl")" -eq 2 ]
echo "same bits at any threads, batch tokens, interruption"
