#!/usr/bin/env bash
# What surrounds the training step: kept checkpoints, early stopping, figures by source.
set -eu
. "$(dirname "$0")/lib.sh"
python3 - "$tmp" <<'E2'
import json, random, sys
random.seed(2)
draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
def pairs(name, n, sources):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as f:
        for i in range(n):
            p = draw(random.randrange(0, 9))
            row = {"chosen_ids": p + draw(random.randrange(2, 12)), "rejected_ids": p + draw(random.randrange(2, 12))}
            if sources: row["source"] = sources[i % len(sources)]
            f.write(json.dumps(row) + "\n")
pairs("train", 40, ["a", "b \"q\"", "a"])
pairs("plain", 16, None)
pairs("eval", 24, ["x", "y"])
E2
train() { "$reward" train --quiet --model tests/data/model/llama --batch-size 8 --lr 1e-3 --seed 3 --threads 1 "$@" 2>>"$tmp/warnings"; }

# an evaluation whose items cannot all be scored ends the run before its first step: no figure of fewer items chooses the best
sed '3s/.*/{"chosen_ids": [5, 9999999], "rejected_ids": [6]}/' "$tmp/eval.jsonl" >"$tmp/odd.jsonl"
fails 1 "" train --data "$tmp/train.jsonl" --out "$tmp/odd" --steps 2 --keep best --eval "$tmp/odd.jsonl"
grep -q "odd.jsonl: 1 of 24 items have no score.*odd.jsonl:3" "$tmp/warnings"
[ ! -e "$tmp/odd/model.safetensors" ]

# items longer than --max-length are truncated, whatever --overlong says of the rows: it is said, counted, and the figure is eval's
train --data "$tmp/train.jsonl" --out "$tmp/short" --steps 1 --overlong drop --max-length 9 --eval "$tmp/eval.jsonl"
grep -q "eval.jsonl: [0-9]* of 24 items are longer than 9 tokens and were truncated" "$tmp/warnings"
"$reward" eval -q --suite pairs --data "$tmp/eval.jsonl" --model "$tmp/short" --max-length 9 --overlong truncate -o "$tmp/short.json" >"$tmp/out"
python3 - "$tmp" <<'E2'
import json, sys
r, e = json.load(open(sys.argv[1] + "/short.json")), json.loads(open(sys.argv[1] + "/short/evals.jsonl").readlines()[-1])
assert r["truncated"] == e["truncated"] > 0 and r["overall"] == e["overall"] and r["items"]["n"] == e["items"]["n"] == 24
E2

# figures by source, only where rows have one
train --data "$tmp/train.jsonl" --out "$tmp/a" --epochs 2 --eval "$tmp/eval.jsonl" --eval-every 5 --keep 2 --save-every 2
train --data "$tmp/plain.jsonl" --out "$tmp/plain" --steps 2
python3 - "$tmp" <<'E2'
import json, math, sys
t = sys.argv[1]
lines = [json.loads(l) for l in open(t + "/a/metrics.jsonl")]
assert len(lines) == 10
for m in lines:
    s = m["sources"]
    n = sum(v["n"] for v in s.values())
    assert n == 8 and set(s) <= {"a", 'b "q"'}, s
    for field in ("accuracy", "margin", "mean_reward"):
        assert abs(sum(v["n"] * v[field] for v in s.values()) / n - m[field]) < 1e-6, (field, m)
    square = sum(v["n"] * (v["reward_sd"] ** 2 + v["mean_reward"] ** 2) for v in s.values()) / n
    assert abs(math.sqrt(square - m["mean_reward"] ** 2) - m["reward_sd"]) < 1e-6
assert all("sources" not in json.loads(l) for l in open(t + "/plain/metrics.jsonl"))
evals = [json.loads(l) for l in open(t + "/a/evals.jsonl")]
assert [e["step"] for e in evals] == [0, 5, 10]
for e in evals:
    r = e["rewards"]
    assert r["n"] == 24 and set(r["subsets"]) == {"x", "y"} and r["sd"] > 0
    assert abs(sum(v["margin"] * v["n"] for v in r["subsets"].values()) / 24 - r["margin"]) < 1e-6
E2

"$reward" report "$tmp/a" "$tmp/plain" -o "$tmp/page.html"
python3 - "$tmp" <<'E2'
import html, json, re, sys
t = sys.argv[1]
page = html.unescape(re.sub(r"<[^>]+>", "|", open(t + "/page.html").read()))
page = re.sub(r"[|\s]+", "|", page)
lines = [json.loads(l)["sources"] for l in open(t + "/a/metrics.jsonl")][-3:] # the last quarter of ten steps
for name in ("a", 'b "q"'):
    rows = [s[name] for s in lines if name in s]
    n = sum(r["n"] for r in rows)
    accuracy, margin = (sum(r["n"] * r[f] for r in rows) / n for f in ("accuracy", "margin"))
    want = f"{name}|a|{n}|{100 * accuracy:.1f}|{margin:.3f}|".replace(" ", "|")
    assert want in page, (want, page[page.index("By|source"):][:400])
last = json.loads(open(t + "/a/evals.jsonl").readlines()[-1])
r = last["rewards"]["subsets"]["x"]
want = f"x|a|{r['n']}|{last['subsets']['x']['accuracy']:.1f}|{r['margin']:.3f}|{r['mean']:.3f}|{r['sd']:.3f}|"
assert want in page, (want, page[page.index("Rewards|by"):][:400])
E2

# run.json has what took effect of every option that --help lists, whatever was left to the data, model and machine
train --data "$tmp/train.jsonl" --out "$tmp/d" --loss hinge --no-decay bias,norm --shuffle no
train --data "$tmp/train.jsonl" --out "$tmp/l" --epochs 3 --batch-tokens 64 --lora-rank 2 --freeze-layers 1 --betas 0.8,0.95 --max-length 20 --ranking plackett-luce
train --model "$tmp/l" --data "$tmp/train.jsonl" --out "$tmp/ll" --steps 1 --recompute full --save-dtype f16 --optimizer-states 8bit
"$reward" train --help >"$tmp/help"
python3 - "$tmp" <<'E2'
import json, os, re, sys
t = sys.argv[1]
help = open(t + "/help").read()
listed = re.findall(r"^  (?:-.,|   ) --([a-z-]+)", help.split("Examples:")[0], re.M)
assert len(listed) > 40 and max(map(len, help.split("Examples:")[0].splitlines())) <= 110, listed
assert "temperature-bt|plackett-luce|mse|bce\n" in help
def effective(run, **want):
    info = json.load(open(f"{t}/{run}/run.json"))
    got = info["arguments"]["effective"]
    assert sorted(got) == sorted(listed), set(got) ^ set(listed) # --help has them in groups
    want.update(device=info["device"], dtype=info["dtype"], seed=3, threads=1, model=info["model"]["path"], out=f"{t}/{run}")
    want = {k.replace("_", "-"): v for k, v in want.items()}
    assert {k: got[k] for k in want} == want, {k: (got[k], want[k]) for k in want if got[k] != want[k]}
    assert "auto" not in got.values()
    return got
effective("d", loss="hinge", no_decay="norm,bias", shuffle="no", epochs=2, steps=10, batch_size=8, batch_tokens=1024, lr=1e-3, betas="0.9,0.999", eps=1e-8,
          weight_decay=1e-3, max_length=512, overlong="drop", recompute="no", ranking="all-pairs", save_dtype="f32", optimizer_states="f32", data=[t + "/train.jsonl"],
          eval=[], keep="last", lora_rank=0, lora_alpha=None, lora_targets=None, lora_dropout=None, base=None, date="2024-07-26", quiet=True, resume=False, margin=1)
effective("l", epochs=3, steps=15, batch_tokens=64, lora_rank=2, lora_alpha=4, lora_targets="all-linear", lora_dropout=0, freeze_layers=1, betas="0.8,0.95",
          max_length=20, ranking="plackett-luce", base=None)
got = effective("ll", epochs=0, steps=1, recompute="full", save_dtype="f16", optimizer_states="8bit", lora_rank=2, lora_alpha=4, lora_targets=None)
assert os.path.samefile(got["base"], "tests/data/model/llama"), got["base"] # how it is written depends on where both folders lie
E2
"$reward" report "$tmp/d" "$tmp/l" -o "$tmp/differ.html"
python3 - "$tmp" <<'E2'
import html, re, sys
page = open(sys.argv[1] + "/differ.html").read()
table = page[page.index("Arguments that are not the defaults"):]
rows = re.findall(r"<tr>(.*?)</tr>", table[:table.index("</table>")], re.S)
rows = [[html.unescape(c) for c in re.findall(r"<td[^>]*>(.*?)</td>", r)] for r in rows]
want = [["--loss", "hinge", "bt"], ["--ranking", "all-pairs", "plackett-luce"], ["--betas", "0.9,0.999", "0.8,0.95"], ["--no-decay", "norm,bias", "-"],
        ["--epochs", "2", "3"], ["--steps", "10", "15"], ["--shuffle", "no", "yes"], ["--max-length", "512", "20"], ["--batch-tokens", "1024", "64"],
        ["--freeze-layers", "0", "1"], ["--lora-rank", "0", "2"], ["--lora-alpha", "-", "4"], ["--lora-targets", "-", "all-linear"], ["--lora-dropout", "-", "0"]]
assert [r for r in rows if r and r[1] != r[2]] == want, rows # and what both were given, beside it
assert ["--lr", "0.001", "0.001"] in rows and not any(r and r[0] in ("--eps", "--out", "--quiet") for r in rows), rows
E2

# --keep 2: the two newest checkpoints stay, are models, and the run can go on from them
[ "$(ls -d "$tmp"/a/checkpoint-*)" = "$tmp/a/checkpoint-00000006
$tmp/a/checkpoint-00000008" ]
"$reward" score --quiet --model "$tmp/a/checkpoint-00000006" "$tmp/eval.jsonl" -o "$tmp/scored.jsonl"
train --data "$tmp/train.jsonl" --out "$tmp/b" --epochs 2 --keep 2 --save-every 2
rm "$tmp/b/run.json" "$tmp/b/model.safetensors"
train --data "$tmp/train.jsonl" --out "$tmp/b" --epochs 2 --keep 2 --save-every 2 --resume
cmp "$tmp/a/model.safetensors" "$tmp/b/model.safetensors"
[ "$(ls -d "$tmp"/b/checkpoint-* | wc -l)" -eq 2 ]
train --data "$tmp/train.jsonl" --out "$tmp/b" --epochs 2 --force # and a new run clears them
[ -z "$(ls "$tmp/b" | grep checkpoint || true)" ]

# early stopping: a rate of almost nothing never improves on the start
train --data "$tmp/train.jsonl" --out "$tmp/e" --epochs 20 --lr 1e-12 --eval "$tmp/eval.jsonl" --eval-every 3 --early-stop 4 --keep best
python3 - "$tmp/e" <<'E2'
import json, sys
run = json.load(open(sys.argv[1] + "/run.json"))
assert run["stopped_early"] == {"step": 12, "evaluations_without_improvement": 4} and run["steps_done"] == 12 and run["steps"] == 100, run
assert run["best_step"] == 0 and run["status"] == "finished"
assert len(open(sys.argv[1] + "/metrics.jsonl").readlines()) == 12
E2
grep -q stopped_early "$tmp/a/run.json" && exit 1
for bad in 0 -1 two 2x; do fails 2 "" train --data "$tmp/train.jsonl" --out "$tmp/z" --keep "$bad"; done
fails 2 "" train --data "$tmp/train.jsonl" --out "$tmp/z" --early-stop 2
fails 2 "" train --data "$tmp/train.jsonl" --out "$tmp/z" --early-stop 2 --eval "$tmp/eval.jsonl"
fails 2 "" train --data "$tmp/train.jsonl" --out "$tmp/z" --ranking worst

# Ctrl-C during an evaluation: the steps are saved, and going on begins with that evaluation
for i in $(seq 400); do cat "$tmp/eval.jsonl"; done >"$tmp/long.jsonl"
same=(--data "$tmp/train.jsonl" --steps 6 --eval "$tmp/eval.jsonl" --eval "$tmp/long.jsonl" --eval-every 3 --keep best)
train "${same[@]}" --out "$tmp/whole"
"$reward" train --model tests/data/model/llama --batch-size 8 --lr 1e-3 --seed 3 --threads 1 "${same[@]}" --out "$tmp/cut" >"$tmp/out" 2>&1 & pid=$!
for _ in $(seq 1000); do [ "$(cat "$tmp/cut/evals.jsonl" 2>/dev/null | wc -l)" -ge 3 ] && break; sleep 0.01; done # step 3, the short one
kill -INT $pid
status=0; wait $pid || status=$?
[ $status -eq 130 ] # set -e looks at each line, not within &&
ls -d "$tmp/cut"/checkpoint-* >/dev/null
grep -qF "to go on: reward train --out $tmp/cut --resume" "$tmp/out"
train "${same[@]}" --out "$tmp/cut" --resume
cmp "$tmp/whole/model.safetensors" "$tmp/cut/model.safetensors"
cmp <(cut -d, -f 1-3 "$tmp/whole/evals.jsonl") <(cut -d, -f 1-3 "$tmp/cut/evals.jsonl")
# the last words: one unit for training and evaluation, the best step and which one is published, what comes next
again() { "$reward" train --model tests/data/model/llama --batch-size 8 --lr 5e-3 --seed 1 --threads 1 --data "$tmp/train.jsonl" --steps 6 "$@" 2>"$tmp/said"; }
for keep in last best; do again --out "$tmp/words" --force --keep $keep --eval "$tmp/eval.jsonl" --eval-every 1; mv "$tmp/said" "$tmp/said.$keep"; done
python3 - "$tmp" <<'E2'
import json, re, sys
t = sys.argv[1]
e = [json.loads(l) for l in open(t + "/words/evals.jsonl")]
best = max(e, key=lambda x: (x["items"]["accuracy"], -x["step"]))
assert best["step"] not in (0, 6), "a run whose best is neither end is wanted here"
for keep, x in ("last", e[-1]), ("best", best):
    said = open(f"{t}/said.{keep}").read()
    i = x["items"]
    assert f"held out, {t}/eval.jsonl: {i['accuracy']:.1f}% right (95%: {i['interval'][0]:.1f} to {i['interval'][1]:.1f}), {e[0]['items']['accuracy']:.1f}% before training, {i['length_baseline']:.1f}% by length alone" in said, (said, i)
    assert re.search(r"6 steps in [\d.]+ seconds; of the recent batches: loss [\d.]+, [\d.]+% right", said), said
    assert f"next: reward score --model {t}/words ROWS.jsonl" in said
assert f"the best was after step {best['step']}: {best['items']['accuracy']:.1f}%; published: the last" in open(t + "/said.last").read()
assert f"published: the best, after step {best['step']}" in open(t + "/said.best").read()
E2
grep -q "<dt>best, published</dt>" "$tmp/words/report.html"
again --out "$tmp/words" --force
grep -qF "its page: $tmp/words/report.html" "$tmp/said"
grep -q "No run was evaluated on held-out rows" "$tmp/words/report.html"
grep -qF "next: reward eval --suite pairs --data HELD-OUT.jsonl --model $tmp/words" "$tmp/said"
again --out "$tmp/words" --force --batch-size 99
grep -q -- "--batch-size 99 is more than the 40 rows: every step takes all of them" "$tmp/said"

# a finished run is not another one: other arguments, another template
train "${same[@]}" --out "$tmp/cut" --resume
fails 2 "" train "${same[@]}" --out "$tmp/cut" --resume --lr 2e-3
grep -q "finished run with other arguments" "$tmp/warnings"
# an --eval that cannot be read stops before OUT is made
fails 1 "" train --data "$tmp/train.jsonl" --out "$tmp/never" --eval "rewardbench:$tmp/eval.jsonl"
[ ! -e "$tmp/never" ]
fails 1 "" train --data "$tmp/train.jsonl" --out "$tmp/never" --chat-template <(echo x)
[ ! -e "$tmp/never" ]

# a model without tokenizer and pad token gets one that no row ends with
sed 's/, "pad_token_id": [0-9]*//; s/"pad_token_id": [0-9]*,//' tests/data/model/llama/config.json >"$tmp/config.json"
mkdir "$tmp/nopad" && cp tests/data/model/llama/model.safetensors "$tmp/nopad" && cp "$tmp/config.json" "$tmp/nopad"
python3 - "$tmp" <<'E2'
import json, sys
t = sys.argv[1]
with open(t + "/zero.jsonl", "w") as f:
    for i in range(8):
        f.write(json.dumps({"chosen_ids": [3 + i, 0], "rejected_ids": [4 + i, 7, 0]}) + "\n")
E2
"$reward" train --quiet --model "$tmp/nopad" --no-golden-check --data "$tmp/zero.jsonl" --batch-size 8 --steps 1 --out "$tmp/padded"
python3 - "$tmp" <<'E2'
import json, sys
pad = json.load(open(sys.argv[1] + "/padded/config.json"))["pad_token_id"]
assert pad is not None and pad != 0, pad
E2
echo "kept checkpoints, early stopping, figures by source"
