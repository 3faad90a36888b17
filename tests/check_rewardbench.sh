#!/usr/bin/env bash
# The benchmarks' figures and --format rewardbench against the public rewardbench package, on random scores. Skipped (77)
# where $REWARDBENCH_PYTHON (python3) lacks it; tests/reference/check_rewardbench.py says how to install it.
set -eu
cd "$(dirname "$0")/.."
python=${REWARDBENCH_PYTHON:-python3}
"$python" -c 'import numpy, pandas, importlib.metadata as m; m.distribution("rewardbench")' 2>/dev/null ||
  { echo "$python has no rewardbench, numpy and pandas"; exit 77; }
"$python" tests/reference/check_rewardbench.py check "${BUILD:-build}/reward"
