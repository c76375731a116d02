#!/bin/sh
# LOCKED=1 sh scripts/setup.sh: make .venv and install requirements.lock into it, all packages with
# tests and page: exactly these versions, and only files whose sha256 is in it. A second call with the
# same lock does nothing; a .venv made so stays locked, also without LOCKED. Delete it to go back.
# PYTHON names another interpreter, of the version that the lock is made for.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
. scripts/venv.sh
made_for=$(sed -n 's/^# made for //p' requirements.lock)
this="'Python %d.%d %s' % (*sys.version_info[:2], __import__('sysconfig').get_platform())"
fitting="$this == '$made_for'"
mark=.venv/installed-requirements.lock
if cmp -s requirements.lock $mark && works_in .venv "$fitting"; then
    exit 0
fi
if [ ! -f $mark ] && [ -f .venv/installed-requirements.txt ]; then
    echo "error: .venv was installed without the lock, so its files were not compared with the hashes;" \
        "rename or delete it, then call this again" >&2
    exit 2
fi
number=$(expr "$made_for" : 'Python \([0-9.]*\)')
find_python "$fitting" ${PYTHON:-python3 python$number}
if [ -z "$python" ]; then
    echo "error: requirements.lock is made for $made_for, which was not found; name it" \
        "(PYTHON=/path/to/python), or install without LOCKED" >&2
    exit 2
fi
echo "Installing requirements.lock into .venv (a few minutes, about 6 GB) ..."
make_venv .venv "$python" "$fitting"
touch $mark # locked from now on, and not whole before the copy below
if ! .venv/bin/python -m pip install --disable-pip-version-check --progress-bar on \
    --require-hashes --no-deps --only-binary=:all: -r requirements.lock; then
    echo "error: pip cannot install requirements.lock (its reason is above); call this again: what is" \
        "installed is kept" >&2
    exit 2
fi
# What else installs packages sees that they are there.
for part in requirements requirements-weights requirements-test requirements-app; do
    cp $part.txt .venv/installed-$part.txt
done
cp requirements.lock $mark
