#!/usr/bin/env bash
# Training by several processes: weights, metrics, evaluations and checkpoints of one process with the same --slices, for
# every family, optimizer and kind of row. RANKS=all: all families with all slices and ranks (minutes).
set -eu
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
need_mpi
python3 tests/ranks/make.py "$tmp"
python3 tests/tiny_model.py "$tmp/texts"

# train OUT RANKS [OPTION…]: 0 ranks: no launcher
train() {
  local out=$1 n=$2 by=()
  shift 2
  rm -rf "${tmp:?}/$out"
  [ "$n" = 0 ] || by=("${mpirun[@]}" -n "$n")
  "${by[@]}" "$reward" train --quiet --model "$model" --data "$data" --batch-size 8 --steps 7 --lr 1e-3 --seed 3 --threads 1 \
    --tensorboard no --out "$tmp/$out" "$@" 2>"$tmp/said" || fail "$n ranks, $model, $*: $(cat "$tmp/said")"
}
same() { # A B: all that may not differ
  local f
  for f in model.safetensors adapter_model.safetensors evals.jsonl dropped.jsonl; do
    [ ! -e "$tmp/$1/$f" ] || cmp "$tmp/$1/$f" "$tmp/$2/$f"
  done
  same_metrics "$tmp/$1" "$tmp/$2"
  for f in "$tmp/$1"/checkpoint-*; do # those that stay
    [ ! -d "$f" ] || { cmp "$f/state/model.safetensors" "$tmp/$2/${f##*/}/state/model.safetensors"
                       cmp "$f/model.safetensors" "$tmp/$2/${f##*/}/model.safetensors"; }
  done
}
# alike SLICES RANKS [OPTION…]: as one process
alike() {
  local s=$1 n=$2
  shift 2
  [ "${last:-}" = "$model $data $s $*" ] || train one 0 --slices "$s" "$@"
  last="$model $data $s $*"
  train many "$n" --slices "$s" "$@"
  same one many
}

data=$tmp/pairs.jsonl
families="llama gemma2 gemma3_text qwen3 internlm2_bias nemotron"
if [ "${RANKS:-}" = all ]; then
  for d in tests/data/model/*/; do
    model=${d%/}
    [[ $model != *armorm && $model != *nemotron[59] && -e $model/model.safetensors ]] || continue
    for s in 1 4 8; do for n in 1 2 3 4; do alike $s $n --eval "$tmp/eval.jsonl" --eval-every 3; done; done
    echo "${model##*/}: slices 1, 4, 8 by 1, 2, 3, 4 ranks as by one process"
  done
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
