"""A user's mistake is one line and exit code 2; a programmer's mistake stays an exception."""

import os
import sys
import time
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend; its message is one line: what is wrong, where, what to do."""


def run_program(main: Callable[[], None]) -> None:
    """Run `main`; print a `UserError` as one `error:` line on stderr and exit with code 2.

    When one process of several exits with an error, the launcher ends the others. So most mistakes,
    which all of them run into, are told by the first process alone: the others wait before they
    speak. And whoever fails because it lost contact waits longer, for the cause to be told.
    """
    try:
        main()
    except UserError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(5)
            print(file=sys.stderr)  # leave the first process's progress bar
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; nothing was lost", file=sys.stderr)
        sys.exit(130)
    except RuntimeError:
        if "RANK" in os.environ:
            time.sleep(15)
        raise
