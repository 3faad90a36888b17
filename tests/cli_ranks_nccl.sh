#!/usr/bin/env bash
# Ranks by NCCL's plugin, over a stand-in for NCCL (tests/emu/nccl) and the emulated GPU: the exchange alone, begun by MPI
# and over TCP; training at any number of ranks as in one process; ranks that fail, die, or do not fit each other.
set -eu
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
build=$PWD/${BUILD:-build}
export REWARD_NCCL_LIBRARY=$build/emu/libreward_nccl.so REWARD_NCCL=1 REWARD_MEET_SECONDS=60 TMPDIR=$tmp
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 # what a failed start has taken goes with its process
port=$((20000 + $$ % 20000))

# tcp N COMMAND…: as torchrun starts it; $tmp/of.R is what rank R says, the status is the largest
tcp() {
  local n=$1 i status=0 pids=()
  port=$((port + 1))
  for ((i = 0; i < n; i++)); do
    RANK=$i LOCAL_RANK=$i WORLD_SIZE=${size:-$n} MASTER_ADDR=127.0.0.1 MASTER_PORT=$port TMPDIR=$tmp "${@:2}" >"$tmp/of.$i" 2>&1 &
    pids+=($!)
  done
  for i in "${pids[@]}"; do
    local s=0
    wait "$i" || s=$?
    [ $s -le $status ] || status=$s
  done
  cat "$tmp"/of.*
  rm "$tmp"/of.*
  return $status
}

# the exchange: parts of all sizes, from the host's memory and from a GPU's
for memory in "" FAKE_GPU_MEMORY=1; do
  expect 0 "NCCL 2.28.9, begun by TCP: 3 ranks, 3 here" tcp 3 env $memory "$build/ranks/exchange"
  expect 0 "NCCL 2.28.9, begun by TCP: 2 ranks, 2 here" tcp 2 env $memory "$build/ranks/exchange"
done
expect 7 "" tcp 3 "$build/ranks/exchange" abort
# the variables of torchrun and Slurm alone start nothing: programs that they start may call this one
expect 0 "one process: 1 ranks" env -u REWARD_NCCL RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=1 "$build/ranks/exchange"
expect 2 "NCCL cannot be loaded: there is no /nowhere.so" env REWARD_NCCL_LIBRARY=/nowhere.so RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=1 "$build/ranks/exchange"
expect 2 "REWARD_MEET_SECONDS gives more" env REWARD_MEET_SECONDS=1 RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$build/ranks/exchange"
expect 2 "NCCL needs a GPU for each rank: rank 2 of this machine, 2 GPUs" tcp 3 env FAKE_GPUS=2 "$build/ranks/exchange"
if command -v mpirun >/dev/null && [ -e "$build/libreward_mpi.so" ]; then
  for memory in "" FAKE_GPU_MEMORY=1; do
    expect 0 "NCCL 2.28.9, begun by Open MPI" ranks 4 env $memory "$build/ranks/exchange"
  done
  expect 7 "" ranks 3 "$build/ranks/exchange" abort
fi

# training, on the processor here, on the emulated GPU where it is built
python3 tests/ranks/make.py "$tmp"
train=("$reward" train --model tests/data/model/llama --data "$tmp/pairs.jsonl" --batch-size 8 --lr 1e-3 --seed 3 --threads 1 --tensorboard no --slices 4)
same() { cmp "$tmp/$1/model.safetensors" "$tmp/$2/model.safetensors" && same_metrics "$tmp/$1" "$tmp/$2"; }
devices=cpu
export REWARD_CUDA_LIBRARY=$build/emu/libreward-cuda.so
[ ! -e "$REWARD_CUDA_LIBRARY" ] || devices="cpu cuda"
for device in $devices; do
  steps=7
  [ $device = cpu ] || steps=3
  "${train[@]}" --quiet --device $device --steps $steps --save-every 2 --keep 2 --out "$tmp/$device-one" || fail "one process"
  for n in 2 3; do
    expect 0 "$n ranks by NCCL 2.28.9, begun by TCP, $n on this machine" tcp $n "${train[@]}" --device $device --steps $steps --save-every 2 --keep 2 --out "$tmp/$device-$n"
    same $device-one $device-$n
  done
  for f in "$tmp/$device-one"/checkpoint-*/state/model.safetensors; do cmp "$f" "${f/-one/-3}"; done
done
if [ "$devices" != cpu ]; then
  # a GPU's memory by itself, and a rank's own GPU by its number (the emulator has one)
  expect 0 "3 ranks by NCCL" tcp 3 env FAKE_GPU_MEMORY=1 "${train[@]}" --device cuda --steps 3 --out "$tmp/cuda-direct"
  same cuda-one cuda-direct
  expect 2 "cuda:1: there are 1 GPUs" tcp 2 env FAKE_GPUS=2 "${train[@]}" --device cuda --steps 3 --out "$tmp/x"
  expect 2 "cuda:1: NCCL has this rank on GPU 0; say cuda" tcp 2 "${train[@]}" --device cuda:1 --steps 3 --out "$tmp/x"
fi

# one message, all processes gone: a fault on one rank, and a rank that dies
once() { # STATUS TEXT COMMAND…
  expect "$@"
  [ "$(grep -c "^reward train: " "$tmp/out")" = 1 ] || fail "${*:3}: expected one message: $(cat "$tmp/out")"
  ! pgrep -fa "$tmp/x" || fail "processes are left"
}
once 2 "'--nonsense': unknown option" tcp 3 "${train[@]}" --quiet --steps 3 --out "$tmp/x" --nonsense
once 1 "none.jsonl" tcp 3 bash -c '[ $RANK = 2 ] && set -- "${@/pairs.jsonl/none.jsonl}"; exec "$@"' - "${train[@]}" --quiet --device cpu --steps 3 --out "$tmp/x"
tcp 3 "${train[@]}" --quiet --device cpu --steps 100000 --save-every 20 --out "$tmp/x" >"$tmp/said" 2>&1 &
all=$!
for i in $(seq 300); do [ ! -s "$tmp/x/metrics.jsonl" ] || break; sleep 0.1; done
kill -9 "$(pgrep -f "$tmp/x" | while read -r p; do ! tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | grep -qx RANK=2 || echo "$p"; done | tail -n 1)"
for i in $(seq 100); do kill -0 $all 2>/dev/null || break; sleep 0.1; done
! pgrep -fa "$tmp/x" || fail "a rank was killed, others are left: $(cat "$tmp/said")"
wait $all && fail "a rank was killed, and the run ended well"
grep -q "rank 2 of 3 is gone" "$tmp/said" || fail "a killed rank is not named: $(cat "$tmp/said")"
echo "ranks by NCCL's plugin, on $devices"
