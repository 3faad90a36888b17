#!/usr/bin/env bash
# The batch scripts of examples/slurm with stand-ins for srun and scontrol: an array in any order with a job that never
# ran, ranks under mpirun, a warning signal that queues the job again. Slurm itself is not here.
set -u
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
for f in examples/slurm/*.sh; do bash -n "$f" || fail "$f"; done
mkdir "$tmp/bin"
ln -s "$reward" "$tmp/bin/reward"
cat >"$tmp/bin/srun" <<S
#!/bin/bash
while [[ \$1 = --* ]]; do shift; done
${mpirun[*]} -n 2 "\$@" &
pid=\$!
[ -z "\${WARN_AFTER:-}" ] || { sleep "\$WARN_AFTER"; kill -USR1 \$(pgrep -P \$pid) 2>/dev/null; }
wait \$pid
S
echo 'echo "$*" >>"$QUEUE"' >"$tmp/bin/scontrol"
chmod +x "$tmp/bin/srun" "$tmp/bin/scontrol"
export PATH=$tmp/bin:$PATH QUEUE=$tmp/queue SLURM_JOB_ID=77 MODEL=tests/data/model/llama ROWS=$tmp/rows.jsonl
python3 - >"$ROWS" <<'P'
import json, random
rng = random.Random(9)
for i in range(20000): print(json.dumps({"id": i, "input_ids": [rng.randrange(3, 90) for _ in range(rng.randint(3, 30))]}))
P
python3 - >"$tmp/pairs.jsonl" <<'P'
import json, random
rng = random.Random(4)
draw = lambda n: [rng.randrange(3, 90) for _ in range(n)]
for i in range(40): print(json.dumps({"chosen_ids": draw(9), "rejected_ids": draw(7)}))
P
reward score --quiet --model $MODEL "$ROWS" -o "$tmp/one.jsonl" || fail "one process"

# an array of three, of which the second never runs
export OUT=$tmp/array.jsonl JOBS=3
for i in 3 1; do SLURM_ARRAY_TASK_ID=$i examples/slurm/score_array.sh 2>"$tmp/log" || fail "job $i: $(cat "$tmp/log")"; done
[ "$(ls "$OUT.parts" | tr '\n' ' ')" = "000000 000002 000003 " ] || fail "parts: $(ls "$OUT.parts")"
SLURM_ARRAY_TASK_ID=0 examples/slurm/score_array.sh 2>"$tmp/log" || fail "the last job: $(cat "$tmp/log")"
cmp "$tmp/one.jsonl" "$OUT" || fail "an array gives other bytes"

if command -v mpirun >/dev/null && [ -e "${reward%/*}/libreward_mpi.so" ]; then
  reward train --quiet --model $MODEL --data "$tmp/pairs.jsonl" --out "$tmp/one" --slices 4 --threads 1 2>"$tmp/log" || fail "training: $(cat "$tmp/log")"
  DATA=$tmp/pairs.jsonl OUT=$tmp/trained SLICES=4 examples/slurm/train.sh >"$tmp/log" 2>&1 || fail "train.sh: $(cat "$tmp/log")"
  cmp "$tmp/one/model.safetensors" "$tmp/trained/model.safetensors" || fail "train.sh gives other bytes"
  export OUT=$tmp/ranks.jsonl
  examples/slurm/score_ranks.sh >"$tmp/log" 2>&1 || fail "ranks: $(cat "$tmp/log")"
  cmp "$tmp/one.jsonl" "$OUT" || fail "ranks give other bytes"
  [ ! -e "$QUEUE" ] || fail "queued again without need"
  # warned: what is done is kept, and the job queued again; it may also have ended before
  export OUT=$tmp/warned.jsonl
  for after in 0.6 0.8 1; do
    WARN_AFTER=$after examples/slurm/score_ranks.sh >"$tmp/log" 2>&1
    status=$?
    [ ! -e "$OUT" ] || break
    [ $status = 130 ] || fail "warned: exit status $status: $(cat "$tmp/log")"
    [ "$(cat "$QUEUE" 2>/dev/null)" = "requeue 77" ] || fail "not queued again: $(cat "$tmp/log")"
    rm -f "$QUEUE"
  done
  examples/slurm/score_ranks.sh >"$tmp/log" 2>&1 || fail "after a warning: $(cat "$tmp/log")"
  cmp "$tmp/one.jsonl" "$OUT" || fail "ranks that were warned give other bytes"
fi
[ $bad = 0 ] && echo "an array and ranks by the batch scripts: one process's bytes"
exit $bad
