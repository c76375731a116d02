#!/bin/sh
# launch.sh PROGRAM [arguments]: run a program of this repository with its own Python environment,
# if there is one, in as many processes as NPROC says (see common/runtime/launcher.py).
# LANGDEPTH_PYTHON names the Python of another environment.
set -eu
if [ $# -eq 0 ]; then
    echo "usage: sh scripts/launch.sh PROGRAM [arguments], as in" >&2
    echo "  NPROC=2 sh scripts/launch.sh stage3_depth/train.py configs/demo/stage3.yaml" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
python=${LANGDEPTH_PYTHON:-$root/.venv/bin/python}
[ -n "${LANGDEPTH_PYTHON:-}" ] || [ -x "$python" ] || python=python3
if ! command -v "$python" >/dev/null; then
    echo "error: LANGDEPTH_PYTHON: no program $python; name the Python of an environment" >&2
    exit 2
fi
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
