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
steps_of() { echo "$((10#${1##*-}))"; } # CHECKPOINT
unfinished() { # DIR: nothing half-written, and nothing that looks like a result
  [ ! -e "$1/model.safetensors" ]
  [ -z "$(find "$1" -name '*partial*')" ]
  grep -q '"unfinished"' "$1/run.json"
}

# Ctrl-C at random moments; the command that is printed goes on as it stands
train --steps 300 --out "$tmp/whole"
end=$(grep -o "batches: loss [0-9.]*, [0-9.]*% right" "$tmp/said")
again="${args[*]@Q} --steps 300 --out '$tmp/the run'"
steps_done() { cat "$tmp/the run/metrics.jsonl" 2>/dev/null | wc -l; }
for i in 1 2 3; do
  before=$(steps_done)
  (eval "exec \"\$reward\" $again --threads $i" 2>"$tmp/said") & pid=$! # after the first: --out and --resume alone
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
  [ "$again" = "train --out '$tmp/the run' --resume" ]
done
[ $status -eq 0 ] || eval "\"\$reward\" $again" 2>"$tmp/said"
same "$tmp/whole" "$tmp/the run"
grep -qF "$end" "$tmp/said" # the recent means went on too

# a terminal that is closed (SIGHUP) lets it save as well; with nohup nothing happens
(exec "$reward" "${args[@]}" --steps 300 --out "$tmp/hung" 2>"$tmp/said") & pid=$!
for _ in $(seq 1000); do
  [ "$(wc -l 2>/dev/null <"$tmp/hung/metrics.jsonl" || echo 0)" -lt 10 ] && kill -0 $pid 2>/dev/null || break
  sleep 0.01
done
kill -HUP $pid
status=0; wait $pid || status=$?
if [ $status -ne 0 ]; then
  [ $status -eq 130 ] || fail "SIGHUP: exit status $status: $(cat "$tmp/said")"
  unfinished "$tmp/hung"
  [ "$(steps_of "$tmp/hung"/checkpoint-*)" -ge 10 ]
  train --steps 300 --out "$tmp/hung" --resume
fi
same "$tmp/whole" "$tmp/hung"
(trap '' HUP; exec "$reward" "${args[@]}" --steps 300 --out "$tmp/nohup" 2>"$tmp/said") & pid=$!
for _ in $(seq 1000); do [ -e "$tmp/nohup/metrics.jsonl" ] && break || sleep 0.01; done
kill -HUP $pid
wait $pid
same "$tmp/whole" "$tmp/nohup"

# Ctrl-C when all steps are done, or nearly: interrupted and to be gone on with, or finished and a success
for last in 299 300 $(more 298 300 300 300 300 300); do
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

# a limit on files that a checkpoint does not fit into: said before the first step
(ulimit -f 200; stops "a checkpoint is a file of 337 KB, and files may have 205 KB here" --steps 300 --out "$tmp/limit")
[ ! -e "$tmp/limit" ]

# begin OPTION…: train in the background, to its tenth step
begin() {
  (exec "$reward" "${args[@]}" --steps 300 "$@" 2>"$tmp/said") & running=$!
  await '[ "$(cat "$run/metrics.jsonl" 2>/dev/null | wc -l)" -ge 10 ]'
}
await() { # CONDITION, for a minute at most
  for _ in $(seq 1200); do
    eval "$1" && return
    kill -0 $running 2>/dev/null || break
    sleep 0.05
  done
  eval "$1" || fail "never came: $1: $(cat "$tmp/said")"
}
ended() { # STATUS
  local status=0
  wait $running || status=$?
  running=
  [ $status -eq "$1" ] || fail "exit status $status, expected $1: $(cat "$tmp/said")"
}
limit() { prlimit --pid $running --fsize="$1:"; }
said() { grep -qF -- "$1" "$tmp/said"; }

# no file may grow any more: the run trains on, keeps its earlier checkpoint and its lines, and waits at its end until it can write
run=$tmp/limit
begin --out "$run" --save-every 5
limit 40000
await 'said "trying again until it works"'
said "is not saved: the checkpoint of step" || fail "no warning: $(cat "$tmp/said")"
said "metrics.jsonl: cannot write: File too large; its lines are kept in memory"
unfinished "$run"
[ "$(ls -d "$run"/checkpoint-* | wc -l)" -eq 1 ]
limit unlimited
ended 0
same "$tmp/whole" "$run"

# told to stop while it waits: the checkpoint stays, and going on from it loses no more than what came after it
rm -r "$run"
begin --out "$run" --save-every 5
limit 40000
await 'said "trying again until it works"'
kept=$(ls -d "$run"/checkpoint-*)
kill -INT $running
ended 130
said "all 300 steps are done, and the result could not be written (the checkpoint of step $((10#${kept##*-})) stays)"
unfinished "$run"
[ "$(ls -d "$run"/checkpoint-*)" = "$kept" ]
train --steps 300 --out "$run" --resume
same "$tmp/whole" "$run"

# told to stop before: it tries for a while, so that room can be made
rm -r "$run"
begin --out "$run"
limit 40000
kill -INT $running
await 'said "trying again for a minute"'
limit unlimited
ended 130
said "stopped after step"
train --steps 300 --out "$run" --resume
same "$tmp/whole" "$run"

# a disk: too small for the run, said before the first step; then one that somebody else fills meanwhile
if small_disk 900k; then
  run="$tmp/small/rm"
  "$reward" "${args[@]}" --steps 300 --out "$run" --tensorboard no --dry-run >"$tmp/out" 2>/dev/null && fail "a dry run that would not fit"
  stops "checkpoints and the result take" --steps 300 --tensorboard no --out "$run"
  [ ! -e "$run" ]
  mount -o remount,size=2m "$tmp/small"
  need=$("$reward" "${args[@]}" --steps 300 --out "$run" --tensorboard no --dry-run 2>/dev/null | sed -n 's/^disk_bytes *//p')
  begin --tensorboard no --out "$run" --save-every 5 --keep best --eval "$tmp/the pairs.jsonl"
  kill -STOP $running
  head -c 3000000 /dev/zero >"$tmp/small/filler" 2>/dev/null || true
  kill -CONT $running
  await 'said "trying again until it works"'
  unfinished "$run"
  rm "$tmp/small/filler"
  ended 0
  same_metrics "$tmp/whole" "$run"
  [ "$need" -gt 700000 ] && [ "$need" -lt 1500000 ]
fi
echo "interruptions and full disks: nothing lost, the same bits"
