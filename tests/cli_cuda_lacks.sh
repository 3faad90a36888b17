#!/usr/bin/env bash
# What --device cuda says where something is missing, and what to do about it: the library, cuBLAS, one of this build; a
# driver, a newer one, a GPU, a newer one, memory. The device is the emulator's (tests/emu), which can be told to lack things.
. "$(dirname "$0")/lib.sh"
set -eu
export REWARD_CUDA_LIBRARY=$PWD/${BUILD:-build}/emu/libreward-cuda.so
python3 tests/tiny_model.py "$tmp/rm"
python3 - "$tmp/rows.jsonl" <<'E2'
import json, sys
with open(sys.argv[1], "w") as rows:
    for n in range(6):
        rows.write(json.dumps({"prompt": "red green", "chosen": "blue round " * (n + 1), "rejected": "big square"}) + "\n")
E2
score=("$reward" score --model "$tmp/rm" "$tmp/rows.jsonl")
lacks() { # SETTING TEXT…
  local setting=$1 text
  for text in "${@:2}"; do fails 1 "$text" env "$setting" "${score[@]}" --device cuda; done
}
lacks REWARD_CUDA_LIBRARY=/nowhere.so "--device cuda: there is no /nowhere.so beside this program" "run \`make cuda\` where CUDA's nvcc is" "or use --device cpu"
echo 'int cublasLtCreate(void) { return 0; }' | gcc -x c -shared -fPIC -Wl,-soname,libcublasLt.so.99 -o "$tmp/cublas.so" -
echo 'int cublasLtCreate(void); int reward_cuda_open(void) { return cublasLtCreate(); }' >"$tmp/needs.c"
gcc -shared -fPIC -o "$tmp/needs.so" "$tmp/needs.c" "$tmp/cublas.so"
lacks REWARD_CUDA_LIBRARY="$tmp/needs.so" "libcublasLt.so.99: cannot open shared object file" "with NVIDIA's cuBLAS 13 where the system looks for libraries"
lacks REWARD_CUDA_LIBRARY="$tmp/cublas.so" "of another build"
lacks EMU_DRIVER=0 "no NVIDIA driver here; install it, or use --device cpu"
lacks EMU_DRIVER=12040 "the NVIDIA driver knows CUDA 12.4 at most, this build needs 13.0; install a newer driver, or use --device cpu"
lacks EMU_DEVICES=0 "no GPU: the driver lists none; use --device cpu"
lacks EMU_CAPABILITY=75 "the emulator is of compute capability 7.5; at least 8.0 is needed"
fails 2 "there are 1 GPUs" "${score[@]}" --device cuda:3
for setting in REWARD_CUDA_LIBRARY=/nowhere.so EMU_DRIVER=0 EMU_DEVICES=0 EMU_CAPABILITY=75; do # auto does without
  expect 0 "" env "$setting" "${score[@]}" --quiet
  cmp "$tmp/stdout" <("${score[@]}" --quiet --device cpu)
done
# without a driver auto does not look for the library, which brings 0.6 GB of others
env -u REWARD_CUDA_LIBRARY LD_DEBUG=libs "${score[@]}" --quiet >"$tmp/stdout" 2>"$tmp/opened"
grep -q "find library=libcuda.so.1" "$tmp/opened" || fail "auto looked for no driver"
grep -q "calling init: .*/libcuda.so.1" "$tmp/opened" || ! grep -q "libreward-cuda.so" "$tmp/opened" ||
  fail "auto looked for libreward-cuda.so without a driver"
lacks EMU_MEMORY=2000 "memory"   # not for the weights
lacks EMU_MEMORY=60000 "memory"  # not for what a pass works in
fails 1 "GB more memory of the device and 0 GB are available; use --optimizer-states 8bit, --recompute full, a smaller" \
  env EMU_TOTAL=1000 "$reward" train --model "$tmp/rm" --data "$tmp/rows.jsonl" --out "$tmp/none" --device cuda
[ ! -e "$tmp/none" ] || fail "a run that was refused has made its folder"
