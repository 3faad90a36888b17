#!/usr/bin/env bash
# gpu.sh - all that needs a GPU, in one run of at most ten minutes: every operation, whole small models, memory taken
# beside memory predicted, speed, the sanitizers.
#
# usage: tests/gpu.sh [FOLDER]   FOLDER: where `make` and `make cuda` put what is run (build). Nothing is built here.
# STEPS="ops layer": these alone. Each step has a time limit of its own, all together LIMIT seconds (570); a step that
# has none left is not run, and counts as failed. All output goes to $OUT/all.txt ($OUT: FOLDER/gpu). The last lines are a
# table. To try the script without a GPU: MODELS="8b=small 27b=small layer=tiny", other shapes of tests/cuda/hollow_model.py
# and bench-cuda; SIZE, TOKENS: of bench-cuda limits and layer; BIG=quick: fewer shapes of check-cuda, check-attention.
set -u
cd "$(dirname "$0")/.."
B=$(realpath "${1:-build}") OUT=${OUT:-$B/gpu}
LOGS=$(mktemp -d) # one file goes to $OUT: few come back from some machines
mkdir -p "$OUT" && : >"$OUT/all.txt"
trap 'rm -rf "$LOGS"' EXIT
# cuBLASLt is the machine's: beside the compiler, or in a Python package.
for d in /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib /opt/*/.venv/lib/python3*/site-packages/nvidia/cu13/lib \
         /opt/*/.venv/lib/python3*/site-packages/nvidia/cublas/lib /usr/lib/python3*/site-packages/nvidia/cublas/lib; do
  [ -e "$d/libcublasLt.so.13" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$d
done
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
table=() failed=0 start=$SECONDS
LIMIT=${LIMIT:-570}
step() { # NAME SECONDS COMMAND…
  local name=$1 limit=$2 t=$SECONDS left=$((LIMIT - SECONDS + start)) rc
  shift 2
  [[ " ${STEPS:-$name} " == *" $name "* ]] || return
  if ! command -v "$1" >/dev/null; then
    failed=$((failed + 1)) table+=("$name: $1 is not here")
    return
  fi
  if [ $left -lt 5 ]; then
    failed=$((failed + 1)) table+=("$name: no time left")
    return
  fi
  echo "== $name"
  timeout -k 5 $((left < limit ? left : limit)) "$@" >"$LOGS/$name.log" 2>&1
  rc=$?
  { echo "== $name"; cat "$LOGS/$name.log"; } >>"$OUT/all.txt"
  [ $rc -eq 0 ] || failed=$((failed + 1))
  table+=("$(printf '%-14s rc %3d %4d s  %s' "$name" $rc $((SECONDS - t)) "$(tail -n 1 "$LOGS/$name.log" | cut -c1-200)")")
}
show() { # NAME [LINES]: what a step said, but what is well
  grep -v '^ok' "$LOGS/$1.log" 2>/dev/null | tail -n "${2:-40}"
}
model_8b=llama-3.1-8b model_27b=gemma-2-27b model_layer=
for m in ${MODELS:-}; do declare "model_$m"; done
sanitize() { # NAME TOOL SECONDS COMMAND…
  step "$1" "$3" compute-sanitizer --tool $2 --error-exitcode 9 "${@:4}"
  grep -h '^=========' "$LOGS/$1.log" 2>/dev/null | head -12
}

step gpu 20 nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm,clocks.mem --format=csv,noheader; show gpu
step limits 20 "$B/bench-cuda" limits ${SIZE:-}; show limits
step ops 90 "$B/check-cuda" ${BIG:-big}; show ops
step attention 60 "$B/check-attention" ${BIG:-}; show attention
step models 60 "$B/check-models" cuda; show models
step models-f32 60 "$B/check-models" cuda:f32; show models-f32
step program 150 env GPU=1 "BUILD=$(realpath --relative-to=. "$B")" tests/cli_cuda.sh; show program
step memory-8b 60 tests/cuda/memory.sh "$B/reward" $model_8b --optimizer-states 8bit --recompute full --batch-tokens 8192; show memory-8b 1
step memory-8b-mlp 60 tests/cuda/memory.sh "$B/reward" $model_8b --optimizer-states 8bit --recompute mlp --batch-tokens 4096; show memory-8b-mlp 1
step memory-27b 120 tests/cuda/memory.sh "$B/reward" $model_27b --lora-rank 16 --recompute full --batch-tokens 8192; show memory-27b 1
step layer-8b 60 "$B/bench-cuda" layer ${model_layer:-llama-3.1-8b} ${TOKENS:-4096 8192 16384}; show layer-8b 400
step layer-27b 60 "$B/bench-cuda" layer ${model_layer:-gemma-2-27b} ${TOKENS:-8192}; show layer-27b 400
sanitize memcheck "memcheck --report-api-errors no" 60 "$B/check-cuda" quick # the checks ask for too much memory once
sanitize racecheck racecheck 60 "$B/check-cuda" quick
sanitize race-attention racecheck 60 "$B/check-attention" race
sanitize initcheck initcheck 60 "$B/check-cuda" quick
step products 60 "$B/bench-products"; show products
step attn-speed 40 "$B/bench-attention"; show attn-speed
printf '%s\n' "${table[@]}" "$failed failed, $((SECONDS - start)) s"
exit $((failed > 0))
