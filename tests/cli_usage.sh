#!/usr/bin/env bash
# Wrong usages as people type them, a row each: exit status | command line | what stderr must say. Then names: older ones that
# still work, one name for one thing in all commands, help.
set -u
. "$(dirname "$0")/lib.sh"
m=$PWD/tests/data/model/llama
cd "$tmp"
printf '%s\n' '{"chosen_ids": [5, 6], "rejected_ids": [7, 8], "source": "x"}' '{"chosen_ids": [9, 6], "rejected_ids": [7, 3], "source": "x"}' >rows.jsonl
printf 'stages:\n  - source: offsetbias\n' >recipe.yaml
printf 'stages:\n  - source: ofsetbias\n' >typo.yaml
printf 'batch-sise: 8\n' >typo-config.yaml
mkdir full empty
touch full/file

while IFS='|' read -r status line message; do
  [ -n "$line" ] || continue
  line=$(echo $line) message=${message# }
  eval "fails $status \"\$message\" \"\$reward\" ${line//MODEL/\$m}"
  [ "$status" -ne 2 ] || [ "$(wc -l <"$tmp/stderr")" -le 5 ] || fail "$line: more than its fault: $(cat "$tmp/stderr")"
done <<'E2'
2| trian                                                        | reward: 'trian': unknown command; did you mean train?
2| help trian                                                   | did you mean train?
2| evaluate                                                     | did you mean eval?
2| --verison                                                    | unknown command
2| score --modell x                                             | '--modell': unknown option; did you mean --model?
2| score --model MODEL --max-lenght 5 rows.jsonl                | did you mean --max-length?
2| train --learning-rate 1                                      | did you mean --lr?
2| train --epoch 1                                              | did you mean --epochs?
2| train --lr                                                   | --lr: expected X after it
2| train --lr fast                                              | --lr: expected a number, got 'fast'
2| train --lr -1                                                | --lr: expected 0 or more, got -1
2| train --batch-size 0                                         | --batch-size: expected 1 or more, got 0
2| train --loss focl                                            | got 'focl'; did you mean focal?
2| train --schedule cosin                                       | did you mean cosine?
2| train --overlong trunc                                       | expected drop|truncate|error, got 'trunc'; did you mean truncate?
2| train --resume=yes                                           | --resume: takes no value
2| train --model MODEL --data rows.jsonl                        | --model, --data and --out are needed, got no --out
2| train --resume                                               | --model, --data and --out are needed
2| train --out empty --resume                                   | --resume: empty has no run.json to take the arguments from
2| train --model MODEL --data rows.jsonl --out full             | full
2| train --model MODEL --data rows.jsonl --out o --resume --force | expected one of them, got both
2| train --model MODEL --data rows.jsonl --out o --eval rewardbensh:rows.jsonl | did you mean rewardbench?
2| train --model MODEL --data rows.jsonl --out o --eval nowhere.jsonl | --eval nowhere.jsonl: expected a file, or SUITE:FILE
2| train --model MODEL --data rows.jsonl --out o --keep best    | --keep best needs an --eval
2| train --model MODEL --data rows.jsonl --out o --early-stop 2 | --early-stop needs an --eval
2| train --model MODEL --data rows.jsonl --out o --lora-targets q_proj | --lora-targets: expected --lora-rank with it
2| train --model MODEL --data rows.jsonl --out o --golden some  | --golden: expected rows|none, got 'some'
2| train --model MODEL --data rows.jsonl --out o --config typo-config.yaml | 'batch-sise': unknown option; did you mean batch-size?
1| train --model MODEL --data nowhere.jsonl --out o             | nowhere.jsonl: cannot open
1| train --model nowhere --data rows.jsonl --out o              | nowhere
2| train --model MODEL --data rows.jsonl --out o --device gpu   | --device: expected auto|cpu|cuda[:N], got 'gpu'
2| score rows.jsonl                                             | --model is needed
2| score --model MODEL rows.jsonl more.jsonl                    | 'more.jsonl': one argument too many
2| score --model MODEL --data rows.jsonl rows.jsonl             | --data rows.jsonl: expected no other ROWS beside it
2| score --model MODEL --response hi                            | --response: expected --prompt with it
2| score --model MODEL rows.jsonl -o rows.jsonl                 | rows.jsonl
2| eval --suite rewardbensh --data rows.jsonl --model MODEL     | got 'rewardbensh'; did you mean rewardbench?
2| eval --data rows.jsonl --model MODEL                         | --suite and --data are needed
2| eval --suite pairs --data rows.jsonl                         | expected one of --model, --scores and --endpoint, got none
2| eval --suite pairs --data rows.jsonl --model MODEL --scores s | expected one of --model, --scores and --endpoint, got --model --scores
2| curate                                                       | a recipe is needed
2| curate recipe.yaml                                           | -o DIR is needed
2| curate recipe.yaml --input ofsetbias=rows.jsonl -o set       | got 'ofsetbias=rows.jsonl'; did you mean offsetbias?
2| curate recipe.yaml --only ofsetbias -o set                   | 'ofsetbias' is no source; did you mean offsetbias?
1| curate typo.yaml -o set                                      | did you mean offsetbias?
2| curate recipe.yaml --format parquett -o set                  | did you mean parquet?
2| decontaminate --train rows.jsonl -o d                        | --train, --bench and -o DIR are needed
2| stats rows.jsonl                                             | --model is needed
2| tokenize rows.jsonl                                          | --model is needed
2| merge                                                        | 
2| convert                                                      | a GGUF file or a folder, and -o DIR are needed
2| inspect                                                      | a directory or file is needed
2| report                                                       | 
2| serve                                                        | --model
2| sweep --model MODEL --data rows.jsonl --out s                | --eval
2| --completion tcsh                                            | expected bash|zsh|fish, got 'tcsh'
E2
[ ! -e o ] && [ ! -e set ] && [ ! -e d ] && [ ! -e s ] || fail "a wrong usage has made a folder"

# what a scores file or an endpoint makes idle is said
score() { "$reward" score -q --model "$m" "$@"; }
expect 0 "" score --data rows.jsonl --out new.jsonl
expect 0 "" score rows.jsonl --output old.jsonl
expect 0 "" score rows.jsonl -o short.jsonl
cmp new.jsonl old.jsonl && cmp new.jsonl short.jsonl || fail "--out, --output and -o"
expect 0 "--max-length is not used beside --scores" "$reward" eval --suite pairs --data rows.jsonl --scores new.jsonl --max-length 5
expect 0 "" "$reward" eval --suite pairs --data rows.jsonl --scores new.jsonl
grep -q "is not used" "$tmp/stderr" && fail "nothing was idle: $(cat "$tmp/stderr")"

# the same thing has the same name in each command, with the same letter
for c in $("$reward" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
  cmp -s <("$reward" help "$c") <("$reward" "$c" --help) || fail "help $c is not $c --help"
  "$reward" help "$c" | grep -q -- "--output" && fail "$c: --output is the older name"
  "$reward" help "$c" | grep -oE '^  (-[a-z], |    )--(out|model|quiet) ' | grep -vE -- '-o, --out |-m, --model |-q, --quiet ' | sed "s/^/$c: /"
done >wrong
[ ! -s wrong ] || fail "letters: $(cat wrong)"
for words in "help" "help train" "train --help"; do
  (sleep 0.2; exec "$reward" $words 2>"$tmp/stderr") | true
  [ ! -s "$tmp/stderr" ] || fail "$words into a pager that was left: $(cat "$tmp/stderr")"
done
"$reward" score --help | grep "this build has cpu" >/dev/null || fail "--device does not say what there is"
"$reward" --version | grep -qE "^devices     cpu" || fail "--version does not say what devices there are"
exit $bad
