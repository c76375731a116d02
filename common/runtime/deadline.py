"""End a process that has not left `SECONDS` after it was told to stop.

Python runs a signal's handler between two lines of its own; a wait for another process, a compiler
or a kernel may keep it from that for ever. The interpreter also writes each signal to a socket, at
once, where a thread reads it.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from common.errors import INTERRUPTED, leave, tell_stop
from common.stops import STOPS

SECONDS = 25.0
TELLING_SECONDS = 2.0
_END = b"\0"  # no signal has this number


@contextmanager
def deadline(is_saving: Callable[[], bool]) -> Iterator[None]:
    """Watch over the block. is_saving: the process is not ended now, and has `SECONDS` again."""
    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    _PLACES.append(pythons)
    thread = threading.Thread(target=_watch, args=(ours, is_saving), name="deadline", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        _PLACES.remove(pythons)
        pythons.send(_END)
        thread.join()
        for end in (ours, pythons):
            end.close()


def _watch(signals: socket.socket, is_saving: Callable[[], bool]) -> None:
    end: float | None = None
    while True:
        rest = None if end is None else max(end - time.monotonic(), 0)
        if select.select([signals], [], [], rest)[0]:
            numbers = signals.recv(64)
            if _END in numbers:
                return
            if end is None and STOPS & set(numbers):
                end = time.monotonic() + SECONDS
        elif is_saving():
            _tell_saving()
            end = time.monotonic() + SECONDS
        else:
            _end_process()


def _tell_saving() -> None:
    _tell(
        f"still saving, more than {SECONDS:.0f} s after the stop. If a launcher kills it "
        "(torchrun does so after 30 s), the checkpoint before stays."
    )


def _end_process() -> None:
    _tell(
        f"interrupted; what was going on did not end within {SECONDS:.0f} s, and nothing more "
        "could be saved. The same command continues from the last checkpoint."
    )
    # Elsewhere, and not for long: the store may be gone, or take what it is told and never answer.
    teller = threading.Thread(target=tell_stop, name="stop", daemon=True)
    teller.start()
    teller.join(TELLING_SECONDS)
    leave(INTERRUPTED)


def _tell(text: str) -> None:
    """Once per run, where there is still a reader: Ctrl-C ends that of `2>&1 | tee log`, too."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError, ValueError):
            print(f"\n{text}", file=sys.stderr)


_PLACES: list[socket.socket] = []  # where signals are written to


def _forget() -> None:
    """A process that is forked off has the same socket: its signals are not this one's."""
    with suppress(ValueError):
        if _PLACES:
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
