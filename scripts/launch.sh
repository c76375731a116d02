#!/bin/sh
# launch.sh PROGRAM [arguments]: run a program of this repository with its own Python environment,
# if there is one, in as many processes as NPROC says (see common/runtime/launcher.py).
set -eu
if [ $# -eq 0 ]; then
    echo "usage: sh scripts/launch.sh PROGRAM [arguments], as in" >&2
    echo "  NPROC=2 sh scripts/launch.sh stage3_depth/train.py configs/demo/stage3.yaml" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
# Keep large blocks instead of giving them back to the system at every step (CPU training).
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-1073741824}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-2147483648}"
program=$root/$1
if [ ! -f "$program" ]; then
    echo "error: no program $program; name one of this repository, as stage3_depth/train.py" >&2
    exit 2
fi
shift
exec "$python" "$root/common/runtime/launcher.py" "$program" "$@"
