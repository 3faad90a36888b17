# Read by the test scripts' bash (BASH_ENV): a command that ends a script under set -e is named, with its line.
case $0 in
tests/*)
  set -E
  trap 'case $- in *e*) echo "$0: line $LINENO: exit $?: $BASH_COMMAND" >&2 ;; esac' ERR
  ;;
esac
