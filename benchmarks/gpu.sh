#!/bin/sh
# gpu.sh [options]: everything that can be measured on one GPU, in at most 8 minutes, no downloads.
# Prints one table and writes gpu.json beside a log; `sh benchmarks/gpu.sh --help` has the options.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${LANGDEPTH_PYTHON:-$root/.venv/bin/python}
[ -n "${LANGDEPTH_PYTHON:-}" ] || [ -x "$python" ] || python=python3
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m benchmarks.gpu "$@"
