#!/usr/bin/env bash
# gpu.sh - all that needs a GPU, in one run of at most 8 minutes: limits, every operation, the sanitizers, speed.
#
# usage: tests/gpu.sh [FOLDER]   FOLDER: where `make cuda` put check-cuda and bench-cuda (build). Nothing is built here.
# STEPS="ops layer": these alone. Each step has a time limit of its own; all output goes to
# $OUT/all.txt ($OUT: FOLDER/gpu). The last lines are a table.
set -u
cd "$(dirname "$0")/.."
B=$(realpath "${1:-build}") OUT=${OUT:-$B/gpu}
LOGS=$(mktemp -d) # one file goes to $OUT: few come back from some machines
mkdir -p "$OUT"
trap 'rm -rf "$LOGS"' EXIT
# cuBLASLt is the machine's: beside the compiler, or in a Python package.
for d in /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib /opt/*/.venv/lib/python3*/site-packages/nvidia/cu13/lib \
         /opt/*/.venv/lib/python3*/site-packages/nvidia/cublas/lib /usr/lib/python3*/site-packages/nvidia/cublas/lib; do
  [ -e "$d/libcublasLt.so.13" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$d
done
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
table=() failed=0 start=$SECONDS
step() { # NAME SECONDS COMMAND…
  local name=$1 limit=$2 t=$SECONDS rc
  shift 2
  [[ " ${STEPS:-$name} " == *" $name "* ]] || return
  [ -x "$1" ] || command -v "$1" >/dev/null || { table+=("$name: not here"); return; }
  echo "== $name"
  timeout -k 5 "$limit" "$@" >"$LOGS/$name.log" 2>&1
  rc=$?
  { echo "== $name"; cat "$LOGS/$name.log"; } >>"$OUT/all.txt"
  [ $rc -eq 0 ] || failed=$((failed + 1))
  table+=("$(printf '%-10s rc %3d %4d s  %s' "$name" $rc $((SECONDS - t)) "$(tail -n 1 "$LOGS/$name.log" | cut -c1-200)")")
}
nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm,clocks.mem --format=csv,noheader
step limits 40 "$B/bench-cuda" limits; cat "$LOGS/limits.log" 2>/dev/null
step ops 90 "$B/check-cuda" big; grep -v '^ok' "$LOGS/ops.log" 2>/dev/null | head -40
step attention 60 "$B/check-attention"; grep -v '^ok' "$LOGS/attention.log" 2>/dev/null | head -20
step models 60 "$B/check-models" cuda; cat "$LOGS/models.log" 2>/dev/null
step models-f32 60 "$B/check-models" cuda:f32; cat "$LOGS/models-f32.log" 2>/dev/null
step products 60 "$B/bench-cuda" products; cat "$LOGS/products.log" 2>/dev/null
step layer 60 "$B/bench-cuda" layer 4096 8192 16384; cat "$LOGS/layer.log" 2>/dev/null
step attn-speed 40 "$B/bench-attention"; cat "$LOGS/attn-speed.log" 2>/dev/null
for tool in "memcheck --report-api-errors no" racecheck initcheck; do # the checks ask for too much memory once
  set -- $tool
  step "$1" 60 compute-sanitizer --tool $tool --error-exitcode 9 "$B/check-cuda" quick
  grep -h '^=========' "$LOGS/$1.log" 2>/dev/null | head -12
done
printf '%s\n' "${table[@]}" "$failed failed, $((SECONDS - start)) s"
exit $((failed > 0))
