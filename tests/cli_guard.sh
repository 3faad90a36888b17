#!/usr/bin/env bash
# Training of every kind, merge, scores and evaluations over a device whose memory the host cannot touch
# (guard/guard.c): no touch, no argument past its memory, and the same bits as on the CPU's own.
. "$(dirname "$0")/lib.sh"
set -eu
guard=$reward-guard
touch=${BUILD:-build}/guard/touch
expect 0 "" $touch 0
for rule in "1 host touches" "2 host touches" "3 add: x is memory of the host" "4 scale: x reaches past" "5 get: the host's side" "6 scale: x lies among" \
  "7 close: device memory was not given back" "8 scale: x was given back"; do
  fails 86 "${rule#* }" $touch "${rule%% *}"
done
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(1)
draw = lambda n: [random.randrange(3, 60) for _ in range(n)]
with open(sys.argv[1] + "/pairs.jsonl", "w") as f:
    for i in range(16):
        p = draw(random.randrange(0, 20))
        f.write(json.dumps({"chosen_ids": p + draw(random.randrange(1, 30)), "rejected_ids": p + draw(random.randrange(1, 30))}) + "\n")
E2
train() { # PROGRAM FAMILY OUT OPTION…
  "$1" train --quiet --model "tests/data/model/$2" --data "$tmp/pairs.jsonl" --batch-size 8 --epochs 2 --lr 1e-3 --seed 3 --threads 2 \
    --tensorboard no --out "$3" "${@:4}" 2>>"$tmp/warnings" || { cat "$tmp/warnings"; fail "$*"; }
}
same() { # FAMILY OPTION…: trained and scored by both programs
  rm -rf "$tmp/cpu" "$tmp/guard"
  train "$reward" "$1" "$tmp/cpu" "${@:2}"
  train "$guard" "$1" "$tmp/guard" "${@:2}"
  for f in model.safetensors adapter_model.safetensors reward.json; do
    [ ! -e "$tmp/cpu/$f" ] || cmp "$tmp/cpu/$f" "$tmp/guard/$f"
  done
  same_metrics "$tmp/cpu" "$tmp/guard"
  cmp <("$reward" score --quiet --model "$tmp/cpu" "$tmp/pairs.jsonl") <("$guard" score --quiet --model "$tmp/guard" "$tmp/pairs.jsonl")
}
same gemma2
same nemotron --recompute full --batch-tokens 1
same qwen3 --optimizer-states 8bit --eval "$tmp/pairs.jsonl" --keep best
same internlm2 --freeze-layers 1
# slices, summed on the device; and by two processes, which exchange through memory of the host
same llama --slices 3
if command -v mpirun >/dev/null && [ -e "${reward%/*}/libreward_mpi.so" ]; then
  . tests/ranks/lib.sh
  by=$guard
  two_guards() { ranks 2 "$by" "$@"; }
  guard=two_guards
  rm -rf "$tmp/cpu" "$tmp/guard"
  train "$reward" gemma2 "$tmp/cpu" --slices 3 --optimizer-states 8bit --eval "$tmp/pairs.jsonl"
  train "$guard" gemma2 "$tmp/guard" --slices 3 --optimizer-states 8bit --eval "$tmp/pairs.jsonl"
  cmp "$tmp/cpu/model.safetensors" "$tmp/guard/model.safetensors"
  cmp "$tmp/cpu/evals.jsonl" "$tmp/guard/evals.jsonl"
  same_metrics "$tmp/cpu" "$tmp/guard"
  guard=$by
fi
same llama --dtype bf16
same qwen3_moe --recompute full
same mixtral --freeze-layers 1
same olmo3
same grm_mlp
same llama --lora-rank 4 --lora-dropout 0.1 --eval "$tmp/pairs.jsonl"
"$guard" merge --quiet "$tmp/guard" -o "$tmp/merged-guard"
"$reward" merge --quiet "$tmp/cpu" -o "$tmp/merged-cpu"
cmp "$tmp/merged-cpu/model.safetensors" "$tmp/merged-guard/model.safetensors"

# killed and resumed: f32 states, 8-bit ones, adapters
for options in "--optimizer-states f32" "--optimizer-states 8bit" "--lora-rank 2"; do
  rm -rf "$tmp/cpu" "$tmp/guard"
  train "$reward" qwen2 "$tmp/cpu" --epochs 8 $options
  for i in 1 2; do
    killed "$guard" train --quiet --model tests/data/model/qwen2 --data "$tmp/pairs.jsonl" --batch-size 8 --lr 1e-3 --seed 3 --threads 2 \
      --tensorboard no --out "$tmp/guard" --epochs 8 $options --save-every 1 --resume
  done
  train "$guard" qwen2 "$tmp/guard" --epochs 8 $options --save-every 1 --resume
  for f in model.safetensors adapter_model.safetensors; do [ ! -e "$tmp/cpu/$f" ] || cmp "$tmp/cpu/$f" "$tmp/guard/$f"; done
done
