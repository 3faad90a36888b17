#!/usr/bin/env bash
# Bad rows in a mixed file are named and counted and the rest trains; a number that is not finite stops the run and is
# traced to step, row and tensor.
set -eu
. "$(dirname "$0")/lib.sh"
mkdir "$tmp/model"
cp tests/data/model/llama/{config.json,model.safetensors} tests/data/tokenizer/digits/* "$tmp/model/"
echo "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}" >"$tmp/template"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(4)
draw = lambda n: [random.randrange(3, 149) for _ in range(n)]
good = [{"prompt": str(i), "chosen": str(i * 7), "rejected": str(i * 3 + 1), "id": f"g{i}"} for i in range(10)]
bad = ['{"prompt": "1", "chosen": "2", "rejected": "3", "margin": NaN}', '{"prompt": "1", "chosen": "2", "rejected": "3", "margin": "x"}',
       '{"prompt": "1", "chosen": "2", "rejected": "3", "margin": 1e999}', '{"prompt": "1", "chosen": "", "rejected": "3"}',
       '{"prompt": "1", "chosen": "2", "rejected": " \\n\\u00a0\u3000\\u2029\\u000b"}', '{"prompt": "1", "chosen": "2", "rejected": "2"}',
       '{"prompt": "1", "responses": ["2", "3"], "scores": [1, 1]}', '{"prompt": "1", "responses": ["2", "2", "2"], "scores": [1, 2, 3]}',
       '{"prompt": "1", "responses": ["2", "3"], "scores": [1, 2], "margin": 1}',
       '{"prompt": "1", "chosen": "2"}', "not json", "{}", "[1]",
       json.dumps({"chosen_ids": draw(100000), "rejected_ids": draw(4)}), json.dumps({"chosen_ids": draw(4), "rejected_ids": draw(100000)}),
       '{"chosen_ids": [], "rejected_ids": [4]}', '{"chosen_ids": [4], "rejected_ids": [200]}', '{"chosen_ids": [4], "rejected_ids": [-1]}']
one = ['{"chosen_ids": [5], "rejected_ids": [6]}', '{"chosen_ids": [5], "rejected_ids": [5, 6]}']
rows = [json.dumps(r) for r in good] + bad + one
random.shuffle(rows)
open(sys.argv[1] + "/mixed.jsonl", "w").write("\n".join(rows) + "\n")
open(sys.argv[1] + "/good.jsonl", "w").write("\n".join(r for r in rows if r in one or r in map(json.dumps, good)) + "\n")
with open(sys.argv[1] + "/ids.jsonl", "w") as f:
    for i in range(24): f.write(json.dumps({"chosen_ids": draw(5), "rejected_ids": draw(4), "id": f"row{i}"}) + "\n")
    f.write(json.dumps({"chosen_ids": [7, 150, 9], "rejected_ids": [8, 9], "id": "has 150"}) + "\n")
E2
train() { "$reward" train --quiet --batch-size 4 --lr 1e-3 --threads 1 "$@"; }

train --model "$tmp/model" --chat-template "$tmp/template" --data "$tmp/mixed.jsonl" --out "$tmp/a" --epochs 2 2>"$tmp/said"
cp -r "$tmp/a" "$tmp/b" # and in OUT neither
train --model "$tmp/model" --chat-template "$tmp/template" --data "$tmp/good.jsonl" --out "$tmp/b" --force --epochs 2 2>/dev/null
cmp "$tmp/a/model.safetensors" "$tmp/b/model.safetensors" # the bad rows left no trace
[ ! -e "$tmp/b/dropped.jsonl" ]
python3 - "$tmp" <<'E2'
import json, sys
rows = json.load(open(sys.argv[1] + "/a/run.json"))["rows"]
want = {"read": 30, "used": 12, "invalid": 11, "empty_dropped": 2, "overlong_dropped": 2, "identical_dropped": 3, "truncated": 0}
assert {k: rows[k] for k in want} == want, rows
said = open(sys.argv[1] + "/said").read()
for text in ("100000 tokens, more than --max-length 512", "its sides, or all its scores, are the same", "a response is empty", "NaN is not JSON"):
    assert text in said and "mixed.jsonl:" in said, (text, said)
# each by its file and line
lines = open(sys.argv[1] + "/mixed.jsonl").read().splitlines()
good = set(open(sys.argv[1] + "/good.jsonl").read().splitlines())
dropped = [json.loads(l) for l in open(sys.argv[1] + "/a/dropped.jsonl")]
assert [(d["file"], d["line"]) for d in dropped] == [(sys.argv[1] + "/mixed.jsonl", i) for i, l in enumerate(lines, 1) if l not in good], dropped
for k in want:
    if k not in ("read", "used", "truncated"): assert sum(d["count"] == k for d in dropped) == want[k], (k, dropped)
for d in dropped:
    if "NaN" in lines[d["line"] - 1]: assert "NaN is not JSON" in d["reason"], d
    if d["count"] == "overlong_dropped": assert d["reason"] == "100000 tokens, more than --max-length 512", d
E2

# break TENSOR SCALE|inf|nan [INDEX]: a model with that fault
break_model() {
  rm -rf "$tmp/broken" && mkdir "$tmp/broken" && cp tests/data/model/llama/config.json "$tmp/broken/"
  python3 - "$tmp/broken/model.safetensors" "$@" <<'E2'
import json, struct, sys
out, name, what = sys.argv[1:4]
b = bytearray(open("tests/data/model/llama/model.safetensors", "rb").read())
n = struct.unpack("<Q", b[:8])[0]
t = json.loads(b[8:8 + n])[name]
assert t["dtype"] == "F32"
lo, hi = (8 + n + x for x in t["data_offsets"])
v = list(struct.unpack(f"<{(hi - lo) // 4}f", b[lo:hi]))
if what in ("inf", "nan"): v[int(sys.argv[4])] = float(what)
else: v = [x * float(what) for x in v]
b[lo:hi] = struct.pack(f"<{len(v)}f", *v)
open(out, "wb").write(b)
E2
}
# says STATUS TEXT…: the training of the broken model stops with 1 and says all of the texts
says() {
  local status=0 text
  rm -rf "$tmp/out"
  train --model "$tmp/broken" --data "$tmp/ids.jsonl" --out "$tmp/out" --steps 20 "${extra[@]}" >"$tmp/said" 2>&1 || status=$?
  [ $status -eq 1 ] || { echo "expected exit 1, got $status"; cat "$tmp/said"; exit 1; }
  for text; do grep -qF -- "$text" "$tmp/said" || { echo "expected '$text' in:"; cat "$tmp/said"; exit 1; }; done
}
extra=(--shuffle no)
break_model model.layers.1.mlp.up_proj.weight inf 37
says "step 1:" "4 of 4 rows" "ids.jsonl:1 (id row0)" "tensor model.layers.1.mlp.up_proj.weight" "index 37"
"$reward" score --quiet --model "$tmp/broken" "$tmp/ids.jsonl" >/dev/null 2>"$tmp/said" && exit 1
grep -q "model.layers.1.mlp.up_proj.weight" "$tmp/said"
break_model model.embed_tokens.weight nan $((150 * 32 + 3))
says "step 7:" "ids.jsonl:25 (id has 150)" "1 of 1 rows" "model.embed_tokens.weight"
break_model model.layers.0.mlp.gate_proj.weight 1e38 # finite weights, but their products are not
says "step 1:" "layer 0" "model.layers.0.mlp.down_proj.weight" "token"
break_model score.weight 1e25 # finite rewards and loss, but a gradient beyond f32
extra=(--shuffle no --loss margin-mse)
says "step 1:" "4 of 4 rows" "(id row2)" "the gradient of model.norm.weight is not finite"
[ ! -e "$tmp/out/model.safetensors" ]
grep -q '"unfinished"' "$tmp/out/run.json"
echo "bad rows counted, faults named"
