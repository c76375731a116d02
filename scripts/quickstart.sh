#!/bin/sh
# sh scripts/quickstart.sh [--fresh]: from a clean checkout to three trained stages and a report.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
exec "$root/.venv/bin/python" "$root/scripts/quickstart.py" "$@"
