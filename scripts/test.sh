#!/bin/sh
# sh scripts/test.sh [pytest arguments]: set up the environment, then run the tests.
# Without a test file among the arguments several run at once, each in a process of its own: one for
# each core that has 6 GB of memory, 8 at most. TESTS_AT_ONCE=1 runs them one after the other.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
cd "$root"
# ONNX, a driver for Chromium (100 MB), and what the page to play with needs (200 MB); without them
# tests are skipped.
for part in test app; do
    if ! cmp -s requirements-$part.txt .venv/installed-requirements-$part.txt; then
        if .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps \
            -r requirements-$part.txt; then
            cp requirements-$part.txt .venv/installed-requirements-$part.txt
        else
            echo "cannot install requirements-$part.txt: tests that need it are skipped" >&2
        fi
    fi
done

# Whether the arguments choose so few tests that starting processes costs more, or how to run them.
chosen=no
for argument in "$@"; do
    case $argument in
    *.py | *.py::* | -k* | -n* | --numprocesses* | --pdb | --lf | --last-failed | -s) chosen=yes ;;
    esac
done
if [ $chosen = no ] && .venv/bin/python -c "import xdist" 2>/dev/null; then
    at_once=${TESTS_AT_ONCE:-$(.venv/bin/python -c '
import os
gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
print(max(1, min(8, os.cpu_count() or 1, int(gigabytes / 6))))')}
    if [ "$at_once" != 1 ]; then # a file stays together: it shares what its fixtures made
        export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
        set -- -n "$at_once" --dist loadfile "$@"
    fi
fi
exec .venv/bin/python -m pytest "$@"
