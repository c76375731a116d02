#!/bin/sh
# sh scripts/app.sh [--checkpoint RUN] [options]: set up the environment, then open the page to play
# with (scripts/app.py; --help lists its options). Gradio is installed on first use.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
if ! cmp -s "$root/requirements-app.txt" "$root/.venv/installed-requirements-app.txt"; then
    echo "Installing requirements-app.txt into .venv (Gradio, about 200 MB) ..."
    if ! "$root/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
        -r "$root/requirements-app.txt"; then
        echo "error: pip cannot install requirements-app.txt (its reason is above); call this again" >&2
        exit 2
    fi
    cp "$root/requirements-app.txt" "$root/.venv/installed-requirements-app.txt"
fi
exec "$root/.venv/bin/python" "$root/scripts/app.py" "$@"
