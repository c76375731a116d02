"""A line stays one line, whatever the names of files in it.

A file's name may hold a line break, or codes that move a terminal's cursor; where lines are read by
people and programs, these are shown as `\\n` and `\\x1b`. What nobody can read any more is printed
nowhere.
"""

import os
import re
import select
from contextlib import suppress
from typing import TextIO

# Control characters, and what else ends a line for Python and for viewers.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: object) -> str:
    """The text with escapes in the place of line breaks and other control characters."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def drop_if_unread(stream: TextIO) -> bool:
    """Print nowhere what has no reader any more: `... | head`, a terminal that has closed.

    Returns whether it was so.
    """
    with suppress(OSError, ValueError, AttributeError):  # no file of the system's; Windows
        asked = select.poll()
        asked.register(stream.fileno(), 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0)):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            return True
    return False
