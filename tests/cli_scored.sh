#!/usr/bin/env bash
# Training by scores of single responses (mse, bce): the loss falls, the same bits at any cut and after kill -9; rows that such a
# loss cannot take are counted; what only pairs have is null.
set -eu
. "$(dirname "$0")/lib.sh"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(1)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
with open(sys.argv[1] + "/rows.jsonl", "w") as f:
    for i in range(40):
        f.write(json.dumps({"input_ids": draw(random.randrange(2, 30)), "score": random.randrange(17) / 16, "source": "ab"[i % 2]}) + "\n")
    f.write('{"input_ids": [5, 6]}\n{"input_ids": [5, 6], "score": "1"}\n{"chosen_ids": [5], "rejected_ids": [6]}\n{"input_ids": [5, 6], "score": 1.5}\n')
E2
args=(--quiet --model tests/data/model/llama --data "$tmp/rows.jsonl" --batch-size 8 --epochs 6 --lr 1e-3 --seed 3)
for loss in mse bce; do
  "$reward" train "${args[@]}" --loss $loss --out "$tmp/$loss" 2>"$tmp/warnings"
  grep -q "rows.jsonl:41: score: expected" "$tmp/warnings"
  grep -q "rows.jsonl:43: expected a conversation with a score" "$tmp/warnings"
  "$reward" train "${args[@]}" --loss $loss --out "$tmp/$loss-cut" --threads 3 --batch-tokens 1 2>/dev/null
  for i in 1 2 3; do
    killed "$reward" train "${args[@]}" --loss $loss --out "$tmp/$loss-killed" --save-minutes 0 --resume 2>/dev/null
  done
  "$reward" train "${args[@]}" --loss $loss --out "$tmp/$loss-killed" --resume 2>/dev/null
  for other in cut killed; do
    cmp "$tmp/$loss/model.safetensors" "$tmp/$loss-$other/model.safetensors"
    same_metrics "$tmp/$loss" "$tmp/$loss-$other"
  done
  [ -s "$tmp/$loss/report.html" ]
done
python3 - "$tmp" <<'E2'
import json, math, sys
for loss, invalid in ("mse", 3), ("bce", 4):
    rows = json.load(open(f"{sys.argv[1]}/{loss}/run.json"))["rows"]
    assert (rows["read"], rows["used"], rows["invalid"]) == (44, 44 - invalid, invalid), rows
    lines = [json.loads(l) for l in open(f"{sys.argv[1]}/{loss}/metrics.jsonl")]
    epoch = len(lines) // 6
    first, last = (sum(m["loss"] for m in part) / epoch for part in (lines[:epoch], lines[-epoch:]))
    assert last < 0.8 * first, (loss, first, last)
    assert all(m["accuracy"] is None and m["margin"] is None for m in lines)
E2
