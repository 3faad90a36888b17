#!/usr/bin/env bash
# A folder of src/ includes only folders below it, messages name fields, each header compiles alone, and a machine that is no
# x86-64 leaves out the kernels of x86-64 alone.
set -eu
cd "$(dirname "$0")/.."
order="base format data text compute model report eval train curate pages serve api cli"
bad=0
rank() { local i=0 f; for f in $order; do [ "$f" = "$1" ] && echo $i && return; i=$((i + 1)); done; echo 99; }
while IFS=: read -r file include; do
  from=$(echo "$file" | cut -d/ -f2) to=${include%%/*}
  if [ "$(rank "$to")" -gt "$(rank "$from")" ]; then
    echo "$file includes $include: $from may not look at $to"; bad=1
  fi
done < <(grep -roE '#include "[a-z]+/[^"]*"' src | sed 's/#include "//; s/"$//')
# the library names an option's field, FIELD(max_length); only the program, and the table of options, know its option
flags=$(grep -rnE '"[^"]*--[a-z]' src --include='*.c' | grep -vE '^src/(cli/|report/style\.c|pages/model_card\.c|train/(sweep|options)\.c)|`reward |--repo-type|--local-dir|--pooler-config|with `--seed' || true)
[ -z "$flags" ] || { echo "an option's name in a message of the library: $flags"; bad=1; }
for h in src/*/*.h src/curate/*/*.h; do
  echo "#include \"${h#src/}\"" | ${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE= -Isrc -Iinclude -fsyntax-only -x c - || { echo "$h does not compile alone"; bad=1; }
done
left=$(comm -23 <(ls src/*/*.c src/*/*/*.c | sort) <(make -pn X86= 2>/dev/null | sed -n 's/^SRC := //p' | tr ' ' '\n' | sort))
left=$(grep -vE '^src/(base/comm_(mpi|nccl)|compute/cuda/.*|compute/cpu/(amx|pairs|kernels_avx2|kernels_avx512))\.c$' <<<"$left" || true)
[ -z "$left" ] || { echo "left out where the machine is no x86-64: $left"; bad=1; }
exit $bad
