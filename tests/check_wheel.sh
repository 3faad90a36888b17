#!/usr/bin/env bash
# `make wheel`: installs without a network into an empty environment, where the program and the module then work.
set -eu
cd "$(dirname "$0")/.."
for tool in patchelf strip readelf ldd; do command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }; done
python3 -c "import ensurepip" 2>/dev/null || { echo "python3-venv is not installed"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
data=$PWD/tests/data

make -s wheel BUILD="${BUILD:-build}" DIST="$tmp/dist"
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q --no-index --disable-pip-version-check "$tmp"/dist/rewardc-*.whl
site=$("$tmp/v/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
# nothing is taken from this machine but glibc
for elf in $(find "$site/rewardc" -type f -perm -u+x); do
  ldd "$elf" | awk '/=>/ { print $1, $3 }' | grep -vE "^(lib(c|m|dl|rt|pthread|resolv|gcc_s)\.so\S*|/\S*ld-linux\S*) /" | grep -v " $(realpath "$site")/" &&
    { echo "$elf needs a library that is not in the wheel"; exit 1; }
done
[ -z "$(find "$site/rewardc" -name '*mpi*')" ] || { echo "MPI is the cluster's, not the wheel's"; exit 1; }
cd "$tmp"
alone() { env -i HOME="$tmp" PATH=/nowhere "$@"; }
alone "$tmp/v/bin/reward" --version >version
[ "$(head -n 1 version)" = "reward $("$tmp/v/bin/python" -c "import importlib.metadata as m; print(m.version('rewardc'))")" ]
if [ -e "$site/rewardc/lib/reward/libreward-parquet.so" ]; then
  alone "$tmp/v/bin/reward" score --quiet --model "$data/model/llama" "$data/parquet/plain.parquet" >rows 2>said || true
  [ "$(wc -l <rows)" = "$(wc -l <"$data/parquet/rows.jsonl")" ] || { cat said; exit 1; }
fi
if [ -e "$site/rewardc/__init__.py" ]; then # the module gives the program's scores
  mkdir model
  cp "$data"/model/llama/{config.json,model.safetensors} "$data"/tokenizer/digits/* model/
  echo '{"input_ids": [5, 6, 7]}' | alone "$tmp/v/bin/reward" score --quiet --model model - >want
  alone "$tmp/v/bin/python" - <<'P'
import json, rewardc
assert rewardc.Model("model").score_rows([{"input_ids": [5, 6, 7]}]) == [json.loads(open("want").read())]
P
fi
ls -l "$tmp"/dist/*.whl | awk '{ printf "%.1f MB\n", $5 / 1e6 }'
