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

exit $bad
