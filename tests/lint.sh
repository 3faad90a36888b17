#!/usr/bin/env bash
# Format (.clang-format), cppcheck and clang-tidy (.clang-tidy). Exit 77 (a skip) where the tools are not installed.
set -u
cd "$(dirname "$0")/.."
for tool in clang-format cppcheck clang-tidy; do command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }; done
bad=0
clang-format --dry-run -Werror $(git ls-files '*.c' '*.h' '*.cc' '*.cu') || bad=1
cppcheck --quiet --std=c11 --language=c --enable=warning,portability --error-exitcode=1 --inline-suppr -j "$(nproc)" \
  --suppress=nullPointerOutOfMemory --suppress=missingInclude -D__x86_64__ -Isrc -Iinclude -i src/format/parquet.cc src 2>&1 || bad=1

# One file of C: clang-tidy, unless it passed before with the same text in all that it includes.
tidy() {
  local flags=(-std=gnu11 -D_GNU_SOURCE= -DREWARD_VERSION='"lint"' -Isrc -Iinclude -Itests -I"$BUILD") model=(-include tests/lint_model.h) key
  [ "$1" = src/base/status.c ] && model=() # it defines what the model describes
  [[ $1 = src/compute/cpu/@(pairs|amx).c ]] && flags+=(-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mamx-tile -mamx-bf16)
  key=$LINT_DONE/$(cat .clang-tidy tests/lint.sh tests/lint_model.h $(gcc "${flags[@]}" -MM -MT '' "$1" | tr -d ':\\') | sha256sum | cut -c1-32)
  [ -e "$key" ] && return
  # the analyzer's budget for one function: at its default the whole takes five times as long and finds the same
  clang-tidy --quiet "$1" -- "${flags[@]}" "${model[@]}" -Xclang -analyzer-config -Xclang max-nodes=40000 \
    2>/dev/null | grep -E ' (error|warning): ' || touch "$key"
  [ -e "$key" ]
}
export -f tidy
export BUILD=${BUILD:-build}
export LINT_DONE=$BUILD/lint
mkdir -p "$LINT_DONE"
# kernels_baseline.c is the same source as the other levels' files; cuBLASLt's and MPI's headers are not everywhere
git ls-files 'src/*.c' 'tests/fuzz/*.c' 'bench/*.c' | grep -v '_avx[25]\|product_lt\|comm_mpi\|comm_nccl' | xargs -P "$(nproc)" -I{} bash -c 'tidy {}' || bad=1
exit $bad
