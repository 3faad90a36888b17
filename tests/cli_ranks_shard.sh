#!/usr/bin/env bash
# Training by several processes of which none has all weights (--shard all): what one process gives, for every family,
# optimizer and kind of row; a bad row, killed ranks, other numbers of ranks and the other kind on the way; memory and
# bytes sent as --dry-run predicts them. RANKS=all: all families with all slices and ranks (minutes). KILLS=N: kills (3).
set -eu
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
. tests/ranks/train.sh
need_mpi
python3 tests/ranks/make.py "$tmp"
python3 tests/tiny_model.py "$tmp/texts"
apart=(--shard all)
data=$tmp/pairs.jsonl
if [ "${RANKS:-}" = all ]; then
  all_families
  exit
fi

n=2
for family in llama mixtral $(more gemma2 internlm2_bias nemotron); do # slices and ranks: 4 by 2, 3 by 3, 2 by 4, …
  model=tests/data/model/$family
  alike $((6 - n)) $n
  n=$((n % 3 + 2))
done
model=tests/data/model/llama
alike 8 3 --eval "$tmp/eval.jsonl" --eval-every 2 --save-every 2 --keep 3
alike 3 2 --eval "$tmp/eval.jsonl" --eval-every 2 --keep best --early-stop 1 --lr 0.1
alike 4 3 --lora-rank 4 --lora-dropout 0.2 --lr 1e-2
alike 4 2 --freeze-layers 1 --eval "$tmp/eval.jsonl"
alike 4 3 --optimizer-states 8bit --save-every 3 --keep 2
alike 2 3 --recompute full --batch-tokens 1 --share no --center 0.1 --max-grad-norm 0
data=$tmp/few.jsonl alike 8 3 # rounds in which no rank has rows
model=$tmp/texts data=$tmp/rankings.jsonl
alike 4 3 --loss plackett-luce
data=$tmp/pairs.jsonl
train one 0 --shard all
train many 1
same one many

# what is predicted: bytes sent to the last one, memory with room for the launcher's library
model=$tmp/wide last=
alike 4 3 --steps 2 --optimizer-states 8bit --save-every 1 --keep 1
for kind in states all; do
  apart=(--shard $kind)
  for n in 2 4; do
    options=(--model "$model" --data "$data" --batch-size 8 --steps 2 --slices 4 --threads 1 --shard $kind)
    ranks $n "$reward" train --quiet "${options[@]}" --dry-run >"$tmp/dry.$kind.$n"
    train many $n --steps 2 --slices 4
    python3 - "$tmp/dry.$kind.$n" "$tmp/many/run.json" <<'P' || fail "$kind by $n ranks: $(cat "$tmp/dry.$kind.$n")"
import json, re, sys
dry = dict(re.findall(r"^(\w+) +(\d+)$", open(sys.argv[1]).read(), re.M))
run = json.load(open(sys.argv[2]))
said, was = int(dry["peak_memory_bytes"]), run["peak_memory_bytes"]
assert int(dry["sent_bytes_a_step"]) * 0.98 <= run["sent_bytes_a_step"] <= int(dry["sent_bytes_a_step"]) * 1.02, run["sent_bytes_a_step"]
assert said / 1.25 < was < said * 1.25 + 3e7, (said, was)
P
  done
done
[ "$(sed -n 's/^peak_memory_bytes *//p' "$tmp/dry.all.4")" -lt "$(sed -n 's/^peak_memory_bytes *//p' "$tmp/dry.states.4")" ] || fail "apart takes no less"

# a row that gives no number: named as by one process, on whatever rank it is
model=tests/data/model/llama
for lr in 1e30 1e38; do
  for n in 0 2 3; do
    by=()
    [ $n = 0 ] || by=("${mpirun[@]}" -n $n)
    fails 1 "not finite" "${by[@]}" "$reward" train --quiet --model $model --data "$data" --batch-size 8 --steps 9 --slices 4 --threads 1 \
      --lr $lr --max-grad-norm 0 --warmup 0 --shard all --out "$tmp/bad.$lr.$n"
    [ "$(grep -c '^reward train: ' "$tmp/stderr")" = 1 ] || fail "expected one message: $(cat "$tmp/stderr")"
    grep '^reward train: ' "$tmp/stderr" | sed 's/: rank [0-9]*: /: /' >"$tmp/bad.$n"
    [ $n = 0 ] || cmp "$tmp/bad.0" "$tmp/bad.$n" || fail "$lr: $(cat "$tmp/bad.$n")"
  done
done
fails 2 "--shard: expected" "$reward" train --model $model --data "$data" --out "$tmp/x" --shard weights

# kills at any moment; resumed by a number of ranks and a kind that are drawn anew
RANDOM=11
run=("$reward" train --quiet --model $model --data "$data" --batch-size 8 --epochs 4 --lr 1e-3 --seed 3 --threads 1 --tensorboard no --slices 4)
"${run[@]}" --out "$tmp/whole"
kinds=(all states)
for i in $(seq "${KILLS:-3}"); do
  n=$((RANDOM % 3 + 2))
  "${mpirun[@]}" -n $n "${run[@]}" --shard "${kinds[RANDOM % 4 / 3]}" --save-every 1 --resume --out "$tmp/killed" >/dev/null 2>&1 &
  pid=$!
  sleep "$((RANDOM % 3 + 1)).$((RANDOM % 10))"
  whom=$(pgrep -P $pid -f "$tmp/killed" | tail -n 1)
  kill -9 ${whom:-$pid} 2>/dev/null || true
  for j in $(seq 200); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
  kill -9 $pid $(pgrep -f "$tmp/killed") 2>/dev/null || true # a launcher that waits for what never started
  wait $pid 2>/dev/null || true
done
ranks 3 "${run[@]}" --shard all --save-every 1 --resume --out "$tmp/killed" 2>"$tmp/said" || fail "$(cat "$tmp/said")"
same whole killed
