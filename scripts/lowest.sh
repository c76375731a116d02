#!/bin/sh
# Make an environment with the oldest packages that requirements.txt allows, then test with them.
#   sh scripts/lowest.sh                   a smoke test: imports, training, evaluation, checkpoints
#   sh scripts/lowest.sh -m "not slow"     arguments go to pytest: here, all fast tests
# LOWEST_VENV names another folder than .venv-lowest; PYTHON another interpreter (3.10 to 3.12,
# newer ones have no such old packages).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
venv=${LOWEST_VENV:-.venv-lowest}
if ! cmp -s requirements-lowest.txt "$venv/installed-requirements.txt"; then
    . scripts/venv.sh
    old_enough="(3, 10) <= sys.version_info < (3, 13)"
    find_python "$old_enough" ${PYTHON:-python3.10 python3.11 python3.12 python3}
    if [ -z "$python" ]; then
        echo "error: no Python 3.10, 3.11 or 3.12 found; name one: PYTHON=/path/to/python" >&2
        exit 2
    fi
    echo "Installing requirements-lowest.txt into $venv (a few minutes, about 6 GB) ..."
    make_venv "$venv" "$python" "$old_enough"
    "$venv/bin/python" -m pip install --disable-pip-version-check -r requirements-lowest.txt
    cp requirements-lowest.txt "$venv/installed-requirements.txt"
fi
if [ $# -eq 0 ]; then
    set -- -m "not slow" tests/test_requirements.py tests/test_configs.py tests/test_checkpoint.py \
        tests/test_stages.py tests/test_joint.py tests/test_llm_mde.py tests/test_eval_program.py \
        tests/test_text_features.py tests/test_caption_images.py
fi
exec "$venv/bin/python" -m pytest "$@"
