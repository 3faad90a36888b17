#!/usr/bin/env bash
# Adapters from the command line: training with dropout has the same bits at any threads, passes and after kill -9; the
# base found by name, beside the adapter or by --base; going on from an adapter; merging; what must be refused.
set -eu
. "$(dirname "$0")/lib.sh"
cp -r tests/data/model/llama "$tmp/base"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(4)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
with open(sys.argv[1] + "/pairs.jsonl", "w") as f:
    for i in range(40):
        p = draw(random.randrange(0, 20))
        f.write(json.dumps({"chosen_ids": p + draw(random.randrange(1, 30)), "rejected_ids": p + draw(random.randrange(1, 30))}) + "\n")
E2
options=(--quiet --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 5 --lr 1e-2 --seed 3)
train() { (exec "$reward" train "${options[@]}" "$@" 2>>"$tmp/warnings"); }
lora=(--model "$tmp/base" --lora-rank 4 --lora-targets q_proj,v_proj,down_proj --lora-alpha 6 --lora-dropout 0.1)
scores() { "$reward" score --quiet --model "$@" "$tmp/pairs.jsonl"; }
same() { cmp "$1/adapter_model.safetensors" "$2/adapter_model.safetensors"; }

train --out "$tmp/a" "${lora[@]}" --threads 1
for i in 1 2 3 4 5 6; do # kill -9 at random moments, a checkpoint after every step
  killed "$reward" train "${options[@]}" --out "$tmp/b" "${lora[@]}" --threads 2 --batch-tokens 64 --save-minutes 0 --resume 2>>"$tmp/warnings"
done
train --out "$tmp/b" "${lora[@]}" --threads 3 --batch-tokens 1 --recompute full --resume
same "$tmp/a" "$tmp/b"
same_metrics "$tmp/a" "$tmp/b"
[ -z "$(ls "$tmp/b" | grep -E 'checkpoint|partial' || true)" ]
train --out "$tmp/c" "${lora[@]}" --lora-dropout 0
cmp -s "$tmp/a/adapter_model.safetensors" "$tmp/c/adapter_model.safetensors" && { echo "dropout changed nothing"; exit 1; }
train --out "$tmp/k" "${lora[@]}" --keep 1 --save-every 10 # a checkpoint holds adapters, their states, and no base
python3 - "$tmp" <<'E2'
import json, os, struct, sys
t = sys.argv[1]
c = json.load(open(t + "/a/adapter_config.json"))
assert c["peft_type"] == "LORA" and c["task_type"] == "SEQ_CLS" and c["modules_to_save"] == ["score"] and c["bias"] == "none"
assert (c["r"], c["lora_alpha"], c["lora_dropout"], c["fan_in_fan_out"]) == (4, 6, 0.1, False), c
assert sorted(c["target_modules"]) == ["down_proj", "q_proj", "v_proj"] and os.path.samefile(c["base_model_name_or_path"], t + "/base")
def header(path):
    with open(path, "rb") as f:
        return {k: v for k, v in json.loads(f.read(struct.unpack("<Q", f.read(8))[0])).items() if k != "__metadata__"}
saved = header(t + "/a/adapter_model.safetensors")
assert len(saved) == 2 * 2 * 3 + 1 and saved["base_model.model.score.weight"]["shape"] == [1, 32], saved
assert saved["base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"]["shape"] == [4, 80]
[kept] = [d for d in os.listdir(t + "/k") if d.startswith("checkpoint-")]
state = header(f"{t}/k/{kept}/state/model.safetensors")
assert len(state) == 3 * len(saved), sorted(state)
assert all(".lora_" in k or k.startswith("score.weight") for k in state)
loss = [json.loads(l)["loss"] for l in open(t + "/a/metrics.jsonl")]
assert loss[-1] < 0.5 * loss[0], loss
E2

# the base: as named; beside the adapter; by --base once it has moved
scores "$tmp/a" >"$tmp/a.jsonl"
cp -r "$tmp/a" "$tmp/moved"
sed -i 's|"base_model_name_or_path": "[^"]*"|"base_model_name_or_path": "../base"|' "$tmp/moved/adapter_config.json"
scores "$tmp/moved" | cmp - "$tmp/a.jsonl"
mv "$tmp/base" "$tmp/elsewhere"
expect 1 "--base DIR" scores "$tmp/a"
scores "$tmp/a" --base "$tmp/elsewhere" | cmp - "$tmp/a.jsonl"
expect 2 "expected an adapter" scores "$tmp/elsewhere" --base "$tmp/elsewhere"
"$reward" inspect "$tmp/a" --base "$tmp/elsewhere" >"$tmp/inspect"
grep -q "LoRA of rank 4, alpha 6, dropout 0.1, on q_proj, v_proj, down_proj" "$tmp/inspect"
grep -q "^loads *yes" "$tmp/inspect"

# a base that somebody else's adapter names is said; one within the adapter's folder, or by --base, is nothing to say
mv "$tmp/elsewhere" "$tmp/base"
named="$tmp/a: the base is $tmp/base, which its adapter_config.json names; --base names another"
expect 0 "$named" scores "$tmp/a"
cp -r "$tmp/a" "$tmp/carrying" && cp -r "$tmp/base" "$tmp/carrying/base"
sed -i 's|"base_model_name_or_path": "[^"]*"|"base_model_name_or_path": "base"|' "$tmp/carrying/adapter_config.json"
for quiet in "$tmp/carrying" "$tmp/a --base $tmp/base"; do
  expect 0 "" scores $quiet
  ! grep -q "the base is" "$tmp/stderr"
done
! grep -q "the base is" "$tmp/warnings" # nor of what the program has just written
# written: the base as the command line named it, so that no path of this machine is published unasked
(cd "$tmp" && mkdir -p by && "$reward" train --quiet --model base --data pairs.jsonl --batch-size 8 --steps 2 --save-every 1 --keep 1 --lora-rank 2 --out by/name)
for way in by/name:../../base by/name/checkpoint-00000001:../../../base; do
  grep -q "\"base_model_name_or_path\": \"${way#*:}\"" "$tmp/${way%:*}/adapter_config.json"
  scores "$tmp/${way%:*}" >/dev/null 2>&1
done
mv "$tmp/base" "$tmp/elsewhere"

# merged: no adapter, the base's names, the adapter's scores
"$reward" merge --quiet "$tmp/a" --base "$tmp/elsewhere" -o "$tmp/merged"
"$reward" merge --quiet "$tmp/a" --base "$tmp/elsewhere" -o "$tmp/half" --save-dtype bf16
expect 2 "expected a PEFT directory" "$reward" merge "$tmp/merged" -o "$tmp/x"
expect 2 "" "$reward" merge "$tmp/a" --base "$tmp/elsewhere" -o "$tmp/merged"
expect 2 "expected a new or empty folder" "$reward" merge "$tmp/half" -o "$tmp/merged"
scores "$tmp/merged" >"$tmp/m.jsonl"
# its golden rows are the adapter's, with its own scores; an adapter whose rows score otherwise is not merged
grep -q '"ids": ' "$tmp/merged/reward.json"
grep -o '"ids".*' "$tmp/a/reward.json" | cmp - <(grep -o '"ids".*' "$tmp/half/reward.json")
cp -r "$tmp/a" "$tmp/other"
sed -i 's/{"score": [^,]*/{"score": 77/' "$tmp/other/reward.json"
expect 1 "golden row 1" "$reward" merge "$tmp/other" --base "$tmp/elsewhere" -o "$tmp/x"
"$reward" merge --quiet "$tmp/other" --base "$tmp/elsewhere" -o "$tmp/taken" --no-golden-check
scores "$tmp/half" >"$tmp/h.jsonl"
python3 - "$tmp" <<'E2'
import json, struct, sys
t = sys.argv[1]
read = lambda n: [json.loads(l)[k] for l in open(f"{t}/{n}.jsonl") for k in ("chosen_score", "rejected_score")]
a, m, h = read("a"), read("m"), read("h")
assert len(a) == 80 and max(abs(x - y) for x, y in zip(a, m)) < 1e-4
assert 0 < max(abs(x - y) for x, y in zip(a, h)) < 0.3
def header(path):
    with open(path, "rb") as f:
        return {k: (v["dtype"], v["shape"]) for k, v in json.loads(f.read(struct.unpack("<Q", f.read(8))[0])).items() if k != "__metadata__"}
base, merged, half = (header(f"{t}/{d}/model.safetensors") for d in ("elsewhere", "merged", "half"))
assert merged == base and half == {k: ("BF16", s) for k, (_, s) in base.items()}
E2

# going on from an adapter: its rank and dropout; the same command goes on after an interruption
train --out "$tmp/on" --model "$tmp/a" --base "$tmp/elsewhere"
grep -q '"lora_dropout": 0.1' "$tmp/on/adapter_config.json"
cmp -s "$tmp/a/adapter_model.safetensors" "$tmp/on/adapter_model.safetensors" && exit 1
scores "$tmp/on" >/dev/null
train --out "$tmp/high" --model "$tmp/elsewhere" --lora-rank 2 --freeze-layers 1 --epochs 1 --save-dtype bf16
grep -q '"layers_to_transform": \[1\]' "$tmp/high/adapter_config.json"
scores "$tmp/high" >/dev/null
expect 2 "is an adapter of rank" "$reward" train "${options[@]}" --model "$tmp/on" --lora-rank 8 --out "$tmp/x"
expect 2 "expected all-linear or names" "$reward" train "${options[@]}" --model "$tmp/elsewhere" --lora-rank 4 --lora-targets c_attn --out "$tmp/x"
expect 2 "expected --lora-rank" "$reward" train "${options[@]}" --model "$tmp/elsewhere" --lora-dropout 0.1 --out "$tmp/x"
expect 2 "0 <= P < 1" "$reward" train "${options[@]}" --model "$tmp/elsewhere" --lora-rank 4 --lora-dropout 1 --out "$tmp/x"
expect 2 "left for adapters" "$reward" train "${options[@]}" --model "$tmp/elsewhere" --lora-rank 4 --freeze-layers 2 --out "$tmp/x"
[ ! -e "$tmp/x" ]
# a whole model trained over an adapter is what the folder then holds
train --out "$tmp/whole" --model "$tmp/elsewhere" --epochs 1
train --out "$tmp/high" --model "$tmp/elsewhere" --epochs 1 --force
cmp <(scores "$tmp/whole") <(scores "$tmp/high")
echo "adapters: the same bits, any base, merged"
