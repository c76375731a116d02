#!/bin/sh
# Make .venv and install requirements.txt into it; a second call with the same file does nothing.
# PYTHON names another interpreter (3.10 or newer).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if cmp -s requirements.txt .venv/installed-requirements.txt; then
    exit 0
fi
python=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "error: no Python 3.10 or newer found; install one, or name it: PYTHON=/path/to/python" >&2
    exit 2
fi
echo "Installing requirements.txt into .venv (a few minutes, about 6 GB) ..."
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --disable-pip-version-check --progress-bar on -r requirements.txt
cp requirements.txt .venv/installed-requirements.txt
