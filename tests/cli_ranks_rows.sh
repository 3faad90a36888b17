#!/usr/bin/env bash
# Rows over several processes: score, eval and sweep give one process's bytes at any number of ranks; a score run that
# was killed goes on at any other number, from what one process has left too.
set -u
. "$(dirname "$0")/lib.sh"
. tests/ranks/lib.sh
need_mpi
model=tests/data/model/llama
python3 - "$tmp" <<'P'
import json, random, sys
rng = random.Random(5)
draw = lambda n: [rng.randrange(3, 90) for _ in range(n)]
with open(sys.argv[1] + "/rows.jsonl", "w") as f:
    for i in range(900):
        if i % 297 == 5: print('{"chosen_ids": [1, 2' if i % 2 else '[1, 2]', file=f)
        else: print(json.dumps({"id": i, "chosen_ids": draw(70 if i % 151 == 7 else rng.randint(3, 60)), "rejected_ids": draw(9), "chosen_score": 2}), file=f)
for name, n in ("train", 16), ("held", 90):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as f:
        for i in range(n): print(json.dumps({"chosen_ids": draw(9), "rejected_ids": draw(80 if name == "held" and i % 40 == 9 else 7), "id": str(i), "source": "ab"[i % 2]}), file=f)
P
gzip -k "$tmp/rows.jsonl"
args=(score --threads 1 --max-length 64 --overlong drop --part-rows 100 --model "$model")
score() { "$reward" "${args[@]}" "$@"; }
many() { ranks "$1" "$reward" "${args[@]}" "${@:2}"; }
# what the program says, without mpirun's own words and the speed
said() { grep -a '^reward ' "$1" | grep -v 'tokens/s\|bound to one core'; }
same() { cmp "$tmp/whole.$2" "$1" && cmp "$tmp/whole.$2.run.json" "$1.run.json" && [ ! -e "$1.parts" ] && [ ! -e "$1.partial" ] || fail "$3: not what one process gives"; }
for end in jsonl jsonl.gz jsonl.zst; do score "$tmp/rows.jsonl" -o "$tmp/whole.$end" 2>"$tmp/whole.said"; done
ends=(jsonl jsonl.zst jsonl.gz jsonl)
for n in 1 2 3 4; do
  end=${ends[n - 1]} rows=$tmp/rows.jsonl
  [ $end != jsonl.gz ] || rows=$tmp/rows.jsonl.gz
  expect 1 "10 of 900 rows could not be scored" many $n "$rows" -o "$tmp/of$n.$end"
  same "$tmp/of$n.$end" $end "$n ranks"
  [ "$rows" != "$tmp/rows.jsonl" ] || diff <(said "$tmp/whole.said") <(said "$tmp/stderr") || fail "$n ranks say something else"
done
if [ -e "$(dirname "$reward")/libreward-parquet.so" ]; then
  grep '"id"' "$tmp/rows.jsonl" >"$tmp/good.jsonl"
  score --quiet "$tmp/good.jsonl" -o "$tmp/in.parquet" 2>/dev/null
  score --quiet "$tmp/in.parquet" -o "$tmp/whole.parquet" 2>/dev/null
  many 3 --quiet "$tmp/in.parquet" -o "$tmp/of3.parquet" 2>/dev/null
  same "$tmp/of3.parquet" parquet "Parquet"
fi

# no rows, one row, fewer parts than ranks; a task that has nothing to do, twice; joined by one process
: >"$tmp/zero.jsonl"
head -n 1 "$tmp/rows.jsonl" >"$tmp/single.jsonl"
head -n 150 "$tmp/rows.jsonl" >"$tmp/some.jsonl"
for rows in zero single some; do
  status=0
  score --quiet "$tmp/$rows.jsonl" -o "$tmp/$rows.whole" 2>/dev/null || status=$?
  expect $status "" many 3 --quiet "$tmp/$rows.jsonl" -o "$tmp/$rows.ranks"
  for task in 4/4 2/4 4/4; do score --quiet "$tmp/$rows.jsonl" -o "$tmp/$rows.tasks" --task $task 2>/dev/null; done
  expect $status "" score --quiet "$tmp/$rows.jsonl" -o "$tmp/$rows.tasks" --resume
  for how in ranks tasks; do
    cmp "$tmp/$rows.whole" "$tmp/$rows.$how" && cmp "$tmp/$rows.whole.run.json" "$tmp/$rows.$how.run.json" && [ ! -e "$tmp/$rows.$how.parts" ] || fail "$rows, $how: not what one process gives"
  done
done

# killed at any moment, gone on with at another number of ranks; begun by one process
for round in 1 2 3; do
  out=$tmp/killed$round.jsonl
  if [ $round = 1 ]; then
    python3 - "$tmp" "$out" <<'P'
import json, sys
with open(sys.argv[2] + ".partial", "w") as f:
    print(json.dumps(json.load(open(sys.argv[1] + "/whole.jsonl.run.json"))["identity"]), file=f)
    f.writelines(list(open(sys.argv[1] + "/whole.jsonl"))[:430])
P
  fi
  for _ in 1 2; do
    "${mpirun[@]}" -n $((RANDOM % 4 + 1)) "$reward" "${args[@]}" "$tmp/rows.jsonl" -o "$out" --resume >"$tmp/log" 2>&1 &
    pid=$!
    sleep "0.$((RANDOM % 9 + 1))"
    victim=$(pgrep -P $pid | shuf -n 1)
    kill -9 ${victim:-$pid} 2>/dev/null
    wait $pid 2>/dev/null
  done
  n=$((RANDOM % 3 + 2))
  many $n "$tmp/rows.jsonl" -o "$out" --resume >"$tmp/log" 2>&1 # also where the kill came between OUT and its parts' end
  same "$out" jsonl "killed, then $n ranks: $(cat "$tmp/log")"
done

# refused by name, once
once() { # once STATUS TEXT COMMAND…
  fails "$@"
  [ "$(grep -cF -- "$2" "$tmp/stderr")" = 1 ] || fail "${*:3}: expected '$2' once: $(cat "$tmp/stderr")"
}
score --quiet "$tmp/rows.jsonl" -o "$tmp/other.jsonl" --task 1/3 2>/dev/null
once 2 "parts of an interrupted run are there" many 2 "$tmp/rows.jsonl" -o "$tmp/other.jsonl"
once 2 "was made otherwise, so its rows cannot be kept: options max-length was 64, is 63" many 2 "$tmp/rows.jsonl" -o "$tmp/other.jsonl" --resume --max-length 63
once 2 "several ranks: expected a file of ROWS and -o FILE" many 2 "$tmp/rows.jsonl"
once 2 "several ranks: --stream" many 2 "$tmp/rows.jsonl" -o "$tmp/x" --group-by id
once 2 "leave one out" many 2 "$tmp/rows.jsonl" -o "$tmp/x" --task 1/2
once 1 "none.jsonl: cannot open" many 3 "$tmp/none.jsonl" -o "$tmp/x"
once 1 "no/such/x: cannot create" many 2 "$tmp/rows.jsonl" -o "$tmp/no/such/x"
fails 2 "model, processor and options: expected the same on all 2 ranks" "${mpirun[@]}" -n 1 "$reward" "${args[@]}" "$tmp/rows.jsonl" -o "$tmp/x" : -n 1 "$reward" "${args[@]}" --max-length 63 "$tmp/rows.jsonl" -o "$tmp/x"

# eval
for how in drop error; do
  evaluate=(eval --threads 1 --model $model --suite pairs --data "$tmp/held.jsonl" --max-length 64 --overlong $how)
  "$reward" "${evaluate[@]}" -o "$tmp/one.json" --html "$tmp/one.html" >"$tmp/one.table" 2>"$tmp/one.said"
  status=$?
  for n in 2 3; do
    expect $status "" ranks $n "$reward" "${evaluate[@]}" -o "$tmp/many.json" --html "$tmp/many.html"
    cmp "$tmp/one.json" "$tmp/many.json" && cmp "$tmp/one.html" "$tmp/many.html" && diff "$tmp/one.table" "$tmp/stdout" && diff <(said "$tmp/one.said") <(said "$tmp/stderr") ||
      fail "eval, $how, $n ranks: $(cat "$tmp/out")"
  done
done
once 2 "several ranks: expected --model" ranks 2 "$reward" eval --suite pairs --data "$tmp/held.jsonl" --scores "$tmp/whole.jsonl"

# sweep: the runs go round the ranks
sweep() { "$@" sweep --quiet --threads 1 --model $model --data "$tmp/train.jsonl" --eval "$tmp/train.jsonl" --losses bt,hinge --seeds 0,1 --steps 2 --batch-size 8 --tensorboard no --out "$out"; }
out=$tmp/sweep1
sweep "$reward" >"$tmp/sweep1.table"
out=$tmp/sweep3
expect 0 "" sweep "${mpirun[@]}" -n 3 "$reward"
diff <(sed 's/ *[0-9.]*$//' "$tmp/sweep1.table") <(sed 's/ *[0-9.]*$//' "$tmp/stdout") || fail "sweep: another table"
for run in bt-0 bt-1 hinge-0 hinge-1; do
  cmp "$tmp/sweep1/$run/model.safetensors" "$tmp/sweep3/$run/model.safetensors" || fail "sweep: $run"
done
expect 0 "" sweep "${mpirun[@]}" -n 3 "$reward"
[ $bad = 0 ] && echo "rows over ranks, killed, refused: one process's bytes"
exit $bad
