#!/usr/bin/env bash
# `reward curate` and `reward decontaminate` stopped anywhere: what has a final name is whole, running again gives the bytes
# of a run that was left alone, a full disk is named and leaves no wreck.
set -u
cd "$(dirname "$0")/.."
REWARD=${BUILD:-build}/reward
work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=1; }

# the example sources many times over, each copy with words of its own
inputs=()
for s in magpie-ultra magpie-pro-llama3.1 magpie-pro-llama3 magpie-air helpsteer2 offsetbias; do
  python3 - examples/sources/$s.jsonl 30 >"$work/$s.jsonl" <<'P'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
key = next(k for k in ("instruction", "prompt") if k in rows[0])
for i in range(int(sys.argv[2])):
    for r in rows:
        print(json.dumps({**r, key: r[key] + f" Copy {i}."}))
P
  inputs+=(--input "$s=$work/$s.jsonl")
done
only=helpsteer2,offsetbias,magpie-ultra,magpie-pro-llama3.1,magpie-pro-llama3,magpie-air
{ cat examples/recipe.yaml; echo "  - write: before.jsonl.zst"; echo "  - decontaminate: offsetbias"; } >"$work/recipe.yaml"
curate() { exec "$REWARD" curate --quiet "$work/recipe.yaml" --only $only "${inputs[@]}" --bench examples/benchmark.jsonl "$@"; }
decontaminate() { exec "$REWARD" decontaminate --quiet --train "$work/whole.curate/train.jsonl" --bench examples/benchmark.jsonl "$@"; }

# whole OUT NAME: the files of OUT with final names are those of the undisturbed run
whole() {
  local f
  for f in "$1"/*; do
    case $f in *partial* | *.tmp*) ;; *) [ ! -f "$f" ] || cmp -s "$f" "$work/whole.$2/${f##*/}" || fail "$2: ${f##*/} is not whole" ;; esac
  done
}

parquet() { curate --format parquet "$@"; }
names="curate decontaminate"
if (parquet -o "$work/try") >/dev/null 2>"$work/log"; then names+=" parquet"; else grep -q "make deps" "$work/log" || fail "$(cat "$work/log")"; fi

for name in $names; do
  began=$(date +%s%N)
  ($name -o "$work/whole.$name") >/dev/null || fail "$name"
  took=$((($(date +%s%N) - began) / 1000000))
  [ -s "$work/whole.$name/report.json" ] || fail "$name: no report.json"
  killed=0
  for i in 1 2 3 4 5 6 7 8; do
    ($name -o "$work/out.$name") >/dev/null 2>&1 &
    pid=$!
    sleep "$(awk -v t=$took -v i=$i 'BEGIN { printf "%.3f", t * i / 9000 }')"
    kill -9 $pid 2>/dev/null && killed=$((killed + 1))
    wait $pid 2>/dev/null
    [ ! -d "$work/out.$name" ] || whole "$work/out.$name" $name
  done
  [ $killed -ge 3 ] || fail "$name: only $killed of 8 runs were killed before their end"
  # killed behind its last write: a finished run's folder
  [ -e "$work/out.$name/.unfinished" ] || [ ! -e "$work/out.$name/report.json" ] ||
    { diff -r "$work/out.$name" "$work/whole.$name" >"$work/log" || fail "$name killed at its end: $(head -n 3 "$work/log")"; rm -rf "$work/out.$name"; }
  ($name -o "$work/out.$name") >/dev/null || fail "$name after being killed"
  diff -r "$work/out.$name" "$work/whole.$name" >"$work/log" || fail "$name after being killed: $(head -n 3 "$work/log")"
  ($name -o "$work/term.$name") >/dev/null 2>"$work/log" &
  pid=$!
  sleep "$(awk -v t=$took 'BEGIN { printf "%.3f", t / 4000 }')"
  kill -TERM $pid
  status=0; wait $pid || status=$?
  [ $status -eq 130 ] || [ $status -eq 143 ] || [ $status -eq 0 ] || fail "$name ended by a signal: exit status $status"
  [ ! -d "$work/term.$name" ] || whole "$work/term.$name" $name
  ($name -o "$work/twin.$name") >/dev/null 2>&1 & # two at once: one of them is told
  pid=$!
  ($name --force -o "$work/twin.$name") >/dev/null 2>"$work/log" || grep -q "another process" "$work/log" || fail "$name twice at once: $(cat "$work/log")"
  wait $pid
  ($name --force -o "$work/twin.$name") >/dev/null || fail "$name after two at once"
  diff -r "$work/twin.$name" "$work/whole.$name" >"$work/log" || fail "$name after two at once: $(head -n 3 "$work/log")"
  (ulimit -f 8; $name -o "$work/large.$name" 2>"$work/log" >/dev/null) && fail "$name: files above the limit, exit status 0"
  grep -q "File too large" "$work/log" || fail "$name: $(cat "$work/log")"
  [ ! -e "$work/large.$name/report.json" ] || fail "$name: a report of what could not be written"
done

if [ "$(id -u)" = 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=256k none "$work/small" 2>/dev/null; then
  mounted=$work/small
  for name in $names; do
    ($name -o "$work/small/out" 2>"$work/log" >/dev/null) && fail "$name on a full disk: exit status 0"
    grep -q "No space left" "$work/log" || fail "$name on a full disk: $(cat "$work/log")"
    [ ! -d "$work/small/out" ] || whole "$work/small/out" $name
    find "$work/small" -name '*partial*' -o -name '*.tmp*' | grep -q . && fail "$name on a full disk leaves $(find "$work/small" -type f)"
    rm -rf "$work/small/out"
  done
fi
[ $bad -eq 0 ] && echo "curation stopped anywhere leaves nothing broken"
exit $bad
