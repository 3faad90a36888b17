#!/usr/bin/env bash
# memory.sh - what training takes of a GPU's memory beside what was predicted: some passes and an update, nothing saved.
#
# usage: memory.sh REWARD SHAPE OPTION…   SHAPE: of hollow_model.py; OPTION: of `reward train`. The last line says both.
set -eu
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 "$here/hollow_model.py" "$2" "$work/model"
"$1" train --quiet --model "$work/model" --data "$work/model/pairs.jsonl" --out "$work/out" --dry-run --device cuda --golden none \
  --batch-size 64 "${@:3}" >"$work/said"
cat "$work/said"
awk -v what="$2 ${*:3}" '
  $1 == "device_memory_bytes" { predicted = $2 / 1e9 }
  $1 == "device_memory_taken" { taken = $2 / 1e9 }
  END { printf "%s: predicted %.3f GB, taken %.3f (%.3f)\n", what, predicted, taken, taken / predicted
        exit !(predicted > 0 && taken < 1.03 * predicted + (predicted > 10 ? 1 : 0.001)) }' "$work/said"
