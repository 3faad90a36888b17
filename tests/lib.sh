# lib.sh - what the scripts cli_*.sh share. First line of each: . "$(dirname "$0")/lib.sh"
#
# The working folder is the repository's root; $reward is the program, $tmp a folder that goes at the end, $running a
# process that does (empty: none).
cd "$(dirname "${BASH_SOURCE[0]}")/.."
reward=$PWD/${BUILD:-build}/reward
tmp=$(mktemp -d)
mounted= running=
trap '[ -z "$running" ] || { kill -9 $running && wait $running; } 2>/dev/null || true; [ -z "$mounted" ] || umount "$mounted"; rm -rf "$tmp"' EXIT
bad=0 # a script without set -e ends by `exit $bad`

# fail TEXT…: ends a script under set -e, else is remembered
fail() {
  echo "FAIL: $*"
  bad=1
  case $- in *e*) exit 1 ;; esac
}

# expect STATUS TEXT COMMAND…: the exit status, and TEXT (unless empty) in what it prints: $tmp/stdout, $tmp/stderr,
# both in $tmp/out
expect() {
  local want=$1 text=$2 status=0
  shift 2
  "$@" >"$tmp/stdout" 2>"$tmp/stderr" || status=$?
  cat "$tmp/stdout" "$tmp/stderr" >"$tmp/out"
  [ $status -eq "$want" ] || fail "$*: exit status $status, expected $want: $(cat "$tmp/out")"
  [ -z "$text" ] || grep -qF -- "$text" "$tmp/out" || fail "$*: expected '$text' in: $(cat "$tmp/out")"
}

# fails STATUS TEXT COMMAND…: as expect, but TEXT must be on stderr
fails() {
  expect "$1" "" "${@:3}"
  [ -z "$2" ] || grep -qF -- "$2" "$tmp/stderr" || fail "${*:3}: expected '$2' on stderr: $(cat "$tmp/out")"
}

# killed COMMAND…: kill -9 at a random moment of its first tenth of a second
killed() {
  "$@" &
  local pid=$!
  sleep "0.0$((RANDOM % 10))"
  kill -9 $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
}

# same_metrics A B: the metrics of two training runs, but for their speed
same_metrics() { cmp <(sed 's/, "tokens_per_s.*//' "$1/metrics.jsonl") <(sed 's/, "tokens_per_s.*//' "$2/metrics.jsonl"); }

# more WORD…: what a loop over like cases takes besides, but not where FEWER=1 is set: under a sanitizer, which is slow
more() { [ -n "${FEWER:-}" ] || echo "$@"; }

# small_disk SIZE: a file system of that size as $tmp/small; false where this may not be done
small_disk() {
  [ "$(id -u)" = 0 ] && mkdir "$tmp/small" && mount -t tmpfs -o size="$1" none "$tmp/small" 2>/dev/null && mounted=$tmp/small
}
