#!/usr/bin/env bash
# What goes wrong in a run of several processes: other machines, data or files on one rank, signals, killed ranks, a cut
# line between two hosts. One message, one exit status, no process left, and the run goes on at another number of ranks.
# KILLS=N: kills and resumes (5).
set -eu
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
need_mpi
python3 tests/ranks/make.py "$tmp"
model=tests/data/model/llama
options=(--quiet --model "$model" --batch-size 8 --lr 1e-3 --seed 3 --threads 1 --tensorboard no --slices 4)
train=("$reward" train "${options[@]}" --data "$tmp/pairs.jsonl" --epochs 4)

# once STATUS TEXT COMMAND…: the exit status, TEXT on one line of stderr, and no process left
once() {
  fails "$@"
  [ "$(grep -cF -- "$2" "$tmp/stderr")" = 1 ] || fail "${*:3}: expected '$2' once: $(cat "$tmp/stderr")"
  [ "$(grep -c "^reward train: " "$tmp/stderr")" = 1 ] || fail "${*:3}: expected one message: $(cat "$tmp/stderr")"
  nobody
}
nobody() {
  local i
  for i in $(seq 50); do pgrep -f "$tmp" >/dev/null || return 0; sleep 0.1; done
  fail "processes are left: $(pgrep -fa "$tmp")"
}

"${train[@]}" --out "$tmp/one"

# one rank differs
sed '1s/chosen_ids/rejected_IDS/; 1s/rejected_ids/chosen_ids/; 1s/rejected_IDS/rejected_ids/' "$tmp/pairs.jsonl" >"$tmp/other.jsonl"
head -n 5 "$tmp/pairs.jsonl" >"$tmp/bad.jsonl"
echo "[1, 2" >>"$tmp/bad.jsonl"
with() { "${mpirun[@]}" -n 2 "${train[@]}" --out "$tmp/x" : -n 1 "$@"; } # a third rank of its own
once 2 "rank 2: $tmp/other.jsonl: expected " with "$reward" train "${options[@]}" --data "$tmp/other.jsonl" --epochs 4 --out "$tmp/x"
once 2 "rank 2: $tmp/bad.jsonl: expected " with "$reward" train "${options[@]}" --data "$tmp/bad.jsonl" --epochs 4 --out "$tmp/x"
once 1 "rank 2: " with "$reward" train "${options[@]}" --data "$tmp/none.jsonl" --epochs 4 --out "$tmp/x"
once 2 "rank 2: options, data and model, as a hash: expected " with "${train[@]}" --center 0.5 --out "$tmp/x"
once 2 "rank 2: '--nonsense': unknown option" with "${train[@]}" --nonsense --out "$tmp/x"
once 1 "rank 2: " with bash -c 'ulimit -f 20; exec "$@"' - "${train[@]}" --out "$tmp/x" # files of 20 KB are all that it may write
grep -q "ulimit -f" "$tmp/stderr" || fail "$(cat "$tmp/stderr")"
if [ "$("$reward" inspect "$model" | grep -c baseline)" = 0 ]; then
  once 2 "rank 2: CPU level or device: expected " with env REWARD_CPU_LEVEL=baseline "${train[@]}" --out "$tmp/x"
fi
[ -z "$(ls "$tmp/x" 2>/dev/null)" ] || fail "a refused run has left files: $(ls "$tmp/x")"
once 2 "--data -: expected a file" ranks 2 "$reward" train "${options[@]}" --data - --out "$tmp/x" <"$tmp/pairs.jsonl"
once 2 "expected a new or empty folder" ranks 2 "${train[@]}" --out "$tmp/one"
fails 0 "is bound to one core" taskset -c 0 "${mpirun[@]}" -n 2 "$reward" train "${options[@]}" --data "$tmp/few.jsonl" --steps 1 --out "$tmp/bound" ||
  [ "$(nproc)" = 1 ]
expect 0 "sent_bytes_a_step" ranks 2 "${train[@]}" --dry-run
[ "$(grep -c "^ranks  *2$" "$tmp/stdout")" = 1 ] || fail "$(cat "$tmp/stdout")"

# signals: to the launcher, and to one rank alone; the run is saved, and goes on at another number of ranks
long=("$reward" train "${options[@]}" --data "$tmp/pairs.jsonl" --steps 100000)
stopped() { # SIGNAL WHOM RANKS: 130 after a save
  # Open MPI 4.1's mpirun waits these seconds before it hands on SIGTERM, and again before it kills
  "${mpirun[@]}" --mca odls_base_sigkill_timeout 3 -n "$3" "${long[@]}" --out "$tmp/stopped" 2>"$tmp/said" &
  local launcher=$! whom i status=0
  for i in $(seq 300); do [ ! -s "$tmp/stopped/metrics.jsonl" ] || break; sleep 0.1; done
  case $2 in launcher) whom=$launcher ;; *) whom=$(pgrep -P $launcher -f "$tmp/stopped" | tail -n 1) ;; esac
  kill -s "$1" "$whom"
  wait $launcher || status=$?
  if [ "$1 $2" = "TERM launcher" ]; then # mpirun has a status of its own then, and may drop what its ranks say
    [ -e "$tmp"/stopped/checkpoint-*/model.safetensors ] || fail "$*: nothing was saved: $(cat "$tmp/said")"
  else
    [ $status = 130 ] || fail "$*: exit status $status: $(cat "$tmp/said")"
    [ "$(grep -c "stopped after step" "$tmp/said")" = 1 ] || fail "$*: $(cat "$tmp/said")"
  fi
  nobody
}
stopped USR1 launcher 3
[ -e "$tmp"/stopped/checkpoint-*/model.safetensors ] || fail "nothing was saved"
step=$(sed -n 's/.*stopped after step \([0-9]*\).*/\1/p' "$tmp/said")
rm -rf "$tmp/stopped"
stopped TERM one 2
rm -rf "$tmp/stopped"
stopped TERM launcher 2
rm -rf "$tmp/stopped"

# a disk that fills up in mid-run: steps go on unsaved, said once, and what comes after has the same bits
if small_disk 5m; then
  "${long[@]/100000/300}" --out "$tmp/short"
  ranks 3 "${long[@]/100000/300}" --save-every 1 --out "$tmp/small/rm" 2>"$tmp/said" &
  pid=$!
  for i in $(seq 300); do [ ! -s "$tmp/small/rm/metrics.jsonl" ] || break; sleep 0.1; done
  dd if=/dev/zero of="$tmp/small/fill" bs=16K 2>/dev/null || true
  for i in $(seq 100); do ! grep -q "is not saved" "$tmp/said" || break; sleep 0.1; done
  rm "$tmp/small/fill"
  wait $pid || fail "a disk that was full: $(cat "$tmp/said")"
  grep -q "is not saved" "$tmp/said" || fail "nothing was said: $(cat "$tmp/said")"
  cmp "$tmp/short/model.safetensors" "$tmp/small/rm/model.safetensors"
  same_metrics "$tmp/short" "$tmp/small/rm"
fi

# a killed rank ends the run; kills at any moment, each followed by a resume at a number of ranks drawn anew. What comes to
# its end is compared and begun anew, so that every kill meets a run under way.
RANDOM=7 kills=0 whole=0
some=("${long[@]/100000/150}")
"${some[@]}" --out "$tmp/undisturbed"
run_killed() { # RANKS [OPTION…]: 1: no launcher
  local by=()
  [ "$1" = 1 ] || by=("${mpirun[@]}" -n "$1")
  exec "${by[@]}" "${some[@]}" --save-every 1 --resume --out "$tmp/killed"
}
ended_well() {
  cmp "$tmp/undisturbed/model.safetensors" "$tmp/killed/model.safetensors"
  same_metrics "$tmp/undisturbed" "$tmp/killed"
  [ -z "$(ls "$tmp/killed" | grep -E 'checkpoint|partial' || true)" ] || fail "left: $(ls "$tmp/killed")"
  rm -rf "$tmp/killed"
  whole=$((whole + 1))
}
while [ $kills -lt "${KILLS:-$((2 + $(more 1 1 1 | wc -w)))}" ]; do
  n=$((RANDOM % 4 + 1))
  run_killed $n >"$tmp/said" 2>&1 &
  pid=$!
  sleep "$((RANDOM % 3)).$((RANDOM % 10))"
  [ $n = 1 ] && whom=$pid || whom=$(pgrep -P $pid -f "$tmp/killed" | tail -n 1)
  if kill -9 ${whom:-$pid} 2>/dev/null; then kills=$((kills + 1)); fi
  for j in $(seq 200); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
  # Open MPI 4.1's launcher may wait forever where a rank dies while it starts the others: what a user does then
  kill -9 $pid $(pgrep -f "$tmp/killed") 2>/dev/null || true
  if wait $pid 2>/dev/null; then ended_well; fi
  nobody
done
ranks 3 "${some[@]}" --save-every 1 --resume --out "$tmp/killed" 2>"$tmp/said" || fail "$(cat "$tmp/said")"
ended_well
echo "$kills kills, $whole runs to their ends, each as if undisturbed"
