#!/usr/bin/env bash
# `reward score` by parts: jobs of an array in any order, killed, repeated; joined to the bytes of one process; parts
# of another model or of other rows, and cut ones, are refused by name.
set -u
. "$(dirname "$0")/lib.sh"
model=tests/data/model/llama
python3 - >"$tmp/rows.jsonl" <<'P'
import json, random
rng = random.Random(3)
for i in range(700):
    if i % 197 == 5:
        print('{"chosen_ids": [1, 2' if i % 2 else '[1, 2]')
        continue
    n = 70 if i % 101 == 7 else rng.randint(3, 60)
    ids = [rng.randrange(3, 90) for _ in range(n)]
    print(json.dumps({"id": i, "chosen_ids": ids, "rejected_ids": ids[:n // 2] + [rng.randrange(3, 90)], "chosen_score": 2}))
    if i % 50 == 0: print()
P
gzip -k "$tmp/rows.jsonl"
args=(score --threads 1 --max-length 64 --overlong drop --part-rows 150)
score() { "$reward" "${args[@]}" --model "${with:-$model}" "$@"; }
same() { cmp "$tmp/whole.$2" "$1" && cmp "$tmp/whole.$2.run.json" "$1.run.json" || fail "$3: other bytes than one process"; }
for end in jsonl jsonl.gz jsonl.zst; do score --quiet "$tmp/rows.jsonl" -o "$tmp/whole.$end" 2>/dev/null; done
score --quiet "$tmp/rows.jsonl" -o "$tmp/said.jsonl" 2>"$tmp/warnings"

# N jobs in any order, some twice, then one that joins
for n in 3 $(more 1 2 4); do
  for end in jsonl jsonl.gz jsonl.zst; do
    out=$tmp/of$n.$end rows=$tmp/rows.jsonl
    [ $end = jsonl.gz ] && rows=$tmp/rows.jsonl.gz
    for i in $(seq $n | shuf) $((RANDOM % n + 1)); do expect 1 "rows could not be scored" score "$rows" -o "$out" --task "$i/$n"; done
    [ ! -e "$out" ] || fail "a job writes $out"
    [ "$(ls "$out.parts" | tr '\n' ' ')" = "000000 000001 000002 000003 000004 " ] || fail "parts: $(ls "$out.parts")"
    expect 1 "11 of 700 rows could not be scored" score "$rows" -o "$out" --resume --quiet
    same "$out" $end "$n jobs"
    [ ! -e "$out.parts" ] || fail "parts stay"
    [ "$rows" = "$tmp/rows.jsonl.gz" ] || cmp "$tmp/warnings" "$tmp/stderr" || fail "other warnings: $(diff "$tmp/warnings" "$tmp/stderr")"
  done
done

# Parquet in and out
if [ -e "$(dirname "$reward")/libreward-parquet.so" ]; then
  grep '"id"' "$tmp/rows.jsonl" >"$tmp/good.jsonl"
  score --quiet "$tmp/good.jsonl" -o "$tmp/in.parquet" 2>/dev/null
  score --quiet "$tmp/in.parquet" -o "$tmp/whole.parquet" 2>/dev/null
  for i in 3 1 2; do score --quiet "$tmp/in.parquet" -o "$tmp/of.parquet" --task $i/3 2>/dev/null; done
  expect 1 "of 696 rows could not be scored" score "$tmp/in.parquet" -o "$tmp/of.parquet" --resume
  same "$tmp/of.parquet" parquet "Parquet"
fi

# killed at any moment and begun again: a part is whole or absent, and no finished row is scored twice
for round in 1 2 $(more 3 4 5 6); do
  out=$tmp/killed$round.jsonl
  for i in 2 1 2; do killed "$reward" "${args[@]}" --model $model --quiet "$tmp/rows.jsonl" -o "$out" --task $i/2 2>/dev/null; done
  for f in "$out.parts"/??????; do
    [ ! -e "$f" ] || tail -n 1 "$f" | grep -q '"input": "[0-9a-f]*"' || fail "$f is not whole"
  done
  [ $((round % 2)) = 1 ] || score --quiet "$tmp/rows.jsonl" -o "$out" --task 1/2 2>/dev/null
  score --quiet "$tmp/rows.jsonl" -o "$out" --resume 2>"$tmp/log" || [ $? = 1 ] || fail "killed: $(cat "$tmp/log")"
  same "$out" jsonl "killed"
done

# what one process has left is gone on with by parts
python3 - "$tmp" <<'P'
import json, sys
with open(sys.argv[1] + "/kept.jsonl.partial", "w") as f:
    print(json.dumps(json.load(open(sys.argv[1] + "/whole.jsonl.run.json"))["identity"]), file=f)
    f.writelines(list(open(sys.argv[1] + "/whole.jsonl"))[:400])
P
mkdir "$tmp/kept.jsonl.parts"
score "$tmp/rows.jsonl" -o "$tmp/kept.jsonl" --resume 2>"$tmp/log"
same "$tmp/kept.jsonl" jsonl "a journal as parts"
[ ! -e "$tmp/kept.jsonl.partial" ] || fail "the journal stays"
all=$(score "$tmp/rows.jsonl" -o "$tmp/t.jsonl" 2>&1 | sed -n 's/.* \([0-9]*\) tokens in.*/\1/p') some=$(sed -n 's/.* \([0-9]*\) tokens in.*/\1/p' "$tmp/log")
[ "$some" -lt $((all / 2)) ] || fail "kept rows are scored again: $some of $all tokens"

# parts of something else
out=$tmp/mixed.jsonl
score --quiet "$tmp/rows.jsonl" -o "$out" --task 1/2 2>/dev/null
with=tests/data/model/qwen2 expect 2 "mixed.jsonl.parts/000000: was made otherwise, so its rows cannot be kept: model config.json was" score "$tmp/rows.jsonl" -o "$out" --task 1/2
with=tests/data/model/qwen2 score --quiet "$tmp/rows.jsonl" -o "$out" --task 2/2 2>/dev/null
expect 2 "mixed.jsonl.parts/000001: was made otherwise" score "$tmp/rows.jsonl" -o "$out" --resume
[ ! -e "$out" ] || fail "joined all the same"
rm "$out.parts/000001" "$out.parts/000003"
expect 2 "part_rows was 150, is 151" score "$tmp/rows.jsonl" -o "$out" --resume --part-rows 151
expect 2 "options overlong was drop, is error" score "$tmp/rows.jsonl" -o "$out" --resume --overlong error
sed '400s/"id": \([0-9]*\)/"id": 9\1/' "$tmp/rows.jsonl" >"$tmp/other.jsonl"
expect 2 "mixed.jsonl.parts/000002: is of other input rows than those of $tmp/other.jsonl" score "$tmp/other.jsonl" -o "$out" --task 1/2
expect 2 "parts of an interrupted run are there" score "$tmp/rows.jsonl" -o "$out"
cp -r "$out.parts" "$tmp/parts"
head -c -9 "$tmp/parts/000002" >"$out.parts/000002"
expect 1 "mixed.jsonl.parts/000002: expected its counts in a last line; was it cut? Remove it" score "$tmp/rows.jsonl" -o "$out" --resume
sed 9d "$tmp/parts/000002" >"$out.parts/000002"
expect 1 "mixed.jsonl.parts/000002: expected its counts in a last line" score "$tmp/rows.jsonl" -o "$out" --resume
[ ! -e "$out" ] || fail "joined a cut part"
rm "$out.parts/000002"
(mkdir -p "$out.parts"; flock 9; expect 2 "another process is writing it" score "$tmp/rows.jsonl" -o "$out" --task 1/2; exit $bad) 9<>"$out.parts/000002.partial" || bad=1
score --quiet "$tmp/rows.jsonl" -o "$out" --resume 2>/dev/null
same "$out" jsonl "mended"

# no rows, and what does not go together
: >"$tmp/none"
expect 0 "" score --quiet "$tmp/none" -o "$tmp/empty.jsonl" --task 1/2
expect 0 "" score --quiet "$tmp/none" -o "$tmp/empty.jsonl" --resume
[ -f "$tmp/empty.jsonl" ] && [ ! -s "$tmp/empty.jsonl" ] || fail "no rows"
for i in 0/3 4/3 1 1/ a/b 1/2x -1/2 ''; do fails 2 "--task: expected I/N" score "$tmp/rows.jsonl" -o "$tmp/x" "--task=$i"; done
fails 2 "--task: --stream" score "$tmp/rows.jsonl" -o "$tmp/x" --task 1/2 --group-by id
fails 2 "--task: expected a file of ROWS and -o FILE" score "$tmp/rows.jsonl" --task 1/2
fails 2 "--task: expected a file of ROWS and -o FILE" score - -o "$tmp/x" --task 1/2
[ $bad = 0 ] && echo "parts by jobs, killed, of others: one process's bytes, or refused by name"
exit $bad
