#!/usr/bin/env bash
# What goes wrong is said with its place, in the right exit status, and leaves nothing half-written.
set -eu
. "$(dirname "$0")/lib.sh"
model=tests/data/model/llama
score() { "$reward" score --quiet --model "$model" "$@"; }

fails 2 "unknown command" "$reward" nonsense
fails 2 "unknown option" score --bogus
fails 2 "expected a whole number" score --batch-tokens x
fails 2 "one argument too many" score a b
for c in train score eval compare curate decontaminate stats report tokenize convert; do
  "$reward" $c --help | grep -q "^Examples:" || { echo "$c --help lacks examples"; exit 1; }
done
[ "$("$reward" --version | head -n 1)" = "reward $(sed -n 's/^VERSION := //p' Makefile)" ]
"$reward" --version | grep -q "^cpu  *\(baseline\|avx2\|avx512\|amx\)$"

fails 1 "nowhere.jsonl: cannot open" score "$tmp/nowhere.jsonl"
fails 1 "config.json: cannot open" "$reward" score --model "$tmp" /dev/null
cp -r $model "$tmp/m"
head -c 5000 $model/model.safetensors >"$tmp/m/model.safetensors"
fails 1 "model.safetensors" "$reward" score --model "$tmp/m" /dev/null
sed 's/"hidden_size": 32/"hidden_size": 48/' $model/config.json >"$tmp/m/config.json"
cp $model/model.safetensors "$tmp/m/"
fails 1 "model.embed_tokens.weight: expected shape [200, 48]" "$reward" score --model "$tmp/m" /dev/null
# a head of another number of labels than the class has: one as a reward model, num_labels as Nemotron
python3 - "$tmp" <<'E2'
import json, os, shutil, struct, sys
def head_of(source, to, name, shape):
    os.makedirs(to)
    shutil.copy(f"{source}/config.json", to)
    raw = open(f"{source}/model.safetensors", "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8:8 + n]), raw[8 + n:]
    size = 4 * shape[0] * shape[1]
    assert header[name]["dtype"] == "F32"
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
    at, parts = 0, []
    for t in header:
        if t == "__metadata__": continue
        a, b = header[t]["data_offsets"]
        parts.append((data + bytes(size))[a:b])
        header[t]["data_offsets"] = [at, at + b - a]
        at += b - a
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(f"{to}/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + b"".join(parts))
head_of("tests/data/model/llama", sys.argv[1] + "/two", "score.weight", [2, 32])
E2
fails 1 "tensor score.weight: expected shape [1, 32], got [2, 32]; a classifier of several labels is no reward model" \
  "$reward" score --model "$tmp/two" /dev/null
sed 's/"model_type": "llama"/"model_type": "mamba"/' $model/config.json >"$tmp/m/config.json"
fails 1 "model_type: expected llama" "$reward" score --model "$tmp/m" /dev/null

# rows: each bad one carries its error, the others their scores
printf '%s\n' '{"input_ids": [5, 6, 7]}' '{"input_ids": []}' 'not json' '{"text": "x"}' '{"input_ids": [5, 6, 7], "keep": [1]}' >"$tmp/rows.jsonl"
fails 1 "rows.jsonl:3" score "$tmp/rows.jsonl" -o "$tmp/out.jsonl"
python3 - "$tmp/out.jsonl" <<'E2'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
assert ["score" in r for r in rows] == [True, False, False, False, True], rows
assert all(("error" in r) != ("score" in r) for r in rows)
assert rows[0]["score"] == rows[4]["score"] and rows[4]["keep"] == [1]
assert "tokenizer.json" in rows[3]["error"], rows[3]
E2
# a row's own fields: kept, but those that its kind of row gets here; of an unreadable row all that any gets. Nothing is made up
printf '%s\n' '{}' '{"score": 3, "x": 1}' '{"input_ids": [5, 6, 7], "error": "mine", "score": 1, "chosen_score": 9, "tokens": null, "truncated": true}' \
  '{"chosen_ids": [5, 6], "rejected_ids": [5], "score": 4, "tokens": "t", "chosen_tokens": 8, "attributes": 1, "dropped": true}' '7' >"$tmp/own.jsonl"
fails 1 "3 of 5 rows could not be scored" score "$tmp/own.jsonl" -o "$tmp/own.out.jsonl"
grep -qF "fields that rows have already are replaced (name: rows): error 1, dropped 1, truncated 1, score 2, chosen_tokens 1;" "$tmp/stderr"
python3 - "$tmp" <<'E2'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1] + "/own.out.jsonl")]
assert list(rows[0]) == ["error"] and set(rows[1]) == {"x", "error"} and set(rows[4]) == {"line", "error"}, rows
assert set(rows[2]) == {"input_ids", "chosen_score", "score", "tokens"} and rows[2]["tokens"] == 3 and rows[2]["chosen_score"] == 9, rows[2]
assert set(rows[3]) == {"chosen_ids", "rejected_ids", "score", "tokens", "attributes", "chosen_score", "rejected_score", "chosen_tokens",
                        "rejected_tokens"} and (rows[3]["score"], rows[3]["tokens"], rows[3]["chosen_tokens"]) == (4, "t", 2), rows[3]
r = json.load(open(sys.argv[1] + "/own.out.jsonl.run.json"))
assert r["dtype"] == "f32" and r["rows"] == 5 and r["failed"] == 3 and r["truncated"] == r["dropped"] == 0 and "max_length" in r, r
E2
# and a scored row that has an error of its own is none that failed
echo '{"chosen_ids": [5, 6], "rejected_ids": [5], "error": "mine"}' >"$tmp/mine.jsonl"
score "$tmp/mine.jsonl" -o "$tmp/mine.out.jsonl" 2>"$tmp/stderr"
"$reward" eval -q --suite pairs --data "$tmp/mine.jsonl" --scores "$tmp/mine.out.jsonl" >"$tmp/stdout"

# token counts are of what was scored; the cut is marked and counted
echo '{"chosen_ids": [5, 6, 7, 8], "rejected_ids": [5]}' | score --max-length 3 --overlong truncate - 2>"$tmp/stderr" >"$tmp/cut.jsonl"
grep -q '"chosen_tokens": 3, "rejected_tokens": 1, "truncated": true' "$tmp/cut.jsonl"
grep -qF "1 of 1 rows were truncated to 3 tokens" "$tmp/stderr"

# an output that is the input would replace it: under another name too
cp "$tmp/mine.jsonl" "$tmp/same.jsonl"
ln -s same.jsonl "$tmp/link.jsonl"
for out in same link; do
  fails 2 "name another file" score "$tmp/same.jsonl" -o "$tmp/$out.jsonl"
  fails 2 "name another file" "$reward" tokenize --model tests/data/tokenizer/llama3 "$tmp/same.jsonl" -o "$tmp/$out.jsonl"
  fails 2 "name another file" "$reward" eval --suite pairs --data "$tmp/same.jsonl" --scores "$tmp/mine.out.jsonl" -o "$tmp/$out.jsonl"
  fails 2 "name another file" "$reward" eval --suite pairs --data "$tmp/mine.jsonl" --scores "$tmp/same.jsonl" --html "$tmp/$out.jsonl"
  fails 2 "name another file" "$reward" compare "$tmp/mine.jsonl" "$tmp/mine.jsonl" "$tmp/same.jsonl" -o "$tmp/$out.jsonl"
  fails 2 "name another file" "$reward" report "$tmp/same.jsonl" -o "$tmp/$out.jsonl"
done
cmp "$tmp/mine.jsonl" "$tmp/same.jsonl"
mkdir "$tmp/again"
cp "$tmp/mine.jsonl" "$tmp/again/clean.jsonl"
fails 2 "again/clean.jsonl is read, and writing to it" "$reward" decontaminate --train "$tmp/again/clean.jsonl" --bench /dev/null -o "$tmp/again" --force
fails 2 "again/clean.jsonl is read, and writing to it" "$reward" decontaminate --train /dev/null --bench "$tmp/again/clean.jsonl" -o "$tmp/again" --force
cp "$tmp/mine.jsonl" "$tmp/again/report.json"
fails 2 "again/report.json is read" "$reward" decontaminate --train "$tmp/again/report.json" --bench /dev/null -o "$tmp/again" --force
cmp "$tmp/mine.jsonl" "$tmp/again/clean.jsonl"

fails 1 "<stdin>:1" "$reward" train --model $model --data - --out "$tmp/none" <<<'{"prompt": 3}'
fails 1 "<stdin>:1" "$reward" decontaminate --train - --bench /dev/null -o "$tmp/none2" <<<'{"prompt": 3}'
fails 2 "got stdin" "$reward" curate examples/recipe.yaml --input helpsteer2=- -o "$tmp/none3"
fails 1 "no such model here" "$reward" score --model "$tmp/nowhere" /dev/null
fails 1 "hub: hf download some/thing --local-dir thing, then give thing instead" "$reward" score --model some/thing /dev/null
fails 1 "got another file" "$reward" score --model README.md /dev/null
"$reward" score --model $model /dev/null --max-length 513 2>"$tmp/said"
grep -q -- "--max-length 513 is more than max_position_embeddings of config.json, 512" "$tmp/said"
"$reward" score --model $model /dev/null --max-length 512 2>"$tmp/said"
! grep -q "is more than" "$tmp/said" || exit 1
fails 2 "1 to 1024" score --threads 5000 /dev/null
fails 2 "1 to 1024, got 0" score --threads 0 /dev/null
fails 2 "expected 0 or more" "$reward" train --model $model --data x --out "$tmp/none" --lr -1
fails 2 "SUITE:FILE" "$reward" train --model $model --data x --out "$tmp/none" --eval pairs:nowhere
for suites in train sweep; do # a suite that there is not is no part of a file's name
  fails 2 "ppe-preference, ppe-correctness or rmb before the colon" \
    "$reward" $suites --model $model --data x --out "$tmp/none" --eval rewardbnch:README.md
done
# wrong options of train: said before anything is read or written
ids='{"chosen_ids": [5, 6, 7], "rejected_ids": [5, 6]}'
echo "$ids" >"$tmp/one pair.jsonl"
wrong() { # TEXT OPTION…
  local text=$1
  shift
  fails 2 "$text" "$reward" train --model $model --data "$tmp/one pair.jsonl" --out "$tmp/none" "$@"
  [ ! -e "$tmp/none" ]
}
wrong "--lr: expected 0 or more, got -1" --lr -1
wrong "--lr: expected a number, got 'nan'" --lr nan
wrong "--lr: expected a number, got '1e400'" --lr 1e400
wrong "--loss: expected bt|focal|focal-penalty|hinge|margin-mse|ce|tempered-log|temperature-bt|plackett-luce|mse|bce, got 'log'" --loss log
wrong "--gamma: expected 0 or more, got -1" --loss focal --gamma -1
wrong "--tempered-t: expected 0 <= t < 1, got 1" --loss tempered-log --tempered-t 1
wrong "--tempered-t: expected 0 <= t < 1, got -0.1" --loss tempered-log --tempered-t -0.1
wrong "--temperature: expected a number above 0, got 0" --loss temperature-bt --temperature 0
wrong "--center: expected 0 or more, got -1" --center -1
wrong "--epochs: expected 1 or more, got 0" --epochs 0
wrong "--steps: expected 1 or more, got 0" --steps 0
wrong "--steps: expected a whole number, got '1.5'" --steps 1.5
wrong "--batch-size: expected 1 or more, got 0" --batch-size 0
wrong "--batch-tokens: expected 1 or more, got 0" --batch-tokens 0
wrong "--warmup: expected a ratio from 0 to 1, got 2" --warmup 2
wrong "--min-lr: expected a ratio from 0 to 1, got -1" --min-lr -1
wrong "--betas: expected two numbers as 0.9,0.999, got '0.9'" --betas 0.9
wrong "--betas: expected numbers in [0, 1), got 1" --betas 0.9,1
wrong "--eps: expected a number above 0, got 0" --eps 0
wrong "--weight-decay: expected 0 or more, got -1" --weight-decay -1
wrong "--max-grad-norm: expected 0 or more, got -1" --max-grad-norm -1
wrong "--schedule: expected cosine|linear|constant, got 'step'" --schedule step
wrong "--shuffle: expected yes|no, got 'maybe'" --shuffle maybe
wrong "--max-length: expected 1 or more, got 0" --max-length 0
wrong "--overlong: expected drop|truncate|error, got 'cut'" --overlong cut
wrong "--recompute: expected no|mlp|full|auto, got 'yes'" --recompute yes
wrong "--optimizer-states: expected f32|8bit, got '4bit'" --optimizer-states 4bit
wrong "--freeze-layers: expected 0 or more, got -1" --freeze-layers -1
wrong "--freeze-layers: expected 0 to 2 (the model's layers), got 99" --freeze-layers 99
wrong "--lora-rank: expected 0 to 65536, got -1" --lora-rank -1
wrong "--lora-alpha: expected a number above 0, got 0" --lora-rank 4 --lora-alpha 0
wrong "--lora-rank" --lora-alpha 3
wrong "--lora-targets: expected --lora-rank with it" --lora-targets q_proj
wrong "--lora-targets: expected all-linear or names of q_proj" --lora-rank 4 --lora-targets nothing
wrong "--lora-dropout: expected 0 <= P < 1, got 1" --lora-rank 4 --lora-dropout 1
wrong "--eval-every needs an --eval" --eval-every 5
wrong "--eval-every: expected 0 or more, got -1" --eval "$tmp/one pair.jsonl" --eval-every -1
wrong "--early-stop needs an --eval" --early-stop 3
wrong "--keep best needs an --eval" --keep best
wrong "--keep: expected best, last or a number of checkpoints from 1, got '0'" --keep 0
wrong "--save-every: expected 0 or more, got -1" --save-every -1
wrong "--save-minutes: expected 0 or more, got -1" --save-minutes -1
wrong "--save-dtype: expected f32|f16|bf16, got 'f64'" --save-dtype f64
wrong "--date: expected a date as 2024-07-26, got 'yesterday'" --date yesterday
wrong "--resume, --force: expected one of them, got both" --resume --force
wrong "--base: expected an adapter" --base $model
wrong "--device: expected auto|cpu|cuda[:N], got 'tpu'" --device tpu
wrong "--quiet: takes no value" --quiet=yes
wrong "--lr: expected X after it" --lr
# what has no effect is said, and the run goes on
"$reward" train --model $model --data "$tmp/one pair.jsonl" --dry-run --gamma 2 --epochs 1 --steps 5 >/dev/null 2>"$tmp/stderr"
grep -q "warning: --gamma is not used: it belongs to --loss focal and focal-penalty, not to bt" "$tmp/stderr"
grep -q "warning: --epochs is not used beside --steps" "$tmp/stderr"
# of sweep
wrong() {
  local text=$1
  shift
  fails 2 "$text" "$reward" sweep --model $model --data "$tmp/one pair.jsonl" --eval "$tmp/one pair.jsonl" --out "$tmp/none" --steps 1 "$@"
}
wrong "--losses: expected losses that train's --loss has, got 'log'" --losses bt,log
wrong "--gamma: expected a loss that has it among --losses, got bt,hinge" --losses bt,hinge --gamma 2
wrong "--losses, --seeds: expected at least one" --losses ''
wrong "--seeds: expected whole numbers as 0,1,2, got 'x'" --seeds 0,x
wrong "named twice by --losses" --seeds 1,1
wrong "--seed: use --seeds here" --seed 1
wrong "--loss: use --losses here" --loss bt
wrong "--resume: a sweep always goes on" --resume
wrong "--baseline: no group is named 'none'" --baseline none
[ ! -e "$tmp/none" ]
fails 1 "subset: expected a string" "$reward" sweep --model $model --data "$tmp/one pair.jsonl" --eval "rewardbench:$tmp/one pair.jsonl" --out "$tmp/none" --steps 1
[ ! -e "$tmp/none" ] # before a run is trained that could not be measured
wrong "reward sweep: --lr: expected 0 or more, got -1" --lr -1
wrong "--keep: expected best, last or a number" --keep none
wrong "unknown option" --lrr 1
[ ! -e "$tmp/none" ] # all runs' options before the first begins
# of merge and report
fails 2 "an adapter's folder and -o DIR are needed" "$reward" merge
fails 2 "expected a PEFT directory" "$reward" merge $model -o "$tmp/none"
fails 2 "--save-dtype: expected f32|f16|bf16, got 'int8'" "$reward" merge $model -o "$tmp/none" --save-dtype int8
fails 2 "something to report and -o FILE.html are needed" "$reward" report $model
fails 1 "expected metrics.jsonl, report.json or results.json in it, found none" "$reward" report $model -o "$tmp/none"
[ ! -e "$tmp/none" ]
fails 2 "--seed: expected 0 or more, got -1" score --seed -1 /dev/null
fails 2 "--seed: expected 0 or more, got -1" "$reward" train --model $model --data x --out "$tmp/none" --seed -1
for names in norms embed norm,embed norm, ''; do
  fails 2 "--no-decay: expected norm, bias or norm,bias, got '$names'" "$reward" train --model $model --data x --out "$tmp/none" --no-decay "$names"
done
fails 1 "expected a file to write, got a folder" score /dev/null -o "$tmp"
printf 'a: 1\nb: [1\n' >"$tmp/bad.yaml"
fails 1 "bad.yaml:3:" "$reward" curate "$tmp/bad.yaml" -o "$tmp/none"
[ "$(wc -l <"$tmp/stderr")" -eq 1 ] # the YAML library prints nothing itself
printf 'stages:\n  - ? source\n' >"$tmp/key.yaml"
fails 1 "key.yaml:2: a key that begins with" "$reward" curate "$tmp/key.yaml" -o "$tmp/none"
fails 2 "reward train: --config $tmp/bad.yaml:3:" "$reward" train --config "$tmp/bad.yaml"
config() { printf "$1" >"$tmp/c.yaml"; "$reward" train --model $model --data x --out "$tmp/none" --config "$tmp/c.yaml"; }
fails 2 "--config $tmp/c.yaml: 'lora-rnk': unknown option" config 'lora-rnk: 4\n'
fails 2 "--config $tmp/c.yaml: 'config': unknown option" config 'config: other.yaml\n'
fails 2 "--config $tmp/c.yaml: force: expected true or false, got '2'" config 'force: 2\n'
fails 2 "--config $tmp/c.yaml: betas: expected a value or a list of values" config 'betas: {a: 1}\n'
fails 2 "--betas: expected two numbers as 0.9,0.999, got '0.9'" config 'betas: [0.9]\n'
fails 2 "--lr: expected a number, got 'true'" config 'lr: true\n'
printf 'data: a\n' >"$tmp/c.yaml"
fails 2 "one argument too many" "$reward" train b --config "$tmp/c.yaml"
fails 2 "--config: expected FILE.yaml after it" "$reward" train --model $model --config
printf 'a\n%%\xff\xff\n' >"$tmp/bytes"
fails 2 "bytes:2: expected UTF-8 text" "$reward" train --model $model --config "$tmp/bytes"
fails 1 "bytes:2: expected UTF-8 text" "$reward" curate "$tmp/bytes" -o "$tmp/none4"
fails 1 "bytes:2: expected UTF-8 text" "$reward" tokenize --model tests/data/tokenizer/llama3 --chat-template "$tmp/bytes" /dev/null
# curate: what makes no sense is refused before anything is read or written
curate() { "$reward" curate --quiet "$@" >"$tmp/stdout"; }
recipe() { printf 'stages:\n'; printf '  - %s\n' "$@"; }
pairs=(--input "pairs=$tmp/pairs0.jsonl")
printf '%s\n' '{"prompt": "a", "chosen": "b", "rejected": "c"}' '{"prompt": "d", "chosen": "e", "rejected": "f"}' >"$tmp/pairs0.jsonl"
recipe "source: pairs" >"$tmp/plain.yaml"
recipe "source: pairs" "agree: pairs" >"$tmp/agree.yaml"
recipe "source: pairs" "source: offsetbias" "agree: offsetbias" "decontaminate: {sources: [pairs]}" >"$tmp/both.yaml"
fails 2 "no agree stage of" curate "$tmp/plain.yaml" "${pairs[@]}" --agree-pairs "$tmp/ask"
fails 2 "no agree stage of" curate "$tmp/both.yaml" --only pairs "${pairs[@]}" --agree-pairs "$tmp/ask" --bench "$tmp/pairs0.jsonl"
recipe "source: pairs" "filter: {field: prompt, equals: x}" "agree: pairs" >"$tmp/none.yaml"
curate "$tmp/none.yaml" "${pairs[@]}" --agree-pairs "$tmp/ask" # no pair is left to ask about
[ -f "$tmp/ask" ]
[ ! -s "$tmp/ask" ]
fails 2 "write none" curate "$tmp/agree.yaml" "${pairs[@]}" --agree-pairs "$tmp/ask" --dry-run
fails 2 "read more than once, got a pipe" curate "$tmp/plain.yaml" --input pairs=<(cat "$tmp/pairs0.jsonl") -o "$tmp/none5"
mkfifo "$tmp/fifo"
fails 2 "read more than once, got a pipe" curate "$tmp/plain.yaml" --input "pairs=$tmp/fifo" -o "$tmp/none5"
fails 2 "--scores: expected a file" curate "$tmp/agree.yaml" "${pairs[@]}" --scores "$tmp/fifo" -o "$tmp/none5"
fails 2 "--bench: expected a file" curate "$tmp/plain.yaml" "${pairs[@]}" --bench "$tmp/fifo" -o "$tmp/none5"
fails 1 "--scores: $tmp/nowhere: cannot open" curate "$tmp/agree.yaml" "${pairs[@]}" --scores "$tmp/nowhere" -o "$tmp/none5"
fails 1 "--bench: $tmp/nowhere: cannot open" curate "$tmp/plain.yaml" "${pairs[@]}" --bench "$tmp/nowhere" -o "$tmp/none5"
fails 2 "expected one of them" curate "$tmp/agree.yaml" "${pairs[@]}" --scores "$tmp/pairs0.jsonl" --model $model -o "$tmp/none5"
fails 2 "needs the benchmark's rows" curate "$tmp/both.yaml" --only pairs --input "pairs=$tmp/bad.yaml" -o "$tmp/none5" # bad.yaml is not read
fails 2 "agree: this stage needs" curate "$tmp/agree.yaml" --input "pairs=$tmp/bad.yaml" -o "$tmp/none5"
[ ! -e "$tmp/none5" ]
curate "$tmp/plain.yaml" "${pairs[@]}" --bench "$tmp/pairs0.jsonl" --scores "$tmp/pairs0.jsonl" --dry-run 2>"$tmp/stderr"
grep -qF -- "--bench is not used: no decontaminate stage" "$tmp/stderr" && grep -qF -- "--scores is not used: no agree stage" "$tmp/stderr"
fails 2 "has no source nectar" curate "$tmp/plain.yaml" "${pairs[@]}" --only pairs,nectar -o "$tmp/none5"
fails 2 "--only: expected names of sources" curate "$tmp/plain.yaml" "${pairs[@]}" --only '' -o "$tmp/none5"
# the manifest has what the agree stage read; --force leaves one set of rows
manifest() { python3 -c "import json,sys; m = json.load(open(sys.argv[1])); print($1)" "$2/manifest.json"; }
curate "$tmp/plain.yaml" "${pairs[@]}" -o "$tmp/set"
[ "$(manifest "m['also_read'], 'model' in m" "$tmp/set")" = "[] False" ]
printf '%s\n' '{"chosen_score": 2, "rejected_score": 1}' '{"error": "no"}' >"$tmp/scored.jsonl"
curate "$tmp/agree.yaml" "${pairs[@]}" --scores "$tmp/scored.jsonl" -o "$tmp/set" --force
[ "$(manifest "[f['file'] for f in m['also_read']], m['pairs']" "$tmp/set")" = "['scored.jsonl'] 1" ]
mkdir "$tmp/digits"
cp tests/data/model/llama/{config.json,model.safetensors} tests/data/tokenizer/digits/* "$tmp/digits/"
curate "$tmp/agree.yaml" "${pairs[@]}" --model "$tmp/digits" -o "$tmp/set" --force
manifest "m['model']['path'], m['model']['sha256']" "$tmp/set" | grep -qE "^$tmp/digits [0-9a-f]{64}\$"
if curate "$tmp/plain.yaml" "${pairs[@]}" --format parquet -o "$tmp/set" --force 2>"$tmp/stderr"; then
  [ ! -e "$tmp/set/train.jsonl" ]
  [ "$(ls "$tmp/set/data")" = train-00000-of-00001.parquet ]
  : >"$tmp/set/data/train-00001-of-00002.parquet"
  curate "$tmp/plain.yaml" "${pairs[@]}" --format parquet -o "$tmp/set" --force
  [ "$(ls "$tmp/set/data")" = train-00000-of-00001.parquet ]
  : >"$tmp/set/data/mine"
  curate "$tmp/plain.yaml" "${pairs[@]}" -o "$tmp/set" --force
  [ "$(ls "$tmp/set/data")" = mine ]
  rm "$tmp/set/data/mine"
  [ -e "$tmp/set/train.jsonl" ]
  curate "$tmp/plain.yaml" "${pairs[@]}" -o "$tmp/set" --force
  [ ! -e "$tmp/set/data" ]
else
  grep -q "make deps" "$tmp/stderr"
  recipe "source: pairs" "write: a.parquet" >"$tmp/wrong.yaml"
  fails 1 "a.parquet needs Arrow's library" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
fi
# --force: what an earlier recipe wrote goes, what is the user's stays; no file that is read is replaced or removed
recipe "source: pairs" "write: early.jsonl" "write: {file: other.jsonl.gz}" >"$tmp/writes.yaml"
curate "$tmp/writes.yaml" "${pairs[@]}" -o "$tmp/over"
: >"$tmp/over/mine.jsonl"
cp "$tmp/over/early.jsonl" "$tmp/early.jsonl"
for file in early.jsonl train.jsonl; do
  for format in jsonl parquet; do
    fails 2 "over/$file is read, and writing to it would replace it" curate "$tmp/plain.yaml" --input "pairs=$tmp/over/$file" --format $format -o "$tmp/over" --force
  done
done
cp "$tmp/pairs0.jsonl" "$tmp/over/removed.jsonl"
fails 2 "over/removed.jsonl is read" curate "$tmp/both.yaml" --only pairs "${pairs[@]}" --bench "$tmp/over/removed.jsonl" -o "$tmp/over" --force
cp "$tmp/pairs0.jsonl" "$tmp/ask"
fails 2 "ask is read" curate "$tmp/agree.yaml" --input "pairs=$tmp/ask" --agree-pairs "$tmp/ask"
cmp "$tmp/early.jsonl" "$tmp/over/early.jsonl"
[ ! -e "$tmp/over/.unfinished" ] # a refusal leaves a finished folder one
curate "$tmp/plain.yaml" "${pairs[@]}" -o "$tmp/over" --force
[ "$(ls "$tmp/over" | tr '\n' ' ')" = "README.md manifest.json mine.jsonl removed.jsonl report.html report.json train.jsonl " ]
# a word that a list option took, for the recipe or the folder that is missing
fails 2 "got '$tmp/plain.yaml'; is that the recipe? It goes first, or behind --" curate "${pairs[@]}" "$tmp/plain.yaml" -o "$tmp/none5"
fails 2 "got '$tmp/plain.yaml'; is that the recipe?" curate --input "$tmp/plain.yaml" -o "$tmp/none5"
fails 2 "a recipe is needed; '$tmp/plain.yaml' was taken as a value of --bench" curate "${pairs[@]}" --bench "$tmp/pairs0.jsonl" "$tmp/plain.yaml" -o "$tmp/none5"
fails 2 "a recipe is needed" curate "${pairs[@]}" -o "$tmp/none5"
if grep -q "was taken" "$tmp/stderr"; then exit 1; fi
curate "${pairs[@]}" --dry-run --bench "$tmp/pairs0.jsonl" -- "$tmp/plain.yaml" 2>"$tmp/stderr"
fails 2 "-o DIR are needed; 'clean' was taken as a value of --bench" "$reward" decontaminate --train "$tmp/pairs0.jsonl" --bench "$tmp/pairs0.jsonl" clean
# a run that fails takes away the folders that it made, when they are empty, and no others
mkdir "$tmp/there" "$tmp/full"
: >"$tmp/full/file"
echo '{"prompt": 3}' >"$tmp/three.jsonl"
for out in made made/deep/er there there/deep full/deep made/; do
  fails 1 "three.jsonl:1" curate "$tmp/plain.yaml" --input "pairs=$tmp/three.jsonl" -o "$tmp/$out"
  fails 1 "three.jsonl:1" "$reward" decontaminate --train "$tmp/three.jsonl" --bench "$tmp/pairs0.jsonl" -o "$tmp/$out"
  [ ! -e "$tmp/made" ]
  [ -d "$tmp/there" ]
  [ -z "$(ls -A "$tmp/there")" ]
  [ "$(ls -A "$tmp/full")" = file ]
done
recipe "source: pairs" "select: {groups: [{keep: 0.5}]}" >"$tmp/wrong.yaml"
fails 1 "wrong.yaml:3: select: pairs has no scores to select by" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
recipe "source: pairs" "dedup: exact" "source: pairs" >"$tmp/wrong.yaml"
fails 1 "wrong.yaml:4: source: pairs stands in line 2 already" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
recipe "dedup: exact" >"$tmp/wrong.yaml"
fails 1 "wrong.yaml:2: stages: expected a source stage" curate "$tmp/wrong.yaml" -o "$tmp/none5"
# what is empty has a line too
empty() { # LINE TEXT YAML
  printf "$3" >"$tmp/wrong.yaml"
  fails 1 "wrong.yaml:$1: $2" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
}
empty 2 "stages: expected at least one, got an empty list" 'name: a\nstages: []\n'
empty 5 "stages: expected source, select" 'stages:\n  - source: pairs # [x]\n    # - [y]\n\n  - []\n  - dedup: exact\n'
empty 3 "stages: expected source, select" 'stages:\n  - source: pairs\n  -\n  - dedup: exact\n'
empty 3 "source: expected the name of a source" 'stages:\n  - source:\n      []\n'
empty 4 "sources: expected at least one source, got an empty list" 'stages:\n  - source: pairs\n  - dedup: {by: exact,\n      sources: []}\n'
empty 4 "groups: expected at least one, got an empty list" 'stages:\n  - source: magpie-air\n  - select:\n      groups: []\n'
empty 5 "keep: expected a decimal from 0 to 1, as 0.3, got nothing" 'stages:\n  - source: magpie-air\n  - select:\n      groups:\n        - keep:\n          categories: [Math]\n'
empty 3 "in: expected at least one value, got an empty list" 'stages:\n  - source: pairs\n  - filter: {field: x, in: []}\n'
recipe "source: pairs" "selct: {keep: 1}" >"$tmp/wrong.yaml"
fails 1 "write first, got selct" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
for name in ../x.jsonl /tmp/x.jsonl a/b.jsonl .x.jsonl .jsonl x.txt x 'a.partial-1.jsonl' '"a\tb.jsonl"' '[a]' '""'; do
  recipe "source: pairs" "write: $name" >"$tmp/wrong.yaml"
  fails 1 "wrong.yaml:3: write: expected the name of a file in the output folder, no path" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
done
for name in train.jsonl removed.jsonl; do
  recipe "source: pairs" "write: {file: $name}" >"$tmp/wrong.yaml"
  fails 1 "wrong.yaml:3: write: expected another name" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
done
recipe "source: pairs" "write: a.jsonl" "write: {file: a.jsonl, source: pairs}" >"$tmp/wrong.yaml"
fails 1 "wrong.yaml:4: write: a.jsonl is written by line 3 already" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
recipe "source: pairs" "write: {source: pairs}" >"$tmp/wrong.yaml"
fails 1 "wrong.yaml:3: write: expected file" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
recipe "write: a.jsonl" "source: pairs" >"$tmp/wrong.yaml"
fails 1 "wrong.yaml:2: write: expected a source stage before it" curate "$tmp/wrong.yaml" "${pairs[@]}" -o "$tmp/none5"
# a row's own field "error" is not a failure of tokenize
echo '{"error": null, "text": "a"}' | "$reward" tokenize --model tests/data/tokenizer/llama3 - >"$tmp/ids" 2>"$tmp/stderr"
grep -q ids "$tmp/ids" && ! grep -qE "could not|replaced" "$tmp/stderr"
printf '%s\n' '{"text": "a", "input_ids": [1], "error": ""}' '{"text": "b", "input_ids": null}' '{"id": 1, "error": "old"}' >"$tmp/own.jsonl"
fails 1 "fields that rows have already are replaced (name: rows): input_ids 1, error 2; rename them to keep them" "$reward" tokenize --model tests/data/tokenizer/llama3 "$tmp/own.jsonl"
fails 1 "<stdin>:1: row: expected text or messages" "$reward" tokenize --model tests/data/tokenizer/llama3 - <<<'{"id": 7, "error": 1, "chosen_ids": [1], "rejected_ids": [2]}'
grep -qF '{"id": 7, "chosen_ids": [1], "rejected_ids": [2], "error": "row: expected' "$tmp/stdout" # the row keeps its fields
printf '\x1f\x8b\x08\x00broken' >"$tmp/broken.gz"
fails 1 "broken.gz" score "$tmp/broken.gz"
printf '%s\n' '{"input_ids": [5, 6, 7]}' >"$tmp/one.jsonl"
for i in $(seq 400); do cat "$tmp/one.jsonl"; done >"$tmp/many.jsonl"
if [ -e /dev/full ]; then
  (ulimit -f 1; fails 1 "File too large" "$reward" score --quiet --model $model "$tmp/many.jsonl" -o "$tmp/large.jsonl")
  [ ! -e "$tmp/large.jsonl" ]
  status=0; score "$tmp/one.jsonl" >/dev/full 2>"$tmp/stderr" || status=$?
  [ $status -eq 1 ]
  grep -q "No space left" "$tmp/stderr"
  for word in --help --version "score --help"; do
    status=0; "$reward" $word >/dev/full 2>"$tmp/stderr" || status=$?
    [ $status -eq 1 ]
    grep -q "stdout: cannot write" "$tmp/stderr"
  done
fi
if small_disk 64k; then # a disk that is too small: the error says so, and nothing is left
  fails 1 "$tmp/small: checkpoints and the result take" "$reward" train --quiet --model $model --data <(echo '{"chosen_ids": [5], "rejected_ids": [6]}') --out "$tmp/small/out" --epochs 1
  [ ! -e "$tmp/small/out" ]
fi

# Ctrl-C saves and says how to go on
python3 -c "
import random
random.seed(2)
for i in range(300): print({'chosen_ids': [random.randrange(200) for _ in range(60)], 'rejected_ids': [random.randrange(200) for _ in range(60)]})" | tr "'" '"' >"$tmp/pairs.jsonl"
"$reward" train --model $model --data "$tmp/pairs.jsonl" --out "$tmp/run" --epochs 400 --batch-size 4 2>"$tmp/stderr" &
pid=$!
sleep 1
kill -INT $pid
status=0; wait $pid || status=$?
[ $status -eq 130 ]
grep -q -- "--resume goes on" "$tmp/stderr"
ls "$tmp/run" | grep -q checkpoint-
echo "errors are named, nothing is half-written"
