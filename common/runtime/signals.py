"""Ctrl-C and SIGTERM are noted while a step runs, so that the run can be saved after it.

They end a wait for data, in which no step runs: a disk that does not answer may never end it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from common.runtime.processes import Processes

PATIENCE = 10.0  # seconds: several processes first try to end at the same step


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived, and the run was saved at `step`."""

    def __init__(self, step: int):
        super().__init__(f"interrupted and saved at step {step}")
        self.step = step


class WaitEnded(BaseException):
    """A signal arrived in a wait for data. Not an `Exception`: nobody may take it for an error."""


class Caught(list[int]):
    """The signals that arrived, and whether they may end what is done now.

    In one process they end a wait for data at once. Several processes get `PATIENCE`, to end at the
    same step: one that leaves ends the step of the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._may_end_wait = self._is_waiting = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise `WaitEnded` when signals may end the block, before it or during it."""
        self._is_waiting = True
        try:
            if self._may_end_wait:
                raise WaitEnded
            yield
        finally:
            self._is_waiting = False

    def note(self, number: int, _frame: Any) -> None:
        """The handler of SIGINT and SIGTERM."""
        is_alone = not torch.distributed.is_initialized()
        if self and number == signal.SIGINT and is_alone:
            raise KeyboardInterrupt
        self.append(number)
        if is_alone:
            self.end_wait()
        elif hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def end_wait(self, *_: Any) -> None:
        """From now on no wait goes on; the handler of the timer."""
        self._may_end_wait = True
        if self._is_waiting:
            raise WaitEnded


@contextmanager
def catch_signals() -> Iterator[Caught]:
    """Collect SIGINT and SIGTERM in a list; in one process, a second Ctrl-C stops at once."""
    caught = Caught()
    handlers: dict[int, Any] = {signal.SIGINT: caught.note, signal.SIGTERM: caught.note}
    if hasattr(signal, "SIGALRM"):
        handlers[signal.SIGALRM] = caught.end_wait
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield caught
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def should_stop(caught: list, done: int, processes: Processes) -> bool:
    """Whether a signal arrived; several processes agree on it every tenth step."""
    if processes.world_size > 1 and done % 10:
        return False
    return processes.any(bool(caught))
