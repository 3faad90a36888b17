#!/usr/bin/env bash
# plants.sh - a test of the emulator's tests: bugs planted in the kernels, each of which check-cuda must find.
#
# usage: plants.sh FOLDER   FOLDER: a build with emu/check-cuda. A plant is a file and an edit of it by sed.
set -u
cd "$(dirname "$0")/../.."
B=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CXX=${CXX:-g++} K=src/compute/cuda missed=0
flags="-std=gnu++17 -O1 -g -w -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden -ffunction-sections -I$work -Isrc -Iinclude -Itests/emu"

# plant NAME FILE EDIT…: compiles the unit (FILE, or norms for a header) from the edited copy, links, runs
plant() {
  local name=$1 file=$2 unit=${2%.*} found=
  shift 2
  [ "$file" = vec.h ] && unit=norms
  rm -rf "$work/compute" && mkdir -p "$work/compute/cuda"
  sed -E "$@" $K/$file >"$work/compute/cuda/$file"
  cmp -s $K/$file "$work/compute/cuda/$file" && { echo "FAIL $name: the edit changes nothing"; missed=$((missed + 1)); return; }
  [ $file = $unit.cu ] || cp $K/$unit.cu "$work/compute/cuda/$unit.cu"
  $CXX $flags -x c++ -c "$work/compute/cuda/$unit.cu" -o "$work/unit.o" || { missed=$((missed + 1)); return; }
  $CXX -Wl,--gc-sections -o "$work/check" "$work/unit.o" \
    $(find "$B/emu" -name '*.o' ! -path "*/cuda/$unit.o" ! -name check_attention.o ! -name device.o ! -name bench_attention.o) -lm
  for order in forward reverse 1; do
    EMU_ORDER=$order timeout 100 "$work/check" quick >"$work/log" 2>&1 || { found=$order; break; }
  done
  if [ -n "$found" ]; then
    echo "ok   $name, $found: $(grep -hm1 -E '^(emu:|FAIL)' "$work/log" | cut -c1-110)"
  else
    echo "FAIL $name: not found"; missed=$((missed + 1))
  fi
}

plant "a block's sum without its barrier" vec.h '/place\[threadIdx/,/sum = place/s/__syncthreads\(\);//'
plant "lanes that leave before the warp's sum" optimizer.cu 's/if \(block \* ADAMW8_BLOCK >= n\) return;/if (i >= n) return;/'
plant "a row beyond the last" norms.cu 's/if \(v >= count\) return;.*//'
plant "columns beyond the last" rows.cu 's/n - c < 8 \? n - c : 8/8/'
plant "a row that is left out" rows.cu 's/j < id_start\[i \+ 1\]/j + 1 < id_start[i + 1]/'
plant "rounding down instead of at random" optimizer.cu 's/w\.low \? 0x8000u : noise\[k\]/w.low ? 0x8000u : 0u/'
echo "$missed plants not found"
exit $((missed > 0))
