"""A user's mistake is one line and exit code 2; a programmer's mistake stays an exception."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend; its message is one line: what is wrong, where, what to do."""


def run_program(main: Callable[[], None]) -> None:
    """Run `main`; print a `UserError` as one `error:` line on stderr and exit with code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
