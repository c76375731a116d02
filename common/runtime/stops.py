"""Signals that tell a program to stop: Ctrl-C, a scheduler's, a closing terminal's (hang-up)."""

import signal
import sys

from common.printable import drop_if_unread

HANG_UP: int | None = getattr(signal, "SIGHUP", None)  # Windows has none
STOPS = frozenset({int(signal.SIGINT), int(signal.SIGTERM), *([HANG_UP] if HANG_UP else [])})


def ignores_hang_up() -> bool:
    """Whether this program outlives its terminal, as `nohup` asks."""
    return HANG_UP is not None and signal.getsignal(HANG_UP) == signal.SIG_IGN


def heeded_stops() -> frozenset[int]:
    """All of them, but for a hang-up that is ignored."""
    return STOPS - {HANG_UP} if ignores_hang_up() else STOPS


def note_arrival(number: int) -> None:
    """What a handler does first: the terminal of a hang-up may be gone, and print an error."""
    if number == HANG_UP:
        for stream in (sys.stdout, sys.stderr):
            drop_if_unread(stream)
