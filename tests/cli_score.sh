#!/usr/bin/env bash
# `reward score` beyond a file in, a file out: one question on the command line, the best of several, candidates in
# rows of their own, rows answered as they come. Each gives the bits that plain rows give.
set -u
. "$(dirname "$0")/lib.sh"
model=$tmp/model
mkdir "$model"
cp tests/data/model/llama/{config.json,model.safetensors} "$model/"
python3 - "$model" <<'P'
import json, sys
chars = "abcdefghijklmnopqrstuvwxyz0123456789 .,?!+\"\n"
added = [{"id": 190, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]
with open(sys.argv[1] + "/tokenizer.json", "w") as f:
    json.dump({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
               "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": False, "byte_fallback": False, "merges": [],
                         "vocab": {"<unk>": 0, **{c: i + 3 for i, c in enumerate(chars)}}}}, f)
with open(sys.argv[1] + "/tokenizer_config.json", "w") as f:
    json.dump({"eos_token": "<|end|>", "chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"}, f)
P
score() { "$reward" score --quiet --model "$model" --threads 1 "$@"; }
same() { cmp "$1" "$2" || fail "$3: $(diff "$1" "$2" | head -n 4)"; }

# a question on the command line is the row that it stands for
echo '{"prompt": "1+1?", "response": "2"}' | score >"$tmp/one"
expect 0 "" score --prompt '1+1?' --response 2
same "$tmp/stdout" "$tmp/one" "--prompt and --response"
echo '{"prompt": "say \"a\"\n", "responses": ["a", "", "b c", "a"]}' | score >"$tmp/four"
asked=(--prompt $'say "a"\n' --response a --response '' --response 'b c' --response=a)
expect 0 "" score "${asked[@]}"
same "$tmp/stdout" "$tmp/four" "several responses"
score "${asked[@]}" -o "$tmp/asked" && same "$tmp/asked" "$tmp/four" "-o FILE"
[ ! -e "$tmp/asked.run.json" ] || fail "one row gets a record"
expect 1 '"error": "' score --prompt a --response "$(printf 'x%.0s' {1..2000})"
[ "$(wc -l <"$tmp/stdout")" = 1 ] || fail "a row with an error is not one row"
fails 2 "expected --response with it" score --prompt a
fails 2 "expected --prompt with it" score --response a
fails 2 "expected no ROWS beside it, got rows.jsonl" score --prompt a --response b rows.jsonl
fails 2 "are for ROWS" score --prompt a --response b --stream
fails 2 "expected one of them" score --stream --group-by id
fails 1 "no.jsonl" score "$tmp/no.jsonl"

# the best: the first of equals, as it stood in the row; nothing else changes
python3 - >"$tmp/rows.jsonl" <<'P'
import json, random
rng = random.Random(4)
text = lambda: "".join(rng.choice("abc 123") for _ in range(rng.randint(0, 9)))
rows = []
for i in range(60):
    q = "q%d" % (i % 7)
    if i % 10 == 3: rows.append({"prompt": q, "chosen": text(), "rejected": text(), "best": "kept", "case": i % 7})
    elif i % 10 == 4: rows.append({"text": text() + "x", "case": i % 7})
    elif i % 10 == 5: rows.append({"prompt": q, "responses": ["a", text(), "a"] if i % 4 else [], "best": 9, "case": i % 7})
    elif i % 10 == 6: rows.append({"prompt": q, "responses": [[{"role": "assistant", "content": text()}], "b\u00e9"]})
    elif i % 10 == 7: rows.append({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": text()}], "case": None if i % 3 else str(i % 7)})
    elif i == 18: rows.append({"prompt": q, "response": "x" * 3000, "case": 4})
    else: rows.append({"prompt": q, "response": text(), "case": i % 7})
for r in rows: print(json.dumps(r))
print('{"prompt": "cut')
print('[1]')
P
score "$tmp/rows.jsonl" >"$tmp/plain" 2>"$tmp/log"
[ $? = 1 ] || fail "rows with errors: $(cat "$tmp/log")"
score --best "$tmp/rows.jsonl" >"$tmp/best" 2>"$tmp/log"
grep -q "replaced (name: rows): best [0-9]*;" "$tmp/log" || fail "a row's own best: $(cat "$tmp/log")"
score --group-by case "$tmp/rows.jsonl" >"$tmp/grouped" 2>"$tmp/log"
same "$tmp/grouped" "$tmp/plain" "--group-by changes what is written"
score --group-by case --best --batch-tokens 40 "$tmp/rows.jsonl" >"$tmp/both" 2>"$tmp/log"
python3 - "$tmp" <<'P' || fail "what --best and --group-by write"
import json, sys
read = lambda name: [json.loads(l) for l in open(sys.argv[1] + "/" + name)]
plain, best, both, rows = read("plain"), read("best"), read("both"), []
for line in open(sys.argv[1] + "/rows.jsonl"):
    try: rows.append(json.loads(line))
    except ValueError: rows.append(None)
groups = {}
for i, r in enumerate(rows):
    if isinstance(r, dict) and "responses" not in r and "chosen" not in r and r.get("case") is not None:
        groups.setdefault((type(r["case"]), r["case"]), []).append(i)
assert max(map(len, groups.values())) > 4 and len(plain) == len(best) == len(both) == len(rows) == 62
text = lambda r: r["response"] if "response" in r else r["text"] if "text" in r else r["messages"][-1]["content"]
for i, (p, b, g, r) in enumerate(zip(plain, best, both, rows)):
    if "scores" in p:
        n = len(p["scores"])
        want = {"best": p["scores"].index(max(p["scores"])), } if n else {}
        if n: want["best_response"] = r["responses"][want["best"]]
        p.pop("best", None)
        assert b == {**p, **want} == g, (p, b, g)
        continue
    assert b == p and list(b) == list(p)
    if "score" not in p:
        assert g == p
        continue
    mates = next((v for v in groups.values() if i in v), [i])
    scores = [plain[k].get("score", float("-inf")) for k in mates]
    at = scores.index(max(scores))
    assert g == {**p, "best": at, "best_response": text(rows[mates[at]])}, (p, g, mates, scores)
P
[ "$(grep -c . "$tmp/log")" -gt 0 ] || fail "no word of rows with errors"
expect 1 "no one-candidate row has the field nothing" score --group-by nothing "$tmp/rows.jsonl"

# an interrupted grouped run goes on to the same bytes
score --group-by case --best "$tmp/rows.jsonl" -o "$tmp/whole" 2>/dev/null
same "$tmp/whole" "$tmp/both" "a file as output"
grep -q '"best": true, "group_by": "case"' "$tmp/whole.run.json" || fail "the record: $(cat "$tmp/whole.run.json")"
python3 - "$tmp" <<'P'
import json, sys
record = json.load(open(sys.argv[1] + "/whole.run.json"))["identity"]
with open(sys.argv[1] + "/again.partial", "w") as f:
    f.write(json.dumps(record) + "\n" + "".join(list(open(sys.argv[1] + "/whole"))[:23]))
P
cp "$tmp/again.partial" "$tmp/kept"
score --group-by case --best "$tmp/rows.jsonl" -o "$tmp/again" --resume 2>"$tmp/log"
same "$tmp/again" "$tmp/whole" "a grouped run that goes on: $(cat "$tmp/log")"
same "$tmp/again.run.json" "$tmp/whole.run.json" "the record of a run that goes on"
cp "$tmp/kept" "$tmp/again.partial"
fails 2 "options group-by was case, is id; remove it, or leave out --resume" score --group-by id --best "$tmp/rows.jsonl" -o "$tmp/again" --resume
sed 1d "$tmp/rows.jsonl" >"$tmp/fewer.jsonl"
fails 2 "not the input whose rows are kept" score --group-by case --best "$tmp/fewer.jsonl" -o "$tmp/again" --resume

# a stream answers each row before the next comes, and its own errors too
python3 - "$reward" "$model" "$tmp" <<'P' || fail "--stream"
import json, select, subprocess, sys
reward, model, tmp = sys.argv[1:]
lines = [l for l in open(tmp + "/rows.jsonl")] + ["{}\n"]
plain = list(open(tmp + "/best"))
p = subprocess.Popen([reward, "score", "--model", model, "--stream", "--best", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
def answer(line):
    p.stdin.write(line.encode())
    got = b""
    while not got.endswith(b"\n"):
        assert select.select([p.stdout], [], [], 60)[0], "no answer to " + line
        part = p.stdout.read(1 << 16)
        assert part, "ended at " + line
        got += part
    return got.decode()
assert '"error"' in answer("{}\n")
for i, line in enumerate(lines[:-3]):
    assert answer(line) == plain[i], (line, plain[i])
p.stdin.write(lines[-3].encode().rstrip(b"\n"))  # without its newline, at the end
p.stdin.close()
assert '"error"' in p.stdout.read().decode() and p.wait() == 1
P
[ $bad = 0 ] && echo "one question, the best, groups and streams: the bits of plain rows"

# a number that overflows in the head is the error of its row, not the end of the run, and no advice for training
python3 - "$tmp" <<'P'
import json, shutil, struct, sys
tmp = sys.argv[1]
singles = [json.loads(l) for l in open(tmp + "/plain") if '"score"' in l]
with open(tmp + "/singles.jsonl", "w") as f:
    f.writelines(json.dumps({k: r[k] for k in r if k != "score"}) + "\n" for r in singles)
shutil.copytree(tmp + "/model", tmp + "/overflows")
blob = bytearray(open(tmp + "/model/model.safetensors", "rb").read())
size = struct.unpack("<Q", blob[:8])[0]
tensor = json.loads(blob[8:8 + size])["score.weight"]
a, b = (8 + size + x for x in tensor["data_offsets"])
assert tensor["dtype"] == "F32"
# the highest scores lie beyond what f32 holds
scores = sorted({abs(r["score"]) for r in singles})
factor = 2 * 3.4e38 / (scores[-1] + scores[-2])
blob[a:b] = struct.pack(f"<{(b - a) // 4}f", *(w * factor for w in struct.unpack(f"<{(b - a) // 4}f", blob[a:b])))
open(tmp + "/overflows/model.safetensors", "wb").write(blob)
P
"$reward" score --quiet --model "$tmp/overflows" --threads 1 "$tmp/singles.jsonl" >"$tmp/huge" 2>"$tmp/log"
[ $? = 1 ] || fail "an overflow: $(cat "$tmp/log")"
python3 - "$tmp" <<'P' || fail "an overflow is not its row's alone"
import json, sys
read = lambda name: [json.loads(l) for l in open(sys.argv[1] + "/" + name)]
plain, huge = [r for r in read("plain") if "score" in r], read("huge")
bad = [h for h in huge if "error" in h]
assert len(plain) == len(huge) > 20 and 0 < len(bad) < len(huge) / 2
assert all(h["error"] == "the reward head's output is not finite" and "score" not in h for h in bad), bad
assert all(h["score"] * p["score"] > 0 for p, h in zip(plain, huge) if "score" in h)
P

exit $bad
