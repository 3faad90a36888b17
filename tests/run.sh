#!/usr/bin/env bash
# run.sh - every test of the project: plain and under ASan+UBSan; ends with one line of counts.
#
# usage: tests/run.sh            (from `make test`; BUILD and ASAN name the build folders, LIMIT a test's seconds)
# A test that needs what a machine may lack (../shared, a CPU level) is skipped and counted as skipped.
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build} ASAN=${ASAN:-build-asan}
SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'
LIMIT=${LIMIT:-900}
jobs=$(nproc)
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

# one NAME COMMAND…: a test that is its exit status; 77 is a skip.
one() {
  local name=$1 log="$logs/one" status
  shift
  limited "$log" "$@"
  status=$?
  if [ $status -eq 0 ]; then
    passed=$((passed + 1)); echo "ok    $name"
  elif [ $status -eq 77 ]; then
    skipped=$((skipped + 1)); echo "skip  $name: $(tail -n 1 "$log")"
  else
    failed=$((failed + 1)); echo "FAIL  $name (exit $status)"; tail -n 30 "$log" | sed 's/^/      /'
  fi
}

# unit FOLDER LABEL: the cmocka programs of a build; each of their tests counts.
unit() {
  local t name log ok bad skip status
  for t in tests/test_*.c; do
    name=$(basename "$t" .c) log="$logs/$name"
    limited "$log" "$1/tests/$name"
    status=$?
    ok=$(grep -ac '^\[       OK \]' "$log") bad=$(grep -ac '^\[  FAILED  \] [a-z_]*$' "$log") skip=$(grep -ac '^\[  SKIPPED \] [a-z_]*$' "$log")
    [ $skip -gt 0 ] && skip=$((skip / 2)) # cmocka names a skipped test once more at the end
    passed=$((passed + ok)) skipped=$((skipped + skip))
    if [ $status -ne 0 ]; then
      failed=$((failed + 1)); echo "FAIL  $2 $name (exit $status)"; grep -av '^\[ RUN\|^\[       OK' "$log" | tail -n 30 | sed 's/^/      /'
    else
      echo "ok    $2 $name: $ok passed, $skip skipped"
    fi
  done
}

make=(make -s -j"$jobs" WERROR="${WERROR:-1}")
one "build" "${make[@]}" BUILD="$BUILD" SAN= all tests
one "build with sanitizers" "${make[@]}" BUILD="$ASAN" SAN="$SANITIZE" all tests
one "lint" tests/lint.sh
one "check-ops" "$BUILD/check-ops"
unit "$BUILD" ""
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
unit "$ASAN" "asan"
for t in tests/fuzz/fuzz_*.c; do
  name=$(basename "$t" .c) name=${name#fuzz_}
  one "asan corpus of $name" "$ASAN/replay/$name" tests/fuzz/corpus/"$name"/*
done
export BASH_ENV=$PWD/tests/on_error.sh # a script that ends at a failing command says which
for t in tests/cli_*.sh; do
  one "$(basename "$t" .sh)" env BUILD="$BUILD" bash "$t"
  one "asan $(basename "$t" .sh)" env BUILD="$ASAN" bash "$t"
done
for t in tests/check_*.py tests/check_*.sh; do [ -e "$t" ] && one "$(basename "$t")" env BUILD="$BUILD" "$t"; done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
