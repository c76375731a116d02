"""A line stays one line, whatever the names of files in it.

A file's name may hold a line break, or codes that move a terminal's cursor; where lines are read by
people and programs, these are shown as `\\n` and `\\x1b`.
"""

import re

# Control characters, and what else ends a line for Python and for viewers.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: object) -> str:
    """The text with escapes in the place of line breaks and other control characters."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))
