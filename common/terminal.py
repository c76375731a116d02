"""What is printed where nobody can read it any more: the reader has left, the terminal has closed.

A closed terminal refuses every write, and Linux tells the programs on it a moment later, or never:
those in the background, and those that ignore it. What they say is in their logs.
"""

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any, TextIO


def drop_if_unread(stream: TextIO) -> bool:
    """Print nowhere what has no reader any more. Returns whether it was so."""
    with suppress(OSError, ValueError, AttributeError):  # no file of the system's; Windows
        asked = select.poll()
        asked.register(stream.fileno(), 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0)):
            _print_nowhere(stream.fileno())
            return True
    return False


def outlive_terminal() -> None:
    """Have stdout and stderr, where they are a terminal, take what is printed after it closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.isatty():
            setattr(sys, name, _outliving(stream))


def _outliving(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw = getattr(stream.buffer, "raw", stream.buffer)  # no buffer under PYTHONUNBUFFERED
    if isinstance(raw, _Terminal):
        return stream
    stream.flush()
    terminal: Any = _Terminal(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        terminal if raw is stream.buffer else io.BufferedWriter(terminal),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Terminal(io.FileIO):
    """One that may close while it is written to."""

    def write(self, data: Any) -> int:
        """As a file's, until it has closed."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        _print_nowhere(self.fileno())
        return super().write(data)


def _print_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
