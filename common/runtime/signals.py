"""Ctrl-C and SIGTERM are noted while a step runs, so that the run can be saved after it.

They end a wait for data, in which no step runs: a disk that does not answer may never end it.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from common.runtime.processes import MEETING_EVERY, Processes

PATIENCE = 10.0  # seconds that one of several processes waits for data after a signal


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived, and the run was saved at `step`."""

    def __init__(self, step: int):
        super().__init__(f"interrupted and saved at step {step}")
        self.step = step


class WaitEnded(BaseException):
    """A signal arrived in a wait for data. Not an `Exception`: nobody may take it for an error."""


class Caught(list[int]):
    """The signals that arrived; they end a wait for data.

    In one process at once. Several end at the same step, unless one waits for `PATIENCE`: if it
    leaves, that ends the step of the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waits_since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise `WaitEnded` when a signal ends the block."""
        self._waits_since = time.monotonic()
        try:
            if self and _is_alone():
                raise WaitEnded
            yield
        finally:
            self._waits_since = None

    def note(self, number: int, _frame: Any) -> None:
        """The handler of SIGINT and SIGTERM."""
        if self and number == signal.SIGINT and _is_alone():
            raise KeyboardInterrupt
        self.append(number)
        if not _is_alone():
            self.look()
        elif self._waits_since is not None:
            raise WaitEnded

    def look(self, *_: Any) -> None:
        """End a wait that is too long, else look again later; the handler of the timer."""
        waited = 0.0 if self._waits_since is None else time.monotonic() - self._waits_since
        if waited >= PATIENCE:
            raise WaitEnded
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE - waited)


def _is_alone() -> bool:
    return not torch.distributed.is_initialized()


@contextmanager
def catch_signals() -> Iterator[Caught]:
    """Collect SIGINT and SIGTERM in a list; in one process, a second Ctrl-C stops at once."""
    caught = Caught()
    handlers: dict[int, Any] = {signal.SIGINT: caught.note, signal.SIGTERM: caught.note}
    if hasattr(signal, "SIGALRM"):
        handlers[signal.SIGALRM] = caught.look
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield caught
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def should_stop(caught: list, done: int, processes: Processes) -> bool:
    """Whether a signal arrived; several processes agree on it where they meet."""
    if processes.world_size > 1 and done % MEETING_EVERY:
        return False
    return processes.any(bool(caught))
