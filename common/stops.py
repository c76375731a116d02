"""Signals that tell a program to stop: Ctrl-C, a scheduler's, a closing terminal's (hang-up)."""

import signal
import sys
from collections.abc import Mapping
from typing import Any

from common.terminal import drop_if_unread

HANG_UP: int | None = getattr(signal, "SIGHUP", None)  # Windows has none
STOPS = frozenset({int(signal.SIGINT), int(signal.SIGTERM), *([HANG_UP] if HANG_UP else [])})


def ignores_hang_up() -> bool:
    """Whether this program outlives its terminal, as `nohup` asks."""
    return HANG_UP is not None and signal.getsignal(HANG_UP) == signal.SIG_IGN


def heeded_stops() -> frozenset[int]:
    """All of them, but for a hang-up that is ignored."""
    return STOPS - {HANG_UP} if ignores_hang_up() else STOPS


def note_arrival(number: int) -> None:
    """What a handler does first. The first hang-up counts: shell and kernel both tell of it.

    What is printed may have no reader then.
    """
    if number == HANG_UP:
        signal.signal(number, signal.SIG_IGN)
        for stream in (sys.stdout, sys.stderr):
            drop_if_unread(stream)


def restore_handlers(before: Mapping[int, Any]) -> None:
    """Undo what heeded stops; a hang-up that has arrived stays ignored."""
    for number, handler in before.items():
        if number != HANG_UP or not ignores_hang_up():
            signal.signal(number, handler)
