#!/usr/bin/env bash
# Nothing from a stranger acts: the cases of hostile/cases.txt over the inputs of hostile/make.py, as this user and, as
# root, as nobody too; then what folders that others can write hold: links in the way of outputs, planted manifests.
. "$(dirname "$0")/lib.sh"
set -u
python3 tests/hostile/make.py "$tmp/in" "$PWD" || exit 1

# the program for a case: bounded in time and, where no sanitizer needs the address space, in memory
limit="ulimit -v 1500000;"
[ "${BUILD:-build}" = build ] || limit=

# cases WHO PREFIX…: the whole table, each command behind PREFIX
cases() {
  local who=$1 status text command n=0 args
  shift
  while IFS='|' read -r status text command; do
    case $status in '#'* | '') continue ;; esac
    text=$(sed 's/^ *//; s/ *$//' <<<"${text//@/$tmp/in}") n=$((n + 1))
    command=${command//@/$tmp/in}
    read -ra args <<<"${command//%/$tmp/out-$who/$n}"
    expect "${status// /}" "$text" timeout 20 "$@" bash -c "$limit"' exec "$@"' - "$reward" "${args[@]}"
    ! LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]\|\xc2[\x80-\x9f]\|\xe2\x80[\xaa-\xae]' "$tmp/out" || fail "${args[*]}: control characters in: $(cat -v "$tmp/out")"
    ! grep -rqs c3RvbGVu "$tmp/out-$who" || fail "${args[*]}: the key was copied"
  done <tests/hostile/cases.txt
  [ $n -gt 0 ] || fail "no cases"
}
mkdir "$tmp/out-self"
cases self
nobody=
if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups true 2>/dev/null; then
  nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
  chmod 755 "$tmp"
  mkdir "$tmp/out-nobody" && chown 65534 "$tmp/out-nobody"
  $nobody test -x "$reward" && cases nobody $nobody # not where the checkout is closed to others
fi

# ---- folders that others can write ----

mkdir "$tmp/shared"
echo precious >"$tmp/victim"
precious() { [ "$(cat "$tmp/victim")" = precious ] || fail "$1: a file was written through a link"; }

# a link, a second name or a pipe where the rows of an interrupted run would be
score() { expect "$1" "$2" timeout 20 "$reward" score --quiet --model tests/data/model/llama "$tmp/in/pairs.jsonl" -o "$tmp/shared/out.jsonl" "${@:3}"; }
for option in "" --resume; do
  ln -sf "$tmp/victim" "$tmp/shared/out.jsonl.partial"
  score 1 "out.jsonl.partial: is a link" $option
  precious "a link $option"
  ln -f "$tmp/victim" "$tmp/shared/out.jsonl.partial"
  score 1 "out.jsonl.partial: expected a file of this user under one name" $option
  precious "a second name $option"
  rm "$tmp/shared/out.jsonl.partial"
  mkfifo "$tmp/shared/out.jsonl.partial"
  score 1 "out.jsonl.partial: expected a regular file, got a pipe" $option
  rm "$tmp/shared/out.jsonl.partial"
done
if [ -n "$nobody" ]; then # another user's
  install -o 65534 -m 666 /dev/null "$tmp/shared/out.jsonl.partial"
  score 1 "got one of another user" --resume
  rm -f "$tmp/shared/out.jsonl.partial"
fi
score 0 ""
# the name under which an output grows has the process's number and the host's name: all of them lead to the victim
host=$(uname -n | tr -c 'A-Za-z0-9\n' _ | cut -c1-40)
for pid in $(seq $$ $(($$ + 400))); do ln -s "$tmp/victim" "$tmp/shared/t.jsonl.partial-$pid-$host"; done
expect 0 "" "$reward" tokenize --quiet --model tests/data/tokenizer/llama3 <(echo '{"text": "a"}') -o "$tmp/shared/t.jsonl"
precious "the name of a partial"
[ ! -L "$tmp/shared/t.jsonl" ] || fail "the output is a link"

# --force of a training removes what a training has made: not what has a name like it, nor links' ends
out=$tmp/run
mkdir -p "$out/checkpoint-500" "$out/checkpoint-00000007" "$out/tensorboard/notes" "$out/best-weights"
echo work | tee "$out/checkpoint-500/trainer_state.json" "$out/checkpoint-00000007/thesis" "$out/checkpoint-thesis.pdf" "$out/best-weights/mine" \
  "$out/tensorboard/events.out.tfevents.1.host" "$out/tensorboard/notes/a" >"$out/kept"
: >"$out/tensorboard/events.out.tfevents.1.00000000.reward"
mkdir "$out/checkpoint-00000009"
ln -s "$tmp/victim" "$out/checkpoint-00000009/state.json"
ln -s "$tmp/shared" "$out/checkpoint-00000009/folder"
train() { expect "$1" "$2" "$reward" train --quiet --model tests/data/model/llama --data "$tmp/in/pairs.jsonl" --batch-size 4 --steps 2 --out "$out" "${@:3}"; }
train 0 "" --force
for f in checkpoint-500/trainer_state.json checkpoint-00000007/thesis checkpoint-thesis.pdf best-weights/mine tensorboard/events.out.tfevents.1.host tensorboard/notes/a; do
  [ -e "$out/$f" ] || fail "train --force removed $f"
done
[ ! -e "$out/tensorboard/events.out.tfevents.1.00000000.reward" ] || fail "an earlier run's events are left"
[ ! -e "$out/checkpoint-00000009" ] && [ -e "$tmp/shared/out.jsonl" ] || fail "a checkpoint of links"
precious "a checkpoint of links"
mv "$out/checkpoint-00000007" "$out/checkpoint-00000001"
train 0 "checkpoint-00000001: stands in the way and is not of a run" --force --save-every 1
[ -e "$out/checkpoint-00000001/thesis" ] || fail "a save replaced a folder of another"
mkdir "$out/dropped.jsonl" && echo work >"$out/dropped.jsonl/a"
train 1 "dropped.jsonl: cannot remove" --force
[ -e "$out/dropped.jsonl/a" ] || fail "train --force removed a folder"

# a planted manifest removes nothing that is not a run's own; a run's own goes
recipe() { printf 'name: x\nstages:\n  - source: helpsteer2\n%b' "$1" >"$tmp/recipe.yaml"; }
curate() { "$reward" curate --quiet "$tmp/recipe.yaml" --input helpsteer2=examples/sources/helpsteer2.jsonl -o "$tmp/set" --force >/dev/null 2>"$tmp/said" || fail "curate: $(cat "$tmp/said")"; }
recipe '  - write: extra.jsonl\n'
curate
[ -e "$tmp/set/extra.jsonl" ] || fail "no extra.jsonl"
mkdir "$tmp/set/thesis" && echo work >"$tmp/set/thesis/a.jsonl"
echo notes >"$tmp/set/notes.jsonl"
echo key >"$tmp/set/key.pem"
python3 - "$tmp/set" <<'E2'
import json, sys
m = json.load(open(sys.argv[1] + "/manifest.json"))
for name in ("thesis", "notes.jsonl", "key.pem", "../victim", "data/../key.pem"):
    m["outputs"].append({"path": name, "xxh3_128": "0" * 32})
json.dump(m, open(sys.argv[1] + "/manifest.json", "w"))
E2
# what an older program recorded by XXH3-128 (here of an empty file) is its own as well
: >"$tmp/set/old.jsonl"
: >"$tmp/set/other.jsonl"
python3 - "$tmp/set" <<'E2'
import json, sys
m = json.load(open(sys.argv[1] + "/manifest.json"))
m["outputs"].append({"path": "old.jsonl", "bytes": 0, "xxh3_128": "99aa06d3014798d86001c324468d497f"})
m["outputs"].append({"path": "other.jsonl", "bytes": 0, "xxh3_128": "99aa06d3014798d86001c324468d497f", "sha256": "0" * 64})
json.dump(m, open(sys.argv[1] + "/manifest.json", "w"))
E2
recipe '# ````\n# ```\n# <script>\n'
curate
for f in thesis/a.jsonl notes.jsonl key.pem; do [ -e "$tmp/set/$f" ] || fail "curate --force removed $f"; done
precious "a planted manifest"
[ ! -e "$tmp/set/extra.jsonl" ] || fail "a file that a run wrote is left"
[ ! -e "$tmp/set/old.jsonl" ] || fail "a file that an older program's run wrote is left"
[ -e "$tmp/set/other.jsonl" ] || fail "a file with another SHA-256 than recorded is gone"
grep -q "notes.jsonl: is not the file that manifest.json records, and stays" "$tmp/said" || fail "nothing is said of notes.jsonl: $(cat "$tmp/said")"
[ "$(grep -c '^`````' "$tmp/set/README.md")" = 2 ] || fail "a recipe leaves its fence: $(tail -n 8 "$tmp/set/README.md")"

exit $bad
