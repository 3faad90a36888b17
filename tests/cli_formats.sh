#!/usr/bin/env bash
# `reward convert` and `reward inspect` as users call them: what they print, write and return.
set -u
. "$(dirname "$0")/lib.sh"
data=tests/data/format

expect 0 "converts    yes" "$reward" inspect $data/smollm.gguf
expect 0 '"llama.block_count" 2' "$reward" inspect $data/smollm.gguf
expect 0 "written" "$reward" convert $data/smollm.gguf -o "$tmp/hf"
expect 2 "--force" "$reward" convert $data/smollm.gguf -o "$tmp/hf"
expect 0 "written" "$reward" convert $data/smollm.gguf -o "$tmp/hf" --force --save-dtype bf16
expect 0 "20 BF16" "$reward" inspect "$tmp/hf"
expect 0 "loads       for train" "$reward" inspect "$tmp/hf"
expect 0 'bos "<|im_start|>"' "$reward" inspect "$tmp/hf"
expect 0 "are 27 tokens" "$reward" inspect "$tmp/hf"
expect 0 "model.layers.1.mlp.down_proj.weight" "$reward" inspect "$tmp/hf" --tensors
expect 0 "loads       yes" "$reward" inspect tests/data/model/gemma2
expect 0 "window      16 tokens in 2 of 4 layers" "$reward" inspect tests/data/model/gemma2
expect 0 "LongRoPE: other divisors beyond 20 tokens" "$reward" inspect tests/data/model/llama_long
expect 0 "v_head.summary.4.weight [1, 40]" "$reward" inspect tests/data/model/grm_mlp
expect 0 "lm_head.weight [200, 32] (of the language model)" "$reward" inspect tests/data/model/logit
expect 0 "head        score.weight [1, 32]" "$reward" inspect tests/data/model/llama/model.safetensors
expect 0 "19 attributes, weighed by the prompt" "$reward" inspect tests/data/model/armorm
expect 0 "of which the last 5" "$reward" inspect tests/data/model/nemotron9
expect 0 "token 199, appended" "$reward" inspect tests/data/model/internlm2
expect 0 "YaRN by 4 from 128 tokens" "$reward" inspect tests/data/model/qwen2_yarn
expect 0 "dynamic scaling" "$reward" inspect tests/data/model/internlm2
expect 2 "is needed" "$reward" inspect
expect 1 "nothing-here" "$reward" inspect "$tmp/nothing-here"
expect 1 "safetensors file" "$reward" inspect README.md

head -c 20000 $data/smollm.gguf >"$tmp/cut.gguf"
expect 1 "cut short" "$reward" inspect "$tmp/cut.gguf"
expect 1 "cut short" "$reward" convert "$tmp/cut.gguf" -o "$tmp/none"
[ ! -e "$tmp/none" ] || fail "a failed conversion left a folder"
expect 1 "general.architecture" "$reward" convert $data/blocks.gguf -o "$tmp/none"
cp -r "$tmp/hf" "$tmp/broken"
head -c 5000 "$tmp/hf/model.safetensors" >"$tmp/broken/model.safetensors"
expect 1 "loads       no" "$reward" inspect "$tmp/broken"

# a folder's weights as safetensors
mkdir "$tmp/pickled"
cp tests/data/torch/pytorch_model* "$tmp/pickled"
cp tests/data/model/llama/config.json "$tmp/pickled"
cp "$tmp/hf/tokenizer.json" "$tmp/hf/tokenizer_config.json" "$tmp/pickled"
expect 0 "written" "$reward" convert "$tmp/pickled" -o "$tmp/plain"
python3 - "$tmp/plain/model.safetensors" tests/data/torch/values.safetensors <<'END' || fail "other tensors than those of the pickle"
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: (v["dtype"], v["shape"], data[8 + n:][slice(*v["data_offsets"])]) for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
sys.exit(tensors(sys.argv[1]) != tensors(sys.argv[2]))
END
cmp "$tmp/hf/tokenizer.json" "$tmp/plain/tokenizer.json" || fail "another tokenizer"
expect 0 "written" "$reward" convert tests/data/model/llama_bias -o "$tmp/wide" --save-dtype f32
expect 0 "float32" cat "$tmp/wide/config.json"
printf '{"input_ids": [5, 6, 7]}\n' >"$tmp/ids"
for m in tests/data/model/llama_bias "$tmp/wide"; do "$reward" score --model $m "$tmp/ids" -q >"$tmp/score.$(basename $m)" || fail "score with $m"; done
cmp "$tmp/score.llama_bias" "$tmp/score.wide" || fail "other scores from weights that were widened"
expect 1 "nothing-here" "$reward" convert "$tmp/nothing-here" -o "$tmp/none"
expect 2 "reward merge" "$reward" convert tests/data/lora/llama -o "$tmp/none"

# a GGUF file as --model is converted once
export XDG_CACHE_HOME=$tmp/cache
printf '{"text": "hello there"}\n' >"$tmp/rows"
printf '{"prompt": "a", "chosen": "hello", "rejected": "there"}\n' >"$tmp/texts"
for i in 1 2 3 4; do printf '{"chosen_ids": [5, 6, %d], "rejected_ids": [5, %d]}\n' $i $i; done >"$tmp/pairs"
"$reward" tokenize --model $data/smollm.gguf "$tmp/rows" >"$tmp/a" 2>"$tmp/a.err" || fail "tokenize with a GGUF file"
"$reward" tokenize --model "$tmp/hf" "$tmp/rows" >"$tmp/b" 2>"$tmp/b.err"
cmp "$tmp/a" "$tmp/b" || fail "other ids from the GGUF file than from its conversion"
grep -q "converting it into $tmp/cache/reward/" "$tmp/a.err" || fail "the conversion was not said"
expect 1 "score.weight is missing" "$reward" score --model $data/smollm.gguf "$tmp/rows"
grep -q converting "$tmp/out" && fail "converted twice"
expect 0 "" "$reward" train --model $data/smollm.gguf --data "$tmp/pairs" --out "$tmp/rm" --steps 1 --batch-size 4 --lr 1e-3
expect 0 "loads       yes" "$reward" inspect "$tmp/rm"
expect 0 '"score": ' "$reward" score --model "$tmp/rm" "$tmp/rows"
expect 0 "tokens" "$reward" stats --model $data/smollm.gguf "$tmp/texts"
expect 1 "cut short" "$reward" tokenize --model "$tmp/cut.gguf" "$tmp/rows"
[ "$(ls "$tmp/cache/reward" | wc -l)" = 1 ] || fail "the cache holds more than the one model: $(ls "$tmp/cache/reward")"
exit $bad
