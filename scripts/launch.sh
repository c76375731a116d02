#!/bin/sh
# launch.sh PROGRAM [arguments]: run a program of this repository with its own Python environment,
# if there is one, in as many processes as NPROC says (see common/launch.py).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
# Keep large blocks instead of giving them back to the system at every step (CPU training).
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-1073741824}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-2147483648}"
program=$root/$1
shift
exec "$python" "$root/common/launch.py" "$program" "$@"
