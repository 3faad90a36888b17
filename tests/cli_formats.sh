#!/usr/bin/env bash
# `reward convert` and `reward inspect` as users call them: what they print, write and return.
set -u
cd "$(dirname "$0")/.."
REWARD=${BUILD:-build}/reward
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=1; }
# expect STATUS TEXT COMMAND…: the exit status, and TEXT in what it printed.
expect() {
  local status=$1 text=$2 got
  shift 2
  "$@" >"$work/out" 2>&1
  got=$?
  [ $got -eq "$status" ] || fail "$*: exit status $got, expected $status: $(tail -n 1 "$work/out")"
  grep -qF -- "$text" "$work/out" || fail "$*: expected '$text' in: $(cat "$work/out")"
}
data=tests/data/format

expect 0 "converts    yes" "$REWARD" inspect $data/smollm.gguf
expect 0 '"llama.block_count" 2' "$REWARD" inspect $data/smollm.gguf
expect 0 "written" "$REWARD" convert $data/smollm.gguf -o "$work/hf"
expect 2 "--force" "$REWARD" convert $data/smollm.gguf -o "$work/hf"
expect 0 "written" "$REWARD" convert $data/smollm.gguf -o "$work/hf" --force --save-dtype bf16
expect 0 "20 BF16" "$REWARD" inspect "$work/hf"
expect 0 "loads       for train" "$REWARD" inspect "$work/hf"
expect 0 'bos "<|im_start|>"' "$REWARD" inspect "$work/hf"
expect 0 "are 27 tokens" "$REWARD" inspect "$work/hf"
expect 0 "model.layers.1.mlp.down_proj.weight" "$REWARD" inspect "$work/hf" --tensors
expect 0 "loads       yes" "$REWARD" inspect tests/data/model/gemma2
expect 0 "window      16 tokens in 2 of 4 layers" "$REWARD" inspect tests/data/model/gemma2
expect 0 "head        score.weight [1, 32]" "$REWARD" inspect tests/data/model/llama/model.safetensors
expect 0 "19 attributes, weighed by the prompt" "$REWARD" inspect tests/data/model/armorm
expect 0 "of which the last 5" "$REWARD" inspect tests/data/model/nemotron9
expect 0 "token 199, appended" "$REWARD" inspect tests/data/model/internlm2
expect 0 "YaRN by 4 from 128 tokens" "$REWARD" inspect tests/data/model/qwen2_yarn
expect 0 "dynamic scaling" "$REWARD" inspect tests/data/model/internlm2
expect 2 "is needed" "$REWARD" inspect
expect 1 "nothing-here" "$REWARD" inspect "$work/nothing-here"
expect 1 "safetensors file" "$REWARD" inspect README.md

head -c 20000 $data/smollm.gguf >"$work/cut.gguf"
expect 1 "cut short" "$REWARD" inspect "$work/cut.gguf"
expect 1 "cut short" "$REWARD" convert "$work/cut.gguf" -o "$work/none"
[ ! -e "$work/none" ] || fail "a failed conversion left a folder"
expect 1 "general.architecture" "$REWARD" convert $data/blocks.gguf -o "$work/none"
cp -r "$work/hf" "$work/broken"
head -c 5000 "$work/hf/model.safetensors" >"$work/broken/model.safetensors"
expect 1 "loads       no" "$REWARD" inspect "$work/broken"

# a GGUF file as --model is converted once
export XDG_CACHE_HOME=$work/cache
printf '{"text": "hello there"}\n' >"$work/rows"
printf '{"prompt": "a", "chosen": "hello", "rejected": "there"}\n' >"$work/texts"
for i in 1 2 3 4; do printf '{"chosen_ids": [5, 6, %d], "rejected_ids": [5, %d]}\n' $i $i; done >"$work/pairs"
"$REWARD" tokenize --model $data/smollm.gguf "$work/rows" >"$work/a" 2>"$work/a.err" || fail "tokenize with a GGUF file"
"$REWARD" tokenize --model "$work/hf" "$work/rows" >"$work/b" 2>"$work/b.err"
cmp "$work/a" "$work/b" || fail "other ids from the GGUF file than from its conversion"
grep -q "converting it into $work/cache/reward/" "$work/a.err" || fail "the conversion was not said"
expect 1 "score.weight is missing" "$REWARD" score --model $data/smollm.gguf "$work/rows"
grep -q converting "$work/out" && fail "converted twice"
expect 0 "" "$REWARD" train --model $data/smollm.gguf --data "$work/pairs" --out "$work/rm" --steps 1 --batch-size 4 --lr 1e-3
expect 0 "loads       yes" "$REWARD" inspect "$work/rm"
expect 0 '"score": ' "$REWARD" score --model "$work/rm" "$work/rows"
expect 0 "tokens" "$REWARD" stats --model $data/smollm.gguf "$work/texts"
expect 1 "cut short" "$REWARD" tokenize --model "$work/cut.gguf" "$work/rows"
[ "$(ls "$work/cache/reward" | wc -l)" = 1 ] || fail "the cache holds more than the one model: $(ls "$work/cache/reward")"
exit $bad
