#!/usr/bin/env bash
# Training by several processes: weights, metrics, evaluations and checkpoints of one process with the same --slices, for
# every family, optimizer and kind of row. RANKS=all: all families with all slices and ranks (minutes).
set -eu
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
. tests/ranks/train.sh
need_mpi
python3 tests/ranks/make.py "$tmp"
python3 tests/tiny_model.py "$tmp/texts"

data=$tmp/pairs.jsonl
families="llama gemma2 $(more gemma3_text qwen3 internlm2_bias nemotron)"
if [ "${RANKS:-}" = all ]; then
  all_families
  exit
fi
n=2
for family in $families; do # 4 slices by 2, 3, 4, 2, … ranks
  model=tests/data/model/$family
  alike 4 $n
  n=$((n % 3 + 2))
done
model=tests/data/model/llama
for n in 1 3; do alike 1 $n; done
for n in 2 3; do alike 8 $n --eval "$tmp/eval.jsonl" --eval-every 2 --save-every 2 --keep 3; done
alike 3 3 --eval "$tmp/eval.jsonl" --eval-every 2 --keep best --early-stop 1 --lr 0.1
train one 0
train many 0 --slices 2
! cmp -s "$tmp/one/model.safetensors" "$tmp/many/model.safetensors" || fail "slices change nothing"
last=

# ways of training
alike 4 3 --lora-rank 4 --lora-dropout 0.2 --lr 1e-2
alike 4 2 --freeze-layers 1 --eval "$tmp/eval.jsonl"
alike 4 3 --optimizer-states 8bit --save-every 3 --keep 2
alike 2 2 --recompute full --batch-tokens 1 --share no --center 0.1 --max-grad-norm 0
data=$tmp/few.jsonl alike 8 3 # a batch of fewer rows than slices, and a rank without any
model=$tmp/texts data=$tmp/rankings.jsonl
alike 4 3 --loss plackett-luce
data=$tmp/pairs.jsonl
# many values: more than two pieces on their way, stretches that end within a tensor and within a block of squares
model=$tmp/wide
alike 4 3 --steps 2
alike 4 2 --steps 2 --optimizer-states 8bit --save-every 1 --keep 1
alike 2 2 --steps 2
