#!/bin/sh
# sh scripts/test.sh [pytest arguments]: set up the environment, then run the tests.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
cd "$root"
# ONNX (50 MB); without it tests are skipped.
if ! cmp -s requirements-test.txt .venv/installed-requirements-test.txt; then
    if .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps \
        -r requirements-test.txt; then
        cp requirements-test.txt .venv/installed-requirements-test.txt
    else
        echo "cannot install requirements-test.txt: tests of ONNX are skipped" >&2
    fi
fi
exec .venv/bin/python -m pytest "$@"
