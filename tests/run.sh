#!/usr/bin/env bash
# run.sh - every test of the project: plain, under ASan+UBSan, what has threads under TSan; ends with a line of counts.
#
# usage: tests/run.sh [quick]    (from `make test`, `make quick`)
# T is a pattern (of bash's =~) of the names of tests to run: make test T=rows, T='^test_rows', T='^asan cli_'. Only what
# these need is built. BUILD, ASAN, TSAN name the build folders, LIMIT a test's seconds, JOBS how many run at once.
# A test that needs what a machine may lack (../shared, a CPU level) is skipped and counted as skipped.
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build} ASAN=${ASAN:-build-asan} TSAN=${TSAN:-build-tsan}
LIMIT=${LIMIT:-900} JOBS=${JOBS:-$(nproc)}
QUICK='^(test_|check_layers|cli_formats|cli_golden)' # with BUILD alone: under a minute where little is to be built
THREADED='^test_(base_thread|api|rows_files|session|serve_client)$' # run under TSan, too
passed=0 failed=0 skipped=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# limited LOG COMMAND…: the command in a process group of its own; one that overruns LIMIT is listed and ended.
limited() {
  local log=$1 pid watch status
  shift
  setsid --wait "$@" >"$log" 2>&1 &
  pid=$!
  (
    sleep "$LIMIT" & trap 'kill $!; exit' TERM
    wait
    { echo "overran $LIMIT seconds; its processes:"; ps -e -o pid,ppid,sid,stat,wchan:20,etime,args --forest; } >>"$log"
    pkill -KILL -s "$(ps -o pid= --ppid $pid | tr -d ' ' | head -n 1)" || kill -KILL $pid
  ) >/dev/null 2>&1 &
  watch=$!
  wait $pid
  status=$?
  kill $watch 2>/dev/null
  wait $watch 2>/dev/null
  return $status
}

# counts of a cmocka program from its output: each of its tests counts
cmocka_counts() {
  local ok bad skip
  ok=$(grep -ac '^\[       OK \]' "$1") skip=$(grep -ac '^\[  SKIPPED \] [a-z_]*$' "$1")
  [ "$skip" -gt 0 ] && skip=$((skip / 2)) # cmocka names a skipped test once more at the end
  passed=$((passed + ok)) skipped=$((skipped + skip))
  detail="$ok passed, $skip skipped, "
}

# one NAME COMMAND…: a test that is its exit status, 77 a skip; or a cmocka program (test_…).
one() {
  local name=$1 log="$logs/$BASHPID" began=$SECONDS status detail=
  shift
  limited "$log" "$@"
  status=$?
  case $name in *test_*) cmocka_counts "$log" ;; esac
  if [ $status -eq 0 ]; then
    [ -n "$detail" ] || passed=$((passed + 1))
    echo "ok    $name (${detail}$((SECONDS - began)) s)"
  elif [ $status -eq 77 ]; then
    skipped=$((skipped + 1)); echo "skip  $name: $(tail -n 1 "$log")"
  else
    failed=$((failed + 1)); echo "FAIL  $name (exit $status)"; grep -av '^\[ RUN\|^\[       OK' "$log" | tail -n 30 | sed 's/^/      /'
  fi
}

# add NAME FOLDER TARGET COMMAND…: a test that needs TARGET of the build in FOLDER ("" nothing), if its name is asked for
names=() folders=() targets=() commands=()
add() {
  [[ $1 =~ ${T:-} ]] && { [ "${mode:-}" != quick ] || [[ $1 =~ $QUICK ]]; } || return 0
  names+=("$1") folders+=("$2") targets+=("$3") commands+=("$(printf '%q ' "${@:4}")")
}

# build FOLDER SANITIZERS: what the tests that were added need of it
build() {
  local want=() i
  for i in "${!names[@]}"; do [ "${folders[i]}" != "$1" ] || [ -z "${targets[i]}" ] || want+=("${targets[i]}"); done
  [ ${#want[@]} -gt 0 ] || return 0
  LIMIT=2400 one "build in $1" make -s -k -j"$JOBS" WERROR="${WERROR:-1}" BUILD="$1" SAN="$2" $(printf '%s\n' "${want[@]}" | sort -u)
}

mode=${1:-}
export BASH_ENV=$PWD/tests/on_error.sh # a script that ends at a failing command says which
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # PyTorch's: two tests that each take all cores wait for each other
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:allocator_may_return_null=1
add "lint" "$BUILD" "$BUILD/commit.h" tests/lint.sh
add "check-ops" "$BUILD" "$BUILD/check-ops" "$BUILD/check-ops"
for f in tests/test_*.c; do
  t=$(basename "$f" .c)
  add "$t" "$BUILD" "$BUILD/tests/$t" "$BUILD/tests/$t"
done
# The CPU levels that this machine may lack, in software (tests/emu/cpu).
add "emulated CPU check-ops" "$BUILD" "$BUILD/emu-cpu/check-ops" "$BUILD/emu-cpu/check-ops" amx avx512bf16 avx512
for t in test_model test_lora test_heads; do
  add "emulated CPU $t" "$BUILD" "$BUILD/emu-cpu/$t" "$BUILD/emu-cpu/$t"
done
add "emulated CPU test_model, avx512bf16" "$BUILD" "$BUILD/emu-cpu/test_model" env REWARD_CPU_LEVEL=avx512bf16 "$BUILD/emu-cpu/test_model"
# The CUDA backend's kernels on the emulator, in four orders; whole models; bugs planted in it; and by nvcc, where it is.
for order in forward reverse 1 2; do
  add "emu check-cuda, order $order" "$BUILD" "$BUILD/emu/check-cuda" env EMU_ORDER=$order "$BUILD/emu/check-cuda"
done
for device in cuda cuda:f32; do # whole small models of every family against PyTorch's records
  add "emu check-models, $device" "$BUILD" "$BUILD/check-models $BUILD/emu/libreward-cuda.so" \
    env REWARD_CUDA_LIBRARY="$PWD/$BUILD/emu/libreward-cuda.so" "$BUILD/check-models" $device 2
done
add "emu plants" "$BUILD" "$BUILD/emu/check-cuda $BUILD/emu-tsan/check-attention $BUILD/emu-tsan/tests/cuda/check_attention.o $BUILD/emu-tsan/tests/cuda/device.o" \
  tests/cuda/plants.sh "$BUILD"
# One architecture: each takes minutes. `make cuda` compiles for all.
! command -v nvcc >/dev/null || add "cuda, without spills" "" "" \
  make -s -j"$JOBS" BUILD="$BUILD/nvcc" CUDA_ARCH=-gencode=arch=compute_90a,code=sm_90a "$BUILD/nvcc/libreward-cuda.so"
! command -v nvcc >/dev/null || add "NCCL's plugin" "" "" make -s WERROR=1 BUILD="$BUILD/nvcc" nccl # nothing without nccl.h
for f in tests/test_*.c; do
  t=$(basename "$f" .c)
  add "asan $t" "$ASAN" "$ASAN/tests/$t" "$ASAN/tests/$t"
  [[ ! $t =~ $THREADED ]] || add "tsan $t" "$TSAN" "$TSAN/tests/$t" "$TSAN/tests/$t"
done
for t in test_model test_lora test_heads test_session test_prefix; do add "guard $t" "$BUILD" "$BUILD/guard/$t" "$BUILD/guard/$t"; done
# A GPU's kernels on the emulator (tests/emu), its threads in three orders and under both sanitizers.
for o in forward reverse 7; do
  add "emulated check-attention, $o" "$BUILD" "$BUILD/emu/check-attention" env EMU_ORDER=$o "$BUILD/emu/check-attention" quick
done
add "asan emulated check-cuda" "$BUILD" "$BUILD/emu-asan/check-cuda" "$BUILD/emu-asan/check-cuda" quick
add "asan emulated check-attention" "$BUILD" "$BUILD/emu-asan/check-attention" "$BUILD/emu-asan/check-attention" quick
add "tsan emulated check-cuda" "$BUILD" "$BUILD/emu-tsan/check-cuda" "$BUILD/emu-tsan/check-cuda" once
add "tsan emulated check-attention" "$BUILD" "$BUILD/emu-tsan/check-attention" "$BUILD/emu-tsan/check-attention" race
for f in tests/fuzz/fuzz_*.c; do
  t=$(basename "$f" .c) t=${t#fuzz_}
  add "asan corpus of $t" "$ASAN" "$ASAN/replay/$t" "$ASAN/replay/$t" tests/fuzz/corpus/"$t"/*
done
for f in tests/cli_*.sh; do
  t=$(basename "$f" .sh) target=all
  [ "$t" != cli_guard ] || target=reward-guard
  [[ $t != cli_ranks* ]] || target="all ranks"
  [[ $t != cli_cuda* ]] || target="all $BUILD/emu/libreward-cuda.so $BUILD/emu/bench-cuda"
  [ "$t" != cli_ranks_nccl ] || target="all ranks $BUILD/emu/libreward_nccl.so $BUILD/emu/libreward-cuda.so"
  add "$t" "$BUILD" "${target/#reward/$BUILD\/reward}" env BUILD="$BUILD" bash "$f"
  [ "$t" != cli_ranks_nccl ] || target="all ranks $ASAN/emu/libreward_nccl.so"
  [[ $t != cli_cuda* ]] || continue # the emulator changes stacks, which is not for a sanitizer that does not know of it
  [[ $t != @(cli_ranks_hosts|cli_slurm) ]] || continue # these wait for links and launchers; others run the same code
  add "asan $t" "$ASAN" "${target/#reward/$ASAN\/reward}" env BUILD="$ASAN" FEWER=1 bash "$f"
done
for f in tests/check_*.py tests/check_*.sh; do add "$(basename "$f")" "$BUILD" all env BUILD="$BUILD" "$f"; done

build "$BUILD" ""
build "$ASAN" '-fsanitize=address,undefined -fno-sanitize-recover=all'
build "$TSAN" -fsanitize=thread
# several at once, each with counts of its own; what one prints is printed whole
for i in "${!names[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n || true; done
  {
    passed=0 failed=0 skipped=0
    eval "one ${names[i]@Q} ${commands[i]}" >"$logs/$i.text"
    cat "$logs/$i.text"
    echo "$passed $failed $skipped" >"$logs/$i.counts"
  } &
done
wait
for i in "${!names[@]}"; do
  read -r p f s <"$logs/$i.counts" || p=0 f=1 s=0
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
