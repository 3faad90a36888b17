#!/usr/bin/env bash
# Several processes under mpirun: the exchange alone, what the program says and does as one of several, and without MPI.
set -eu
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
build=$PWD/${BUILD:-build}

# the program needs no MPI, is no rank of itself, and says what is missing
[ -z "$(ldd "$reward" | grep -i libmpi || true)" ] || fail "the program is linked to MPI"
mkdir "$tmp/bare"
cp "$reward" "$tmp/bare/reward"
fails 1 "reward inspect: started as one of 2 ranks, but MPI cannot be loaded: there is no libreward_mpi.so" env OMPI_COMM_WORLD_SIZE=2 "$tmp/bare/reward" inspect tests/data/model/llama
fails 1 "started as one of 3 ranks" env SLURM_STEP_NUM_TASKS=3 "$tmp/bare/reward" inspect tests/data/model/llama
expect 0 "" env PMI_SIZE=1 "$tmp/bare/reward" inspect tests/data/model/llama
echo "int other;" | ${CC:-cc} -shared -x c - -o "$tmp/bare/libreward_mpi.so"
fails 1 "libreward_mpi.so is of another version" env PMI_SIZE=2 "$tmp/bare/reward" inspect tests/data/model/llama
need_mpi

for n in 2 3 4; do
  expect 0 ": $n ranks, $n here" ranks $n "$build/ranks/exchange"
  [ "$(wc -l <"$tmp/stdout")" = 1 ] || fail "$(cat "$tmp/out")"
done
expect 0 "one process: 1 ranks" ranks 1 "$build/ranks/exchange"
expect 7 "" ranks 3 "$build/ranks/exchange" abort
expect 137 "" timeout 20 "${mpirun[@]}" -n 3 "$build/ranks/exchange" die
# another launcher's count than MPI's own
expect 2 "started as one of 3 ranks, but Open MPI" env ASAN_OPTIONS=detect_leaks=0 PMI_SIZE=3 "$build/ranks/exchange"

# one message and one status, whatever number of ranks fails; --help once; other commands are of one process
once() { # once STATUS TEXT COMMAND…: TEXT on one line of stderr
  fails "$@"
  [ "$(grep -cF -- "$2" "$tmp/stderr")" = 1 ] || fail "${*:3}: expected '$2' once: $(cat "$tmp/stderr")"
}
once 2 "works in one process, and was started as 3 ranks" ranks 3 "$reward" inspect tests/data/model/llama
once 2 "'--nonsense': unknown option" ranks 3 "$reward" train --nonsense
expect 0 "usage: reward train" ranks 3 "$reward" train --help
[ "$(grep -c '^usage' "$tmp/stdout")" = 1 ] || fail "help of each rank"
exit $bad
