#!/usr/bin/env bash
# `reward score --resume`: killed, interrupted, torn; the same bytes as a run that was left alone.
set -u
. "$(dirname "$0")/lib.sh"
model=tests/data/model/llama
# rows of ids, some over-long, some broken; enough of them that a kill lands in between
python3 - >"$tmp/rows.jsonl" <<'P'
import json, random
rng = random.Random(1)
for i in range(6000):
    if i % 997 == 5:
        print('{"chosen_ids": [1, 2' if i % 2 else '[1, 2]')
        continue
    n = 70 if i % 501 == 7 else rng.randint(3, 60)
    ids = [rng.randrange(3, 90) for _ in range(n)]
    print(json.dumps({"id": i, "chosen_ids": ids, "rejected_ids": ids[:n // 2] + [rng.randrange(3, 90)], "score": 1}))
P
score() { "$reward" score --quiet --threads 1 --model $model --max-length 64 --overlong drop "$tmp/rows.jsonl" "$@"; }

expect 1 "" score -o "$tmp/whole.jsonl"
[ -e "$tmp/whole.jsonl.partial" ] && fail "the journal stays after a whole run"
[ "$(wc -l <"$tmp/whole.jsonl")" = 6000 ] || fail "rows: $(wc -l <"$tmp/whole.jsonl")"
python3 - "$tmp/whole.jsonl" <<'P' || fail "marks of dropped rows"
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
dropped = [r for r in rows if "dropped" in r]
assert len(dropped) == 12 and all(r["dropped"] is True and "dropped: 70 tokens" in r["error"] and "chosen_score" not in r for r in dropped), len(dropped)
assert sum("error" in r for r in rows) == 12 + 7 and rows[0]["score"] == 1 # a pair gets no field of that name: its own stays
P
for end in jsonl.gz $(more jsonl jsonl.zst); do
  score -o "$tmp/all.$end" 2>/dev/null
  for torn in 0 1; do
    out="$tmp/part$torn.$end"
    score -o "$out" 2>/dev/null &
    pid=$!
    child=
    for _ in $(seq 2000); do
      [ -s "$out.partial" ] && [ "$(wc -l <"$out.partial")" -gt 100 ] && break
      sleep 0.005
    done
    child=$(pgrep -P $pid || echo $pid)
    kill -9 $child
    wait $pid 2>/dev/null
    [ -e "$out" ] && { [ $torn = 1 ] || fail "$end: killed too late, or the final name is there"; }
    [ -e "$out.partial" ] || continue
    kept=$(($(wc -l <"$out.partial") - 1))
    [ $torn = 1 ] && printf '{"id": 5000, "chosen_ids": [1, 2], "chosen_sc' >>"$out.partial"
    "$reward" score --threads 1 --model $model --max-length 64 --overlong drop "$tmp/rows.jsonl" -o "$out" --resume >"$tmp/log" 2>&1
    [ $? = 1 ] || fail "$end: resumed with exit status $?: $(tail -n 1 "$tmp/log")"
    grep -q "$kept rows are there already" "$tmp/log" || fail "$end: expected $kept kept rows: $(head -n 3 "$tmp/log")"
    grep -q "19 of 6000 rows could not be scored" "$tmp/log" || fail "$end: failures of both runs: $(cat "$tmp/log")"
    cmp "$tmp/all.$end" "$out" || fail "$end: other bytes after --resume"
    [ -e "$out.partial" ] && fail "$end: the journal stays"
  done
done
gzip -dc "$tmp/all.jsonl.gz" | cmp - "$tmp/whole.jsonl" || fail "gzip"

# Ctrl-C says how to go on, and exits with 130
score -o "$tmp/int.jsonl" 2>"$tmp/log" & pid=$!
for _ in $(seq 2000); do [ -s "$tmp/int.jsonl.partial" ] && [ "$(wc -l <"$tmp/int.jsonl.partial")" -gt 20 ] && break; sleep 0.005; done
kill -INT "$(pgrep -P $pid || echo $pid)"
wait $pid
status=$?
if [ -e "$tmp/int.jsonl.partial" ]; then
  [ $status = 130 ] || fail "interrupted: exit status $status"
  grep -q "resume goes on with them" "$tmp/log" || fail "interrupted: $(cat "$tmp/log")"
  cp "$tmp/int.jsonl.partial" "$tmp/kept"
  # other options, other rows, fewer rows, another process: no row is taken for another's
  expect 2 "was made otherwise, so its rows cannot be kept: options max-length was 64, is 60" "$reward" score --threads 1 --model $model --max-length 60 --overlong drop "$tmp/rows.jsonl" -o "$tmp/int.jsonl" --resume
  expect 2 "model config.json was" "$reward" score --threads 1 --model tests/data/model/qwen2 --max-length 64 --overlong drop "$tmp/rows.jsonl" -o "$tmp/int.jsonl" --resume
  sed '4s/"id": 3/"id": 33/' "$tmp/rows.jsonl" >"$tmp/other.jsonl"
  expect 2 "from row 4 on" "$reward" score --threads 1 --model $model --max-length 64 --overlong drop "$tmp/other.jsonl" -o "$tmp/int.jsonl" --resume
  head -n 3 "$tmp/rows.jsonl" >"$tmp/other.jsonl"
  expect 2 "from row 4 on" "$reward" score --threads 1 --model $model --max-length 64 --overlong drop "$tmp/other.jsonl" -o "$tmp/int.jsonl" --resume
  cmp "$tmp/kept" "$tmp/int.jsonl.partial" || fail "a refused --resume changed the journal"
  (flock 9; expect 2 "another process" score -o "$tmp/int.jsonl" --resume; exit $bad) 9<>"$tmp/int.jsonl.partial" || bad=1
  # without --resume it begins anew
  expect 1 "" score -o "$tmp/int.jsonl"
  cmp "$tmp/whole.jsonl" "$tmp/int.jsonl" || fail "a fresh run over a journal"
fi
expect 1 "" score -o "$tmp/none.jsonl" --resume # nothing to resume: from the beginning
cmp "$tmp/whole.jsonl" "$tmp/none.jsonl" || fail "--resume from nothing"
expect 2 "-o FILE" score --resume
expect 1 "" score -o /dev/null
[ -c /dev/null ] || fail "/dev/null is no device any more"

# Parquet's rows must fit each other: found at the row that does not, and the rows before it are kept, for JSONL too
if echo '{"input_ids": [5]}' | "$reward" score -q --model $model -o "$tmp/probe.parquet" 2>/dev/null; then
  printf '%s\n' '{"input_ids": [5]}' '{"input_ids": [5, 6]}' '{"input_ids": [5], "note": 7}' '{"input_ids": [5], "note": [7]}' \
    '{"input_ids": [5, 9]}' >"$tmp/few.jsonl"
  expect 1 "few.parquet:4: field note: expected a whole number as in the rows before, got a list; write JSONL" \
    "$reward" score --model $model "$tmp/few.jsonl" -o "$tmp/few.parquet"
  grep -qF "3 finished rows are kept in $tmp/few.parquet.partial" "$tmp/out" || fail "rows before a row that does not fit: $(cat "$tmp/out")"
  mv "$tmp/few.parquet.partial" "$tmp/few.out.jsonl.partial"
  expect 0 "3 rows are there already" "$reward" score --model $model "$tmp/few.jsonl" -o "$tmp/few.out.jsonl" --resume
  "$reward" score -q --model $model "$tmp/few.jsonl" -o "$tmp/few.whole.jsonl"
  cmp "$tmp/few.out.jsonl" "$tmp/few.whole.jsonl" || fail "rows kept for Parquet, resumed as JSONL"
  # the row that does not fit may stand far before the end: nothing after it is scored
  sed -n 2,4p "$tmp/few.jsonl" >"$tmp/early.jsonl"
  for i in $(seq 3000); do echo '{"input_ids": [5, 6]}'; done >>"$tmp/early.jsonl"
  expect 1 "early.parquet:3: field note" "$reward" score --model $model "$tmp/early.jsonl" -o "$tmp/early.parquet"
  [ "$(wc -l <"$tmp/early.parquet.partial")" -eq 3 ] || fail "rows after the one that does not fit: $(wc -l <"$tmp/early.parquet.partial")"
  expect 1 "early.parquet:3: field note" "$reward" score --model $model "$tmp/early.jsonl" -o "$tmp/early.parquet" --resume
  [ ! -e "$tmp/early.parquet" ] || fail "half of a Parquet file"
fi

# a row without fields of its own is not taken for another one's
printf '%s\n' '{}' '{"input_ids": [5, 6]}' >"$tmp/empty.jsonl"
expect 1 "1 of 2 rows" "$reward" score --model $model "$tmp/empty.jsonl" -o "$tmp/empty.out.jsonl"
for first in '{"error": "row: …"}' '{"input_ids": [5, 6], "score": 1, "tokens": 2}'; do
  "$reward" score -q --model $model "$tmp/empty.jsonl" -o "$tmp/cut.jsonl" 2>/dev/null
  python3 - "$tmp" "$first" <<'P'
import json, sys
work, first = sys.argv[1:]
record = json.load(open(f"{work}/cut.jsonl.run.json"))["identity"]
open(f"{work}/cut.jsonl.partial", "w").write(json.dumps(record) + "\n" + first + "\n")
P
  case $first in
    *error*) expect 1 "1 rows are there already" "$reward" score --model $model "$tmp/empty.jsonl" -o "$tmp/cut.jsonl" --resume ;;
    *) expect 2 "not the input whose rows are kept, from row 1 on" "$reward" score --model $model "$tmp/empty.jsonl" -o "$tmp/cut.jsonl" --resume ;;
  esac
done

# weights that take time to hash are hashed when that is worth it: not for a short run, but for one that is interrupted
python3 - $model "$tmp/wide" <<'P'
import json, os, struct, sys
model, wide = sys.argv[1:]
os.mkdir(wide)
config = json.load(open(model + "/config.json")) | {"vocab_size": 200000}
json.dump(config, open(wide + "/config.json", "w"))
data = open(model + "/model.safetensors", "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header, body = json.loads(data[8:8 + n]), data[8 + n:]
at, out = 0, []
for name, t in header.items():
    if name == "__metadata__": continue
    a, b = t["data_offsets"]
    bytes_ = body[a:b]
    if "embed" in name:
        t["shape"][0] = 200000
        bytes_ += bytes(200000 * (b - a) // 200 - (b - a))
    t["data_offsets"], at = [at, at + len(bytes_)], at + len(bytes_)
    out.append(bytes_)
text = json.dumps(header).encode()
open(wide + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + b"".join(out))
P
wide() { "$reward" score --quiet --threads 1 --model "$tmp/wide" --max-length 64 --overlong drop "$tmp/rows.jsonl" "$@"; }
began=$SECONDS
expect 1 "" wide -o "$tmp/wide.jsonl"
took=$((SECONDS - began)) # a machine with much else to do can make it a long run
cmp "$tmp/whole.jsonl" "$tmp/wide.jsonl" || fail "rows that never were in a journal"
grep -q '"config.json"' "$tmp/wide.jsonl.run.json" && { [ $took -ge 9 ] || ! grep -q '"weights"' "$tmp/wide.jsonl.run.json"; } || fail "the record of a short run: $(cat "$tmp/wide.jsonl.run.json")"
wide -o "$tmp/late.jsonl" 2>"$tmp/log" & pid=$!
sleep 0.3
kill -INT "$(pgrep -P $pid || echo $pid)"
wait $pid
if [ -e "$tmp/late.jsonl.partial" ]; then
  grep -q "resume goes on with them" "$tmp/log" || fail "interrupted: $(cat "$tmp/log")"
  head -n 1 "$tmp/late.jsonl.partial" | grep -q '"weights"' || fail "rows are kept of weights not known"
  expect 1 "" wide -o "$tmp/late.jsonl" --resume
  cmp "$tmp/whole.jsonl" "$tmp/late.jsonl" || fail "other bytes after --resume"
fi

# eval names the dropped ones
python3 - "$tmp" <<'P'
import sys
ids = lambda n: str(list(range(3, 3 + n)))
open(sys.argv[1] + "/pairs.jsonl", "w").write("".join('{"chosen_ids": %s, "rejected_ids": %s}\n' % (ids(n), ids(4)) for n in (5, 70, 6)))
P
expect 1 "1 of 3 rows" "$reward" score --model $model --max-length 64 --overlong drop "$tmp/pairs.jsonl" -o "$tmp/s.jsonl"
expect 0 "dropped as too long 1" "$reward" eval --suite pairs --data "$tmp/pairs.jsonl" --scores "$tmp/s.jsonl" -o "$tmp/e.json"
python3 -c "import json; r = json.load(open('$tmp/e.json')); assert r['dropped'] == 1 and r['items']['n'] == 2" || fail "eval of dropped rows"
exit $bad
