#!/usr/bin/env bash
# What ends a training before its end: Ctrl-C, a full disk, a limit on files. What was saved stays whole, and going on,
# with other --threads too, gives the bits of a run that nothing disturbed. (kill -9: cli_train.sh)
set -eu
. "$(dirname "$0")/lib.sh"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(6)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
with open(sys.argv[1] + "/the pairs.jsonl", "w") as f:
    for i in range(40): f.write(json.dumps({"chosen_ids": draw(9), "rejected_ids": draw(7)}) + "\n")
E2
args=(train --model tests/data/model/llama --data "$tmp/the pairs.jsonl" --batch-size 8 --lr 1e-3)
train() { "$reward" "${args[@]}" "$@" 2>"$tmp/said"; }
# same A B: weights and metrics, but for the speed
same() {
  cmp "$1/model.safetensors" "$2/model.safetensors"
  same_metrics "$1" "$2"
}
stops() { # TEXT OPTION…: train ends with exit 1, the text on stderr
  expect 1 "" train "${@:2}"
  grep -qF -- "$1" "$tmp/said" || fail "${*:2}: expected '$1' in: $(cat "$tmp/said")"
}
unfinished() { # DIR: nothing half-written, and nothing that looks like a result
  [ ! -e "$1/model.safetensors" ]
  [ -z "$(find "$1" -name '*partial*')" ]
  grep -q '"unfinished"' "$1/run.json"
}

# Ctrl-C at random moments; the command that is printed goes on as it stands
train --steps 300 --out "$tmp/whole"
end=$(grep -o "loss [0-9.]*, accuracy [0-9.]*" "$tmp/said")
again="${args[*]@Q} --steps 300 --out '$tmp/the run'"
steps_done() { cat "$tmp/the run/metrics.jsonl" 2>/dev/null | wc -l; }
for i in 1 2 3; do
  before=$(steps_done)
  (eval "exec \"\$reward\" $again --threads $i" 2>"$tmp/said") & pid=$!
  for _ in $(seq 1000); do # until it has made steps of its own: earlier there is nothing to save
    [ "$(steps_done)" -lt $((before + 10)) ] && kill -0 $pid 2>/dev/null || break
    sleep 0.01
  done
  sleep "0.0$((RANDOM % 10))"
  kill -INT $pid 2>/dev/null || true
  status=0; wait $pid || status=$?
  [ $status -eq 0 ] && break # it was faster
  [ $status -eq 130 ] || { echo "interrupted: exit status $status"; cat "$tmp/said"; exit 1; }
  grep -q "stopped after step" "$tmp/said"
  unfinished "$tmp/the run"
  again=$(sed -n 's/.*to go on: reward //p' "$tmp/said")
  [[ $again == *"'$tmp/the run'"*" --resume"* ]]
done
[ $status -eq 0 ] || eval "\"\$reward\" $again" 2>"$tmp/said"
same "$tmp/whole" "$tmp/the run"
grep -qF "$end" "$tmp/said" # the recent means went on too

# Ctrl-C when all steps are done, or nearly: interrupted and to be gone on with, or finished and a success
for last in 298 299 300 300 300 300 300 300; do
  rm -rf "$tmp/end"
  ("$reward" "${args[@]}" --steps 300 --out "$tmp/end" 2>"$tmp/said") & pid=$!
  while [ ! -e "$tmp/end/model.safetensors" ] && [ "$(wc -l 2>/dev/null <"$tmp/end/metrics.jsonl" || echo 0)" -lt $last ] && kill -0 $pid 2>/dev/null; do :; done
  kill -INT $pid 2>/dev/null || true
  status=0; wait $pid || status=$?
  if [ $status -eq 0 ]; then
    same "$tmp/whole" "$tmp/end"
  else
    [ $status -eq 130 ] || { echo "interrupted: exit status $status"; cat "$tmp/said"; exit 1; }
    unfinished "$tmp/end"
  fi
done

# a limit on files that a checkpoint, or the result, does not fit into
(ulimit -f 200; stops "File too large" --steps 20 --out "$tmp/limit" --save-every 5)
unfinished "$tmp/limit"
[ "$(wc -l <"$tmp/limit/metrics.jsonl")" -eq 5 ]
(ulimit -f 100; stops "limit/model.safetensors: cannot write: File too large" --steps 20 --out "$tmp/limit" --resume)
unfinished "$tmp/limit"
train --steps 20 --out "$tmp/limit" --resume
train --steps 20 --out "$tmp/twenty"
same "$tmp/limit" "$tmp/twenty"

# a disk that holds one checkpoint, but not the next beside it; then one that is full while lines are written
if small_disk 500k; then
  small=(--steps 20 --tensorboard no --out "$tmp/small/rm")
  stops "No space left" "${small[@]}" --save-every 3
  unfinished "$tmp/small/rm"
  [ "$(ls -d "$tmp"/small/rm/checkpoint-*)" = "$tmp/small/rm/checkpoint-00000003" ]
  head -c 150000 /dev/zero >"$tmp/small/filler" 2>/dev/null || true
  stops "small/rm" "${small[@]}" --save-minutes 1000 --resume
  unfinished "$tmp/small/rm"
  ls -d "$tmp/small/rm/checkpoint-00000003" >/dev/null
  rm "$tmp/small/filler"
  mount -o remount,size=8m "$tmp/small"
  train "${small[@]}" --threads 1 --resume
  grep -q "going on after step 3" "$tmp/said"
  same "$tmp/small/rm" "$tmp/twenty"
fi
echo "interruptions and full disks: nothing lost, the same bits"
