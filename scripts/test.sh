#!/bin/sh
# sh scripts/test.sh [pytest arguments]: set up the environment, then run the tests.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
cd "$root"
exec .venv/bin/python -m pytest "$@"
