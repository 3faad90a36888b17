#!/usr/bin/env bash
# Rows as people have them: other forms, fields of other names, one array, folders as the hub has them, the folder that
# `curate --format parquet` writes. Whatever the way, the rows are the ones that plain JSONL gives.
set -u
. "$(dirname "$0")/lib.sh"
model=$tmp/model
mkdir "$model"
cp tests/data/model/llama/{config.json,model.safetensors} "$model/"
python3 - "$model" <<'P'
import json, sys
chars = "".join(map(chr, range(32, 127))) + "\n"
added = [{"id": 190, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]
with open(sys.argv[1] + "/tokenizer.json", "w") as f:
    json.dump({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
               "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": False, "byte_fallback": False, "merges": [],
                         "vocab": {"<unk>": 0, **{c: i + 3 for i, c in enumerate(chars)}}}}, f)
with open(sys.argv[1] + "/tokenizer_config.json", "w") as f:
    json.dump({"eos_token": "<|end|>", "chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"}, f)
P
score() { "$reward" score --quiet --model "$model" --threads 2 "$@"; }
numbers() { grep -o '"\(chosen_\|rejected_\)\?scores\?": [^"]*' "$1"; }

# pairs in every way that they come in: the scores of plain ones
python3 - "$tmp" <<'P'
import json, sys, os
tmp = sys.argv[1]
pairs = [(f"What is {i} and {i}?", f"It is {2 * i}.", f"No idea, {i}." + "!" * (i % 3)) for i in range(40)]
forms = {
    "plain": lambda q, c, r: {"prompt": q, "chosen": c, "rejected": r},
    "sharegpt": lambda q, c, r: {"conversations": [{"from": "human", "value": q}], "chosen": {"from": "gpt", "value": c}, "rejected": {"from": "gpt", "value": r}},
    "orca": lambda q, c, r: {"system": "", "question": q, "chosen": c, "rejected": r},
    "alpaca": lambda q, c, r: {"instruction": q, "input": "", "chosen": c, "rejected": r},
    "hh": lambda q, c, r: {"prompt": f"\n\nHuman: {q}\n\nAssistant:", "chosen": " " + c, "rejected": f"\n\nHuman: {q}\n\nAssistant: {r}"},
    "mapped": lambda q, c, r: {"ask": {"text": q}, "good": c, "more": {"bad": [r]}},
}
for name, form in forms.items():
    with open(f"{tmp}/{name}.jsonl", "w") as f:
        f.writelines(json.dumps(form(*p)) + "\n" for p in pairs)
rows = [forms["plain"](*p) for p in pairs]
json.dump(rows, open(f"{tmp}/array.json", "w"), indent=2)
os.makedirs(f"{tmp}/hub/data")
for k in range(2):
    with open(f"{tmp}/hub/data/train-0000{k}-of-00002.jsonl", "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows[20 * k:20 * k + 20])
with open(f"{tmp}/hub/data/test-00000-of-00001.jsonl", "w") as f:
    f.write(json.dumps(rows[0]) + "\n")
P
score "$tmp/plain.jsonl" -o "$tmp/want" && numbers "$tmp/want" >"$tmp/numbers"
[ "$(wc -l <"$tmp/numbers")" = 80 ] || fail "no scores"
alike() { # alike NAME ARGUMENTS…
  score "${@:2}" -o "$tmp/got" || fail "$1: not scored"
  cmp <(numbers "$tmp/got") "$tmp/numbers" || fail "$1: other scores"
}
for name in sharegpt orca alpaca hh; do alike $name "$tmp/$name.jsonl"; done
maps=(--map prompt=ask.text --map chosen=good --map rejected=more.bad.0)
alike mapped "$tmp/mapped.jsonl" "${maps[@]}"
for file in "$tmp/array.json" "$tmp/hub" "$tmp/hub:train"; do
  alike "$file" "$file"
  cmp "$tmp/got" "$tmp/want" || fail "$file: other rows"
done
alike "an array from a pipe" - <"$tmp/array.json"
fails 1 "got none of these fields, only ask, good, more" "$reward" score --model "$model" "$tmp/mapped.jsonl"
fails 2 "expected NAME=FIELD with a name of docs/data.md" score "$tmp/plain.jsonl" --map promt=ask
for command in "score -m" "stats -m" "train --steps 1 --batch-size 8 --out $tmp/mapped-none -m"; do
  expect 0 "--map source=nope: no row has the field nope" "$reward" $command "$model" --data "$tmp/plain.jsonl" --map source=nope --map id=chosen
  grep -q "chosen=\|id=" "$tmp/stderr" && fail "$command: a field that rows have is missed: $(cat "$tmp/stderr")"
done
fails 2 "expected a split dev in the folder, found none" score "$tmp/hub:dev"
fails 1 "hf download some/thing --repo-type dataset --local-dir thing, then give thing instead" score some/thing

# training, statistics and evaluations: one result, whatever the way
train() { "$reward" train --quiet --model "$model" --steps 2 --batch-size 4 --lr 1e-3 --threads 1 "$@"; }
train --data "$tmp/plain.jsonl" --out "$tmp/rm" --eval "$tmp/plain.jsonl" --eval-every 2 || fail "train"
train --data "$tmp/hub" --out "$tmp/rm2" --eval "$tmp/hub" --eval-every 2 || fail "train on a folder"
cmp "$tmp/rm/model.safetensors" "$tmp/rm2/model.safetensors" || fail "a folder trains another model"
train --data "$tmp/mapped.jsonl" "${maps[@]}" --out "$tmp/rm3" || fail "train by --map"
cmp "$tmp/rm/model.safetensors" "$tmp/rm3/model.safetensors" || fail "--map trains another model"
"$reward" stats "$tmp/plain.jsonl" --model "$model" --json >"$tmp/stats"
"$reward" stats "$tmp/hub" --model "$model" --json | cmp - "$tmp/stats" || fail "stats of a folder"
"$reward" stats "$tmp/mapped.jsonl" "${maps[@]}" --model "$model" --json | cmp - "$tmp/stats" || fail "stats by --map"
mkdir "$tmp/split"
cp "$tmp/plain.jsonl" "$tmp/split/train.jsonl"; cp "$tmp/plain.jsonl" "$tmp/split/test.jsonl"
train --data "$tmp/split" --out "$tmp/rm-split" --eval "pairs:$tmp/split:test" --eval-every 2 || fail "train with the split of a folder held out"
cmp -s <(grep -o "\"overall\": [0-9.]*" "$tmp/rm/evals.jsonl") <(grep -o "\"overall\": [0-9.]*" "$tmp/rm-split/evals.jsonl") || fail "another evaluation of a folder's split"
fails 2 "expected a split dev in the folder, found none" "$reward" train --model "$model" --data "$tmp/split" --out "$tmp/no" --eval "pairs:$tmp/split:dev"
overall() { "$reward" eval --quiet --suite pairs --model "$model" -o - "$@" | grep -o '"overall": [0-9.]*'; }
[ -n "$(overall --data "$tmp/plain.jsonl")" ] || fail "no evaluation"
[ "$(overall --data "$tmp/plain.jsonl")" = "$(overall --data "$tmp/hub")" ] || fail "an evaluation on a folder"
[ "$(overall --data "$tmp/plain.jsonl")" = "$(overall --data "$tmp/mapped.jsonl" "${maps[@]}")" ] || fail "an evaluation by --map"
expect 0 "contaminated        20" "$reward" decontaminate --train "$tmp/hub" --bench "$tmp/hub/data/train-00001-of-00002.jsonl" --ngram 5 -o "$tmp/clean"
echo '{"ask": "x y"}' >"$tmp/asks.jsonl"
fails 1 "only ask; --field train:NAME says where the prompt is" "$reward" decontaminate --train "$tmp/asks.jsonl" --bench "$tmp/plain.jsonl" -o "$tmp/no"
fails 1 "\`reward decontaminate --field bench:NAME\` reads it elsewhere" "$reward" decontaminate --train "$tmp/plain.jsonl" --bench "$tmp/asks.jsonl" -o "$tmp/no"

# curation: sources as folders; what it writes as Parquet trains as it stands
printf 'name: p\nstages:\n  - source: pairs\n' >"$tmp/pairs.yaml"
"$reward" curate --quiet "$tmp/pairs.yaml" --input "pairs=$tmp/hub" -o "$tmp/set" || fail "curate of a folder"
[ "$(wc -l <"$tmp/set/train.jsonl")" = 40 ] || fail "curate of a folder: other rows"
printf 'name: p\nstages:\n  - source: pairs\n  - source: nectar\n  - source: hh-rlhf\n' >"$tmp/three.yaml"
fails 2 "no files for the sources nectar, hh-rlhf; give --input SOURCE=FILE for each" "$reward" curate "$tmp/three.yaml" --input "pairs=$tmp/hub" -o "$tmp/no"
if "$reward" curate --quiet "$tmp/pairs.yaml" --input "pairs=$tmp/hub" --format parquet -o "$tmp/parquet" 2>/dev/null; then
  train --data "$tmp/set/train.jsonl" --out "$tmp/a" && train --data "$tmp/parquet" --out "$tmp/b" || fail "train on what curate wrote"
  cmp "$tmp/a/model.safetensors" "$tmp/b/model.safetensors" || fail "Parquet trains another model"
fi

# what would end the work in any case is said before it: a folder with files, columns of no form, a tokenizer that is
# not there; items that are too long, before they are scored; a file of another source
mkdir "$tmp/full" "$tmp/bare" && echo kept >"$tmp/full/file"
fails 2 "expected a new or empty folder, got one with files" "$reward" train --model "$model" --data "$tmp/plain.jsonl" --out "$tmp/full"
fails 1 "mapped.jsonl:1: row: expected chosen and rejected" "$reward" train --model "$model" --data "$tmp/mapped.jsonl" --out "$tmp/early"
cp "$model"/{config.json,model.safetensors} "$tmp/bare/"
fails 1 "tokenizer.json or tokenizer.model is missing" "$reward" train --model "$tmp/bare" --data "$tmp/plain.jsonl" --out "$tmp/early"
[ "$(wc -l <"$tmp/stderr")" -le 2 ] || fail "a missing tokenizer is said of every row: $(cat "$tmp/stderr")"
[ ! -e "$tmp/early" ] || fail "a run that could not begin left a folder"
fails 1 "of 40 items have more than --max-length 40 tokens (the longest " \
  "$reward" eval --suite pairs --model "$model" --data "$tmp/plain.jsonl" --max-length 40
expect 0 "are cut at the front; --overlong error, truncate or drop decides it" \
  "$reward" eval --suite pairs --model "$model" --data "$tmp/plain.jsonl" --max-length 40 --overlong truncate
printf 'name: h\nstages:\n  - source: helpsteer2\n' >"$tmp/hs.yaml"
fails 1 "plain.jsonl:1: read as helpsteer2: response: expected a string" "$reward" curate "$tmp/hs.yaml" --input "helpsteer2=$tmp/plain.jsonl" -o "$tmp/hs"
# prompts of other names, on either side
printf '{"ask": "one two three four five"}\n{"ask": "six"}\n' >"$tmp/ask.jsonl"
printf '{"turns": ["zero one two three four", "seven"]}\n' >"$tmp/turns.jsonl"
expect 0 "contaminated        1" "$reward" decontaminate --train "$tmp/ask.jsonl" --field train:ask --bench "$tmp/turns.jsonl" --ngram 4 -o "$tmp/asked"
expect 0 "contaminated        2" "$reward" decontaminate --train "$tmp/ask.jsonl" --field ask --bench "$tmp/ask.jsonl" --ngram 4 -o "$tmp/both-asked"
fails 1 "nothing: expected a string or messages" "$reward" decontaminate --train "$tmp/ask.jsonl" --bench "$tmp/turns.jsonl" --field bench:nothing -o "$tmp/none"
printf '{"turns": ["zero", "one two three four"]}\n{"problem": "one two three four"}\n{"question": "one two three four"}\n{"question": "two"}\n' >"$tmp/known.jsonl"
printf 'one two "three" four\n\nnine\n' | gzip >"$tmp/texts.txt.gz"
expect 0 "contaminated        3" "$reward" decontaminate --train "$tmp/known.jsonl" --bench "$tmp/texts.txt.gz" --ngram 4 -o "$tmp/known"
expect 0 "contaminated        1" "$reward" decontaminate --train "$tmp/texts.txt.gz" --bench "$tmp/known.jsonl" --ngram 4 -o "$tmp/texts"
[ "$(cat "$tmp/texts/clean.jsonl")" = '{"text": "nine"}' ] || fail "a text that stays: $(cat "$tmp/texts/clean.jsonl")"
exit $bad
