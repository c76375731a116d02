"""A user's mistake is one line and exit code 2; a programmer's mistake stays an exception."""

import os
import sys
import time
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend; its message is one line: what is wrong, where, what to do."""


def run_program(main: Callable[[], None]) -> None:
    """Run `main`; print a `UserError` as one `error:` line on stderr and exit with code 2.

    Most mistakes stop every process of a run. The main one speaks first; when it exits, the
    launcher ends the others, and only a mistake that it did not run into is told by them.
    """
    try:
        main()
    except UserError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(3)
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
