#!/usr/bin/env bash
# `reward curate` and `reward decontaminate` stopped anywhere: what has a final name is whole, running again gives the bytes
# of a run that was left alone, a full disk is named and leaves no wreck.
set -u
. "$(dirname "$0")/lib.sh"

# the example sources many times over, each copy with words of its own
inputs=()
for s in magpie-ultra magpie-pro-llama3.1 magpie-pro-llama3 magpie-air helpsteer2 offsetbias; do
  python3 - examples/sources/$s.jsonl 30 >"$tmp/$s.jsonl" <<'P'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
key = next(k for k in ("instruction", "prompt") if k in rows[0])
for i in range(int(sys.argv[2])):
    for r in rows:
        print(json.dumps({**r, key: r[key] + f" Copy {i}."}))
P
  inputs+=(--input "$s=$tmp/$s.jsonl")
done
only=helpsteer2,offsetbias,magpie-ultra,magpie-pro-llama3.1,magpie-pro-llama3,magpie-air
{ cat examples/recipe.yaml; echo "  - write: before.jsonl.zst"; echo "  - decontaminate: offsetbias"; } >"$tmp/recipe.yaml"
curate() { exec "$reward" curate --quiet "$tmp/recipe.yaml" --only $only "${inputs[@]}" --bench examples/benchmark.jsonl "$@"; }
decontaminate() { exec "$reward" decontaminate --quiet --train "$tmp/whole.curate/train.jsonl" --bench examples/benchmark.jsonl "$@"; }

# whole OUT NAME: the files of OUT with final names are those of the undisturbed run
whole() {
  local f
  for f in "$1"/*; do
    case $f in *partial* | *.tmp*) ;; *) [ ! -f "$f" ] || cmp -s "$f" "$tmp/whole.$2/${f##*/}" || fail "$2: ${f##*/} is not whole" ;; esac
  done
}

parquet() { curate --format parquet "$@"; }
names="curate decontaminate"
if (parquet -o "$tmp/try") >/dev/null 2>"$tmp/log"; then names+=" parquet"; else grep -q "make deps" "$tmp/log" || fail "$(cat "$tmp/log")"; fi

for name in $names; do
  began=$(date +%s%N)
  ($name -o "$tmp/whole.$name") >/dev/null || fail "$name"
  took=$((($(date +%s%N) - began) / 1000000))
  [ -s "$tmp/whole.$name/report.json" ] || fail "$name: no report.json"
  killed=0
  for i in 1 2 3 4 5 6 7 8; do
    ($name -o "$tmp/out.$name") >/dev/null 2>&1 &
    pid=$!
    sleep "$(awk -v t=$took -v i=$i 'BEGIN { printf "%.3f", t * i / 9000 }')"
    kill -9 $pid 2>/dev/null && killed=$((killed + 1))
    wait $pid 2>/dev/null
    [ ! -d "$tmp/out.$name" ] || whole "$tmp/out.$name" $name
  done
  [ $killed -ge 3 ] || fail "$name: only $killed of 8 runs were killed before their end"
  # killed behind its last write: a finished run's folder
  [ -e "$tmp/out.$name/.unfinished" ] || [ ! -e "$tmp/out.$name/report.json" ] ||
    { diff -r "$tmp/out.$name" "$tmp/whole.$name" >"$tmp/log" || fail "$name killed at its end: $(head -n 3 "$tmp/log")"; rm -rf "$tmp/out.$name"; }
  ($name -o "$tmp/out.$name") >/dev/null || fail "$name after being killed"
  diff -r "$tmp/out.$name" "$tmp/whole.$name" >"$tmp/log" || fail "$name after being killed: $(head -n 3 "$tmp/log")"
  ($name -o "$tmp/term.$name") >/dev/null 2>"$tmp/log" &
  pid=$!
  sleep "$(awk -v t=$took 'BEGIN { printf "%.3f", t / 4000 }')"
  kill -TERM $pid
  status=0; wait $pid || status=$?
  [ $status -eq 130 ] || [ $status -eq 143 ] || [ $status -eq 0 ] || fail "$name ended by a signal: exit status $status"
  [ ! -d "$tmp/term.$name" ] || whole "$tmp/term.$name" $name
  ($name -o "$tmp/twin.$name") >/dev/null 2>&1 & # two at once: one of them is told
  pid=$!
  ($name --force -o "$tmp/twin.$name") >/dev/null 2>"$tmp/log" || grep -q "another process" "$tmp/log" || fail "$name twice at once: $(cat "$tmp/log")"
  wait $pid
  ($name --force -o "$tmp/twin.$name") >/dev/null || fail "$name after two at once"
  diff -r "$tmp/twin.$name" "$tmp/whole.$name" >"$tmp/log" || fail "$name after two at once: $(head -n 3 "$tmp/log")"
  (ulimit -f 8; $name -o "$tmp/large.$name" 2>"$tmp/log" >/dev/null) && fail "$name: files above the limit, exit status 0"
  grep -q "File too large" "$tmp/log" || fail "$name: $(cat "$tmp/log")"
  [ ! -e "$tmp/large.$name/report.json" ] || fail "$name: a report of what could not be written"
done

# packed halves of the sources, of which several are read at once: the bytes of one thread, which reads one file after another
shards=()
for s in ${only//,/ }; do
  split -n l/2 -a 1 --filter='gzip -n >$FILE.gz' "$tmp/$s.jsonl" "$tmp/$s-"
  shards+=(--input "$s=$tmp/$s-a.gz" --input "$s=$tmp/$s-b.gz")
done
shards() { exec "$reward" curate --quiet "$tmp/recipe.yaml" --only $only "${shards[@]}" --bench examples/benchmark.jsonl "$@"; }
for n in 1 2 4; do (shards --threads $n -o "$tmp/shards.$n") >/dev/null || fail "shards with $n threads"; done
for n in 2 4; do diff -r "$tmp/shards.1" "$tmp/shards.$n" >"$tmp/log" || fail "shards with $n threads: $(head -n 3 "$tmp/log")"; done
for s in $tmp/*-[ab].gz $tmp/shards.4/{train,removed}.jsonl; do
  grep -q "$(sha256sum <"$s" | cut -c 1-64)" "$tmp/shards.4/manifest.json" || fail "the manifest lacks the hash of $s"
done
echo '{"broken":' | gzip >>"$tmp/offsetbias-a.gz"                               # the last row of the third file
(echo broken; zcat "$tmp/magpie-air-b.gz") | gzip >"$tmp/air" && mv "$tmp/air" "$tmp/magpie-air-b.gz" # the first of the last
for n in 1 4; do
  (shards --threads $n -o "$tmp/bad.$n" 2>"$tmp/log.$n") >/dev/null && fail "a bad row with $n threads: exit status 0"
  [ -d "$tmp/bad.$n" ] && fail "a bad row with $n threads leaves a folder"
done
grep -q "offsetbias-a.gz:[0-9]*: " "$tmp/log.1" && cmp -s "$tmp/log.1" "$tmp/log.4" || fail "bad rows: $(cat "$tmp/log.1" "$tmp/log.4")"

if small_disk 256k; then
  for name in $names; do
    ($name -o "$tmp/small/out" 2>"$tmp/log" >/dev/null) && fail "$name on a full disk: exit status 0"
    grep -q "No space left" "$tmp/log" || fail "$name on a full disk: $(cat "$tmp/log")"
    [ ! -d "$tmp/small/out" ] || whole "$tmp/small/out" $name
    find "$tmp/small" -name '*partial*' -o -name '*.tmp*' | grep -q . && fail "$name on a full disk leaves $(find "$tmp/small" -type f)"
    rm -rf "$tmp/small/out"
  done
fi
[ $bad -eq 0 ] && echo "curation stopped anywhere leaves nothing broken"
exit $bad
