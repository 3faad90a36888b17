#!/usr/bin/env bash
# The whole program on the GPU's backend, its kernels on the emulator (tests/emu): scores, training of every kind, kills
# and resumes, evaluations, merge, serve. Bits are the device's own: the same however rows are batched, near the CPU's.
# GPU=1, of tests/gpu.sh: on this machine's GPU instead.
. "$(dirname "$0")/lib.sh"
set -eu
name="the emulator" kills="0.7 1.5"
if [ -n "${GPU:-}" ]; then
  name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1) kills="1.5 2 2.5 3"
else
  export REWARD_CUDA_LIBRARY=$PWD/${BUILD:-build}/emu/libreward-cuda.so
fi
python3 tests/tiny_model.py "$tmp/rm"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(1)
words = lambda n: " ".join(random.choice("red green blue round square big small".split()) for _ in range(n))
with open(sys.argv[1] + "/pairs.jsonl", "w") as pairs, open(sys.argv[1] + "/rows.jsonl", "w") as rows:
    for i in range(6):
        p = words(random.randrange(4, 12))
        pairs.write(json.dumps({"prompt": p, "chosen": words(random.randrange(1, 5)), "rejected": words(random.randrange(1, 5))}) + "\n")
        rows.write(json.dumps({"prompt": p, "responses": [words(random.randrange(1, 4)) for _ in range(3)]}) + "\n")
E2
near() { # BOUND A B: two files of scored rows
  python3 - "$@" <<'E2'
import json, sys
bound = float(sys.argv[1])
figures = lambda path: [x for line in open(path) for k, v in json.loads(line).items() if "score" in k for x in (v if isinstance(v, list) else [v])]
a, b = figures(sys.argv[2]), figures(sys.argv[3])
worst = max(abs(x - y) / max(1, abs(x)) for x, y in zip(a, b, strict=True))
assert a and worst <= bound, f"differ by {worst}, allowed {bound}"
E2
}
score() { "$reward" score --quiet --model "$tmp/rm" "$tmp/rows.jsonl" "$@"; } # OPTION…

# which device: a GPU where there is one, this processor by name; f32 by name
expect 0 " $name in bf16" "$reward" score --model "$tmp/rm" "$tmp/rows.jsonl" -o "$tmp/bf16.jsonl"
expect 0 " $name in f32" "$reward" score --model "$tmp/rm" "$tmp/rows.jsonl" -o "$tmp/f32.jsonl" --device cuda --dtype f32
score --device cpu -o "$tmp/cpu.jsonl"
cmp <(score --dtype f32) "$tmp/cpu.jsonl" # auto takes no GPU's f32
near 1e-5 "$tmp/cpu.jsonl" "$tmp/f32.jsonl"
near 0.5 "$tmp/cpu.jsonl" "$tmp/bf16.jsonl"
fails 2 "there are 1 GPUs" score --device cuda:3
fails 1 "there is no" env REWARD_CUDA_LIBRARY=/nowhere.so "$reward" score --model "$tmp/rm" "$tmp/rows.jsonl" --device cuda

# a conversation's bits: alone, in company, sharing its prompt
for options in "--share no" "--batch-tokens 1" "--batch-tokens 64 --threads 1"; do cmp "$tmp/bf16.jsonl" <(score $options); done

# training: near the CPU's, and the same bits after kills
train() { # OUT OPTION…
  "$reward" train --quiet --model "$tmp/rm" --data "$tmp/pairs.jsonl" --batch-size 3 --steps 3 --lr 1e-3 --seed 3 --tensorboard no --out "$@" 2>>"$tmp/warnings" ||
    { cat "$tmp/warnings"; fail "train $*"; }
}
train "$tmp/exact" --device cuda --dtype f32
train "$tmp/cpu" --device cpu --dtype f32 # some processors would train in bf16 by themselves
near 1e-4 <("$reward" score --quiet --device cpu --model "$tmp/cpu" "$tmp/rows.jsonl") <("$reward" score --quiet --device cpu --model "$tmp/exact" "$tmp/rows.jsonl")
# ... and however passes are cut, once they hold a piece of the gradients' sums: 4,096 tokens
if [ -n "${GPU:-}" ]; then
  python3 -c 'import json, random
ids = lambda n: [random.randrange(5, 200) for _ in range(random.randrange(1, n))]
for _ in range(24):
    p = ids(150)
    print(json.dumps({"chosen_ids": p + ids(350), "rejected_ids": p + ids(350)}))' >"$tmp/long.jsonl"
  for tokens in 4096 8192 99999; do
    "$reward" train --quiet --model "$tmp/rm" --data "$tmp/long.jsonl" --batch-size 24 --steps 2 --lr 1e-3 --tensorboard no --golden none --out "$tmp/t$tokens" --batch-tokens $tokens
    cmp "$tmp/t4096/model.safetensors" "$tmp/t$tokens/model.safetensors"
  done
fi
for options in "--batch-tokens 40" "--recompute mlp" "--device cuda:host-states --optimizer-states 8bit" "--lora-rank 4 --lora-dropout 0.1" "--freeze-layers 1 --eval $tmp/pairs.jsonl --keep best"; do
  train "$tmp/whole" $options --force
  rm -rf "$tmp/cut"
  for at in $kills; do
    timeout --signal=KILL $at "$reward" train --quiet --model "$tmp/rm" --data "$tmp/pairs.jsonl" --batch-size 3 --steps 3 --lr 1e-3 --seed 3 \
      --tensorboard no --out "$tmp/cut" $options --save-every 1 --resume 2>/dev/null || true
  done
  train "$tmp/cut" $options --save-every 1 --resume
  for f in model.safetensors adapter_model.safetensors reward.json; do [ ! -e "$tmp/whole/$f" ] || cmp "$tmp/whole/$f" "$tmp/cut/$f"; done
  same_metrics "$tmp/whole" "$tmp/cut"
done
# device memory: predicted beside taken, of every way of training
for options in "" "--recompute mlp" "--recompute full" "--optimizer-states 8bit" "--lora-rank 8" "--freeze-layers 1"; do tests/cuda/memory.sh "$reward" small $options >"$tmp/memory"; done
expect 0 "peak_memory_bytes" "$reward" train --model "$tmp/rm" --data "$tmp/pairs.jsonl" --out "$tmp/none" --dry-run
emulated() { # what takes a device of any memory, and what the script for a GPU would do
  python3 tests/cuda/hollow_model.py small "$tmp/small"
  dry() { "$reward" train --quiet --model "$tmp/small" --data "$tmp/small/pairs.jsonl" --out "$tmp/none" --dry-run --device cuda --golden none "$@"; } # OPTION…
  for r in no mlp full; do # auto recomputes as little as the device's memory allows
    room=$(dry --recompute $r | awk '$1 == "device_memory_bytes" { print $2 }')
    EMU_TOTAL=$((room + 9999)) dry | grep -qx "recompute  *$r" || fail "auto: not $r in $room bytes"
  done
  EMU_TOTAL=$((room - 9999)) fails 1 "memory of the device" dry
  # the script for a machine with a GPU: its table, of what succeeds, fails and is missing
  mkdir "$tmp/gpu"
  for f in "$reward" "${BUILD:-build}/emu/bench-cuda"; do ln -s "$(realpath "$f")" "$tmp/gpu"; done
  export STEPS="limits layer-27b memory-8b products" MODELS="8b=small layer=tiny" SIZE=64 TOKENS=40
  expect 1 "1 failed, " tests/gpu.sh "$tmp/gpu"
  for said in "limits  *rc   0 .* TFLOP/s" "layer-27b  *rc   0 .* tokens/s" "memory-8b  *rc   0 .* predicted 0.00. GB, taken" "products: .* is not here"; do
    grep -q "^$said" "$tmp/stdout" || fail "gpu.sh: no line '$said' in $(cat "$tmp/out")"
  done
  STEPS=layer-8b MODELS=layer=round expect 1 "layer-8b       rc   2" tests/gpu.sh "$tmp/gpu"
  LIMIT=3 expect 1 "4 failed, " tests/gpu.sh "$tmp/gpu"
  [ "$(grep -c "no time left" "$tmp/stdout")" = 3 ] || fail "gpu.sh: $(cat "$tmp/out")"
  unset STEPS MODELS SIZE TOKENS
}
[ -n "${GPU:-}" ] || emulated

# what a GPU trained is opened by a processor, and the other way round
for device in cpu cuda; do "$reward" eval --quiet --suite pairs --data "$tmp/pairs.jsonl" --model "$tmp/whole" --device $device -o "$tmp/$device.json" >/dev/null; done
for device in cpu cuda; do "$reward" score --quiet --model "$tmp/cpu" "$tmp/rows.jsonl" --device $device >/dev/null; done
train "$tmp/lora" --lora-rank 4
"$reward" merge --quiet "$tmp/lora" -o "$tmp/merged"
near 0.5 <("$reward" score --quiet --model "$tmp/lora" "$tmp/rows.jsonl") <("$reward" score --quiet --model "$tmp/merged" "$tmp/rows.jsonl")

# the server's scores are score's, also behind prompts that it has kept
"$reward" serve --model "$tmp/rm" --listen 127.0.0.1:0 --prefix-cache 64 >"$tmp/url" 2>"$tmp/serve.err" &
server=$!
until [ -s "$tmp/url" ] || ! kill -0 $server 2>/dev/null; do sleep 0.05; done
url=$(cat "$tmp/url")
ask() { # URL [FILE]: the answer; a machine with a GPU may lack curl
  python3 -c 'import sys, urllib.request as r
data = open(sys.argv[2], "rb").read() if len(sys.argv) > 2 else None
sys.stdout.buffer.write(r.urlopen(r.Request(sys.argv[1], data, {"Content-Type": "application/x-ndjson"})).read())' "$@"
}
for turn in 1 2; do
  ask "$url/v1/rewards" "$tmp/rows.jsonl" >"$tmp/served" || cat "$tmp/serve.err"
  cmp "$tmp/served" "$tmp/bf16.jsonl"
done
ask "$url/metrics" | grep -q '^reward_prefix_found_tokens_total.* [1-9]' || fail "no prompt was found again"
kill $server
wait $server
echo "the whole program on $name: as on the processor"
