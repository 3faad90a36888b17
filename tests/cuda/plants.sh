#!/usr/bin/env bash
# plants.sh - a test of the emulator's tests: bugs planted in the kernels, each of which check-cuda must find, or, where
# threads race, check-attention under TSan.
#
# usage: plants.sh FOLDER   FOLDER: a build with emu/check-cuda and emu-tsan/check-attention. A plant is a file and an
# edit of it by sed.
set -u
cd "$(dirname "$0")/../.."
B=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CXX=${CXX:-g++} K=src/compute/cuda missed=0
flags="-std=gnu++17 -O1 -g -w -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden -ffunction-sections -I$work -Isrc -Iinclude -Itests/emu"

# edited NAME FILE UNIT FLAGS EDIT…: compiles UNIT, which is FILE or includes it, from the edited copy
edited() {
  local name=$1 file=$2 unit=$3 more=$4
  shift 4
  rm -rf "$work/compute" && mkdir -p "$work/compute/cuda"
  sed -E "$@" $K/$file >"$work/compute/cuda/$file"
  cmp -s $K/$file "$work/compute/cuda/$file" && { echo "FAIL $name: the edit changes nothing"; missed=$((missed + 1)); return 1; }
  [ $file = $unit.cu ] || cp $K/$unit.cu "$work/compute/cuda/$unit.cu"
  $CXX $flags $more -x c++ -c "$work/compute/cuda/$unit.cu" -o "$work/unit.o" || { missed=$((missed + 1)); return 1; }
}

# plant NAME FILE EDIT…: links the edited unit (FILE, or norms for a header) and runs check-cuda
plant() {
  local name=$1 file=$2 unit=${2%.*} found=
  shift 2
  [ "$file" = vec.h ] && unit=norms
  edited "$name" $file $unit "" "$@" || return
  $CXX -Wl,--gc-sections -o "$work/check" "$work/unit.o" \
    $(find "$B/emu" -name '*.o' ! -path "*/cuda/$unit.o" ! -name check_attention.o ! -name device.o ! -name 'bench_*.o') -lm
  for order in forward reverse 1; do
    EMU_ORDER=$order timeout 100 "$work/check" quick >"$work/log" 2>&1 || { found=$order; break; }
  done
  if [ -n "$found" ]; then
    echo "ok   $name, $found: $(grep -hm1 -E '^(emu:|FAIL)' "$work/log" | cut -c1-110)"
  else
    echo "FAIL $name: not found"; missed=$((missed + 1))
  fi
}

# race NAME FILE EDIT…: the same of attention's forward kernel, under TSan
race() {
  local name=$1 file=$2
  shift 2
  edited "$name" $file attention_forward -fsanitize=thread "$@" || return
  $CXX -fsanitize=thread -Wl,--gc-sections -o "$work/check" "$work/unit.o" \
    $(find "$B/emu-tsan" -name '*.o' ! -path '*/cuda/attention_forward.o' ! -name check_cuda.o ! -name bench_attention.o) -lm ||
    { missed=$((missed + 1)); return; }
  if TSAN_OPTIONS=halt_on_error=1 timeout 200 "$work/check" race >"$work/log" 2>&1; then
    echo "FAIL $name: not found"; missed=$((missed + 1))
  else
    echo "ok   $name: $(grep -hm1 -E '^(SUMMARY|emu:|FAIL)' "$work/log" | cut -c1-110)"
  fi
}

plant "a block's sum without its barrier" vec.h '/place\[threadIdx/,/sum = place/s/__syncthreads\(\);//'
plant "lanes that leave before the warp's sum" optimizer.cu 's/if \(block \* ADAMW8_BLOCK >= n\) return;/if (i >= n) return;/'
plant "a row beyond the last" norms.cu 's/if \(v >= count\) return;.*//'
plant "columns beyond the last" rows.cu 's/n - c < 8 \? n - c : 8/8/'
plant "a row that is left out" rows.cu 's/j < id_start\[i \+ 1\]/j + 1 < id_start[i + 1]/'
plant "rounding down instead of at random" optimizer.cu 's/w\.low \? 0x8000u : noise\[k\]/w.low ? 0x8000u : 0u/'
race "a tile of keys copied over one that others read" attention_forward.cu 's/__syncthreads\(\); .*//'
race "a tile used before its copies have come" attention_forward.cu '/stage \^= 1;/,/syncthreads/s/cp_async_wait<0>\(\);//'
race "results put over queries that other lanes read" attention_tile.h '/put_rows\(bf16/,/pair_of/s/__syncwarp\(\);//'
echo "$missed plants not found"
exit $((missed > 0))
