#!/usr/bin/env bash
# What a run is, by content: a finished or interrupted one stands for the run wanted only where everything that decides
# its result is the same, and a refusal names what differs with both values.
set -eu
. "$(dirname "$0")/lib.sh"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(6)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
for name, n in ("train", 40), ("other", 40), ("eval", 30), ("bench", 30):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as f:
        for i in range(n): f.write(json.dumps({"chosen_ids": draw(9), "rejected_ids": draw(7), "id": f"{name}{i}"}) + "\n")
E2
cp -r tests/data/model/llama "$tmp/base"
args=(train --quiet --model "$tmp/base" --data "$tmp/train.jsonl" --batch-size 8 --lr 1e-3 --steps 6 --threads 1 --tensorboard no)
train() { "$reward" "${args[@]}" "$@"; }
# stopped DIR OPTION…: a run whose result could not be written: all steps are saved, nothing is published
stopped() {
  rm -rf "$1"
  mkdir -p "$1/model.safetensors/in the way"
  fails 1 "model.safetensors" train --out "$1" "${@:2}" --force
  rm -r "$1/model.safetensors"
  [ -d "$1/checkpoint-00000006" ] || fail "$*: the steps are lost"
}
sha() { sha256sum "$1" | cut -c 1-12; }
get() { python3 -c "import json, sys; print(json.load(open(sys.argv[1]))$2)" "$1"; }

# the record: in run.json, of bytes that sha256sum knows
train --out "$tmp/run" --eval "$tmp/eval.jsonl" --eval-every 2 --save-dtype f32
[ "$(get "$tmp/run/run.json" "['identity']['data'][0]")" = "$(sha256sum "$tmp/train.jsonl" | cut -d' ' -f1)" ]
[ "$(get "$tmp/run/run.json" "['identity']['eval'][0]")" = "pairs $(sha256sum "$tmp/eval.jsonl" | cut -d' ' -f1)" ]
[ "$(get "$tmp/run/run.json" "['identity']['model']['config.json']")" = "$(sha256sum "$tmp/base/config.json" | cut -d' ' -f1)" ]

# a finished run: what changes nothing may change, all else is named
again() { train --out "$tmp/run" --eval "$tmp/eval.jsonl" --eval-every 2 --save-dtype f32 --resume "$@"; }
again --threads 2 --batch-tokens 64 --save-every 1
fails 2 "--lr was 0.001, is 0.002" again --lr 2e-3
fails 2 "--save-dtype was f32, is bf16" again --save-dtype bf16
fails 2 "--keep was last, is best" again --keep best
fails 2 "--eval-every was 2, is 3" again --eval-every 3
cp "$tmp/train.jsonl" "$tmp/kept.jsonl"
was=$(sha "$tmp/train.jsonl") now=$(sha "$tmp/other.jsonl")
cp "$tmp/other.jsonl" "$tmp/train.jsonl"
fails 2 "data 1 was $was, is $now" again
mv "$tmp/kept.jsonl" "$tmp/train.jsonl"
mv "$tmp/train.jsonl" "$tmp/elsewhere.jsonl" # another name for the same rows is the same run
"$reward" "${args[@]/train.jsonl/elsewhere.jsonl}" --out "$tmp/run" --eval "$tmp/eval.jsonl" --eval-every 2 --save-dtype f32 --resume
mv "$tmp/elsewhere.jsonl" "$tmp/train.jsonl"
cp "$tmp/base/config.json" "$tmp/config.json"
echo >>"$tmp/base/config.json"
fails 2 "model config.json was $(sha "$tmp/config.json"), is $(sha "$tmp/base/config.json")" again
cp "$tmp/config.json" "$tmp/base/config.json"
again

# --resume alone: the arguments are those of run.json, and what stands beside it counts
"$reward" train --out "$tmp/run" --resume 2>"$tmp/said"
grep -qF "holds a finished run; nothing to do" "$tmp/said"
fails 2 "--lr was 0.001, is 0.002" "$reward" train --out "$tmp/run" --resume --lr 2e-3
fails 2 "$tmp/nothing has no run.json to take the arguments from" "$reward" train --out "$tmp/nothing" --resume
fails 2 "--model, --data and --out are needed" "$reward" train --resume

# an older program's record has no identity: its fingerprint decides
python3 - "$tmp/run/run.json" <<'E2'
import json, sys
r = json.load(open(sys.argv[1])); del r["identity"]; json.dump(r, open(sys.argv[1], "w"))
E2
again
fails 2 "fingerprint was" again --lr 2e-3

# a result that could not be written costs no step
train --out "$tmp/plain"
stopped "$tmp/blocked"
"$reward" train --out "$tmp/blocked" --resume
cmp "$tmp/plain/model.safetensors" "$tmp/blocked/model.safetensors"

# an interrupted run goes on with the same --eval only; the same file with other content is another
stopped "$tmp/cut" --eval "$tmp/eval.jsonl" --eval-every 2
grep -q '"identity"' "$tmp"/cut/checkpoint-*/state.json
goes_on() { train --out "$tmp/cut" --eval-every 2 --resume "$@"; }
fails 2 "eval was pairs" goes_on --eval "$tmp/bench.jsonl"
fails 2 "--lr was 0.001, is 0.01" goes_on --eval "$tmp/eval.jsonl" --lr 1e-2
cp "$tmp/eval.jsonl" "$tmp/kept.jsonl"
cp "$tmp/bench.jsonl" "$tmp/eval.jsonl"
fails 2 "eval was pairs" goes_on --eval "$tmp/eval.jsonl"
mv "$tmp/kept.jsonl" "$tmp/eval.jsonl"
# --keep best after a sitting without it: what has no weights is forgotten, said, and the rest can be published
goes_on --eval "$tmp/eval.jsonl" --keep best 2>"$tmp/said"
[ -e "$tmp/cut/model.safetensors" ]
best=$(get "$tmp/cut/run.json" "['best_step']")
[ "$best" -eq 6 ] || fail "best step $best has no weights"

# a checkpoint of an older program has no record: its fingerprint decides
stopped "$tmp/older"
python3 - "$tmp"/older/checkpoint-*/state.json <<'E2'
import json, sys
s = json.load(open(sys.argv[1])); del s["identity"]; json.dump(s, open(sys.argv[1], "w"))
E2
fails 2 "belongs to a run with other arguments" train --out "$tmp/older" --resume --lr 1e-2
train --out "$tmp/older" --resume
cmp "$tmp/plain/model.safetensors" "$tmp/older/model.safetensors"

# the same --eval twice, under two names
cp "$tmp/eval.jsonl" "$tmp/twin.jsonl"
fails 2 "the same rows and suite" train --out "$tmp/twice" --eval "$tmp/eval.jsonl" --eval "pairs:$tmp/twin.jsonl"
[ ! -e "$tmp/twice" ]

# the best weights and what they are stand together: killed after a better evaluation, before the next checkpoint
train --out "$tmp/whole" --eval "$tmp/eval.jsonl" --eval-every 1 --keep best
stopped "$tmp/best" --eval "$tmp/eval.jsonl" --eval-every 1 --keep best
python3 - "$tmp" <<'E2'
import json, glob, os, shutil, sys
t = sys.argv[1]
b = json.load(open(f"{t}/best/best-weights/best.json"))
whole = json.load(open(f"{t}/whole/run.json"))
assert b["step"] == whole["best_step"] and b["best"] == whole["best"] and b["eval"].startswith("pairs ")
# the state of a kill: a checkpoint that knows only an earlier best
state = glob.glob(f"{t}/best/checkpoint-*/state.json")[0]
s = json.load(open(state)); s["best"], s["best_step"] = 0.5, 0; json.dump(s, open(state, "w"))
E2
fails 2 "only the best weights are left" train --out "$tmp/best" --eval "$tmp/eval.jsonl" --resume
train --out "$tmp/best" --eval "$tmp/eval.jsonl" --eval-every 5 --keep best --resume
[ "$(get "$tmp/best/run.json" "['best_step']")" = "$(get "$tmp/whole/run.json" "['best_step']")" ]
cmp "$tmp/best/model.safetensors" "$tmp/whole/model.safetensors"

# adapters: an option that would have no effect on one is refused by the adapter's name; another base is another run
train --out "$tmp/lora" --lora-rank 4
on=(train --quiet --model "$tmp/lora" --data "$tmp/train.jsonl" --batch-size 8 --steps 2 --threads 1 --out "$tmp/more")
fails 2 "$tmp/lora: is an adapter of alpha 8" "$reward" "${on[@]}" --lora-alpha 3
fails 2 "$tmp/lora: is an adapter of rank 4" "$reward" "${on[@]}" --lora-rank 2
fails 2 "$tmp/lora: is an adapter and is" "$reward" "${on[@]}" --lora-rank 4 --lora-targets q_proj
"$reward" "${on[@]}"
"$reward" "${on[@]}" --resume
echo >>"$tmp/base/config.json"
fails 2 "model config.json was" "$reward" "${on[@]}" --resume
cp "$tmp/config.json" "$tmp/base/config.json"

# counts that run over
fails 2 "--epochs" train --out "$tmp/never" --epochs 9223372036854775807
fails 2 "--batch-size" train --out "$tmp/never" --batch-size 3000000000
[ ! -e "$tmp/never" ]
train --out "$tmp/wide" --batch-size 2147483647 # a batch that is longer than the data is all of them
[ "$(get "$tmp/wide/run.json" "['steps_done']")" -eq 6 ]

# a sweep reuses a finished run by its content: the same name is not the same rows
sweep=(sweep --quiet --model "$tmp/base" --data "$tmp/train.jsonl" --eval "$tmp/eval.jsonl" --losses bt --steps 2 --batch-size 8 --threads 1 --out "$tmp/sweep")
"$reward" "${sweep[@]}" >"$tmp/table"
cp "$tmp/sweep/bt-0/run.json" "$tmp/first.json"
"$reward" "${sweep[@]}" >"$tmp/again"
cmp "$tmp/table" "$tmp/again"
cmp "$tmp/first.json" "$tmp/sweep/bt-0/run.json"
cp "$tmp/train.jsonl" "$tmp/kept.jsonl"
cp "$tmp/other.jsonl" "$tmp/train.jsonl"
fails 2 "data 1 was $was, is $now" "$reward" "${sweep[@]}"
cmp "$tmp/first.json" "$tmp/sweep/bt-0/run.json"
"$reward" "${sweep[@]}" --force >/dev/null
[ "$(get "$tmp/sweep/bt-0/run.json" "['identity']['data'][0]")" = "$(sha256sum "$tmp/train.jsonl" | cut -d' ' -f1)" ]
mv "$tmp/kept.jsonl" "$tmp/train.jsonl"

# ---- score ----

python3 tests/tiny_model.py "$tmp/rm"
printf '{"prompt": "q%d", "response": "a"}\n' 1 2 3 4 5 >"$tmp/rows.jsonl"
score() { "$reward" score --quiet --model "$tmp/rm" "$tmp/rows.jsonl" -o "$tmp/scored.jsonl" "$@"; }
score
# half FILE: what a run that was stopped after two rows of FILE has left of it
half() { (python3 -c 'import json, sys; print(json.dumps(json.load(open(sys.argv[1]))["identity"]))' "$1.run.json" && head -n 2 "$1") >"$1.partial"; }
half "$tmp/scored.jsonl"
cp "$tmp/scored.jsonl.partial" "$tmp/half"
# refused NAME COMMAND…: named with both values, and nothing is lost
refused() {
  fails 2 "so its rows cannot be kept: $1" "${@:2}" --resume
  cmp "$tmp/half" "$tmp/scored.jsonl.partial"
}
# changed FILE: refused by its name, with the digests of before and after
changed() {
  cp "$tmp/rm/$1" "$tmp/before"
  "${@:2}" "$tmp/rm/$1"
  refused "model $1 was $(sha "$tmp/before"), is $(sha "$tmp/rm/$1")" score
  cp "$tmp/before" "$tmp/rm/$1"
}
changed tokenizer_config.json sed -i "s/m\['content'\]/m['content'] + ' '/"
changed tokenizer.json sed -i 's/"truncation": null/"truncation":  null/'
changed config.json sed -i 's/1e-06/2e-06/'
cp "$tmp/rm/model.safetensors" "$tmp/weights"
python3 -c 'f = open(__import__("sys").argv[1], "r+b"); f.seek(-4, 2); f.write(b"\0\0\0\0")' "$tmp/rm/model.safetensors"
touch -r "$tmp/weights" "$tmp/rm/model.safetensors" # the same size and time
refused "model weights was" score
cp "$tmp/weights" "$tmp/rm/model.safetensors"
printf '{%% for m in messages %%}{{ m.content }}{%% endfor %%}' >"$tmp/template"
refused "model chat_template was none, is $(sha "$tmp/template")" score --chat-template "$tmp/template"
refused "options max-length was 2048, is 9" score --max-length 9
refused "options overlong was error, is drop" score --overlong drop
refused "options date was none, is 2030-01-01" score --date 2030-01-01
refused "options best was none, is true" score --best
refused "dtype was f32, is bf16" score --dtype bf16
# what decides nothing may change: names, times, speed; in the table, no other option of score has affects
mv "$tmp/rm" "$tmp/moved" && mv "$tmp/rows.jsonl" "$tmp/named.jsonl"
touch "$tmp/moved"/*
"$reward" score --model "$tmp/moved" "$tmp/named.jsonl" -o "$tmp/scored.jsonl" --resume --threads 1 --batch-tokens 8 --share no --group-by prompt --max-length 2048 --no-golden-check 2>"$tmp/said"
grep -q "2 rows are there already" "$tmp/said" || fail "not gone on: $(cat "$tmp/said")"
mv "$tmp/moved" "$tmp/rm"

# an adapter's base that changed
python3 - "$tmp" <<'E2'
import json, sys
with open(sys.argv[1] + "/ids.jsonl", "w") as f:
    for i in range(5): f.write(json.dumps({"input_ids": [5 + i, 7]}) + "\n")
E2
adapter() { "$reward" score --quiet --model "$tmp/lora" "$tmp/ids.jsonl" -o "$tmp/scored.jsonl" "$@"; }
adapter && half "$tmp/scored.jsonl" && cp "$tmp/scored.jsonl.partial" "$tmp/half"
echo >>"$tmp/base/config.json"
refused "model config.json was $(sha "$tmp/config.json"), is $(sha "$tmp/base/config.json")" adapter
cp "$tmp/config.json" "$tmp/base/config.json"
cp "$tmp/base/model.safetensors" "$tmp/weights"
python3 -c 'f = open(__import__("sys").argv[1], "r+b"); f.seek(-9999, 2); f.write(b"\1")' "$tmp/base/model.safetensors"
refused "model weights was" adapter
cp "$tmp/weights" "$tmp/base/model.safetensors"
adapter --resume

# ---- stored scores ----

printf '{"id": %d, "prompt": "q%d", "chosen": "good", "rejected": "bad"}\n' 1 1 2 2 3 3 >"$tmp/items.jsonl"
"$reward" score --quiet --model "$tmp/rm" "$tmp/items.jsonl" -o "$tmp/items.scored.jsonl"
gzip -k "$tmp/items.jsonl"
"$reward" eval --suite pairs --data "$tmp/items.jsonl.gz" --scores "$tmp/items.scored.jsonl" -o "$tmp/first.json" >/dev/null
[ "$(get "$tmp/first.json" "['data'][0]['sha256']")" = "$(sha256sum "$tmp/items.jsonl.gz" | cut -d' ' -f1)" ]
sed '2s/"good"/"better"/' "$tmp/items.jsonl" >"$tmp/changed.jsonl"
said="items.scored.jsonl:2: was scored with other texts than $tmp/changed.jsonl:2 has: was \"good\", is \"better\""
fails 1 "$said" "$reward" eval --suite pairs --data "$tmp/changed.jsonl" --scores "$tmp/items.scored.jsonl"
fails 1 "$said" "$reward" compare "$tmp/items.scored.jsonl" "$tmp/rm" "$tmp/changed.jsonl"
# results of other rows under one name, and runs that were evaluated on such, do not compare: the page says so
"$reward" eval --quiet --suite pairs --data "$tmp/changed.jsonl" --model "$tmp/rm" -o "$tmp/second.json" >/dev/null
"$reward" eval --quiet --suite pairs --data "$tmp/changed.jsonl" --model "$tmp/rm" -o "$tmp/third.json" >/dev/null
cp "$tmp/eval.jsonl" "$tmp/kept.jsonl"
cp "$tmp/bench.jsonl" "$tmp/eval.jsonl"
train --out "$tmp/elsewhere" --eval "$tmp/eval.jsonl" --eval-every 2
mv "$tmp/kept.jsonl" "$tmp/eval.jsonl"
for of in "first.json second.json" "whole elsewhere"; do
  read -r a b <<<"$of"
  "$reward" report "$tmp/$a" "$tmp/$b" -o "$tmp/page.html"
  grep -q "${a%.json} and ${b%.json} were measured on different rows" "$tmp/page.html"
done
"$reward" report "$tmp/second.json" "$tmp/third.json" "$tmp/whole" "$tmp/best" -o "$tmp/page.html"
! grep -q "different rows" "$tmp/page.html"

ids='{"chosen_ids": [5, 6], "rejected_ids": [7]}'
echo "$ids" >"$tmp/ids.jsonl"
echo "${ids%\}}, \"chosen_score\": 1, \"rejected_score\": 0}" >"$tmp/ids.scored.jsonl"
"$reward" eval --suite pairs --data "$tmp/ids.jsonl" --scores "$tmp/ids.scored.jsonl" >/dev/null
echo "${ids/5/8}" >"$tmp/ids.jsonl"
fails 1 "was scored with other ids" "$reward" eval --suite pairs --data "$tmp/ids.jsonl" --scores "$tmp/ids.scored.jsonl"
# a ranking of two as an item: its scores stand in the order of its responses, whichever is the better one
printf '{"prompt": "q%d", "responses": ["one", "two"], "scores": [%d, %d]}\n' 1 0 1 2 1 0 >"$tmp/ranked.jsonl"
"$reward" score --quiet --model "$tmp/rm" "$tmp/ranked.jsonl" -o "$tmp/ranked.scored.jsonl" 2>/dev/null
for by in "--scores $tmp/ranked.scored.jsonl" "--model $tmp/rm"; do
  "$reward" eval --quiet --suite pairs --data "$tmp/ranked.jsonl" $by -o "$tmp/ranked.json" >/dev/null
  printf '%.5f\n' "$(get "$tmp/ranked.json" "['rewards']['margin']")" >>"$tmp/rewards"
done
[ "$(sort -u "$tmp/rewards" | wc -l)" = 1 ] || fail "scores of a ranking: $(cat "$tmp/rewards")"

echo "identity: what a run is decides, and what differs is named"
