#!/bin/sh
# sh scripts/test.sh [pytest arguments]: set up the environment, then run the tests.
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
exec .venv/bin/python -m pytest "$@"
