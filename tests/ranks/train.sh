# train.sh - trainings by several processes compared with one, behind lib.sh: $model, $data, and options in $apart for
# those of several alone.
apart=()

# train OUT RANKS [OPTION…]: 0 ranks: no launcher
train() {
  local out=$1 n=$2 by=()
  shift 2
  rm -rf "${tmp:?}/$out"
  [ "$n" = 0 ] || by=("${mpirun[@]}" -n "$n")
  [ "$n" = 0 ] || set -- "${apart[@]}" "$@"
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
all_families() {
  local d s n
  for d in tests/data/model/*/; do
    model=${d%/}
    [[ $model != *armorm && $model != *nemotron[59] && -e $model/model.safetensors ]] || continue
    for s in 1 4 8; do for n in 1 2 3 4; do alike $s $n --eval "$tmp/eval.jsonl" --eval-every 3; done; done
    echo "${model##*/}: slices 1, 4, 8 by 1, 2, 3, 4 ranks as by one process"
  done
}
