"""Ctrl-C, SIGTERM or a hang-up, at any moment of a training; `train.time_limit` ends by one.

What a first signal does depends on what is going on, which blocks say:

    before the first step is done     ends it at once: there is nothing to save
    a wait for data, an evaluation    ends it before its next batch
    a step                            is noted; the step is given up if it takes `PATIENCE` longer
    all else, a save among it         is noted: it is done whole

One of several processes waits for `PATIENCE` also for its data: they end at the same step, unless
one waits for longer; if that one leaves, the launcher (or the lost contact) ends the others.
Where no Python code gets to run, `deadline.py` ends the process.
"""

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from common.errors import is_lost_contact, mistake_is_told, stop_is_told
from common.runtime.deadline import deadline
from common.runtime.processes import Processes
from common.stops import heeded_stops, note_arrival, restore_handlers

PATIENCE = 10.0  # seconds after a signal
MEETING_EVERY = 10  # steps, between which several processes do not ask each other
MEETING_SECONDS = 5.0  # but this long at most, or a step
Served = TypeVar("Served")


class Interrupted(Exception):
    """A signal arrived, and training ended after `step` steps. reason: what the last line says."""

    def __init__(self, step: int, reason: str = "interrupted"):
        super().__init__(f"{reason} at step {step}")
        self.step, self.reason = step, reason

    def describe(self, start_step: int, total_steps: int) -> str:
        """One line: what is saved. start_step: of this start of the run."""
        if self.step == 0:
            return f"{self.reason} before the first step; there is nothing to save"
        place = f"step {self.step} of {total_steps}"
        if self.step == start_step:
            return f"{self.reason} before the first step; the run is as it was, saved at {place}"
        return f"{self.reason}; saved at {place}. The same command continues from there."


class Abandoned(BaseException):
    """A signal ends what is going on. Not an `Exception`: nobody may take it for an error."""


class Caught(list[int]):
    """The signals that arrived. reason: what the last line says. is_saving: see `deadline.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = "interrupted"
        self.is_saving = False
        self.has_trained = False
        self._since = 0.0  # when the first one came
        self._block: tuple[float, float] | None = None  # when it began, and its patience
        self._has_left = False

    def describe(self) -> str:
        """One line for a program that ends outside the steps of its training."""
        if self.has_trained:
            return f"{self.reason} after the last step; the same command does what is left"
        return f"{self.reason} before the first step; there is nothing to save"

    @contextmanager
    def leaving(self, patience: float = 0.0) -> Iterator[None]:
        """A block that a signal ends with `Abandoned` after `patience` seconds."""
        with self._in((time.monotonic(), patience)):
            self._look()
            yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A wait for data."""
        with self.leaving(0.0 if _is_alone() else PATIENCE):
            yield

    @contextmanager
    def noting(self) -> Iterator[None]:
        """A block that a signal does not end."""
        with self._in(None):
            yield

    @contextmanager
    def saving(self) -> Iterator[None]:
        """A save, which is never cut."""
        self.is_saving = True
        try:
            with self.noting():
                yield
        finally:
            self.is_saving = False

    @contextmanager
    def _in(self, block: tuple[float, float] | None) -> Iterator[None]:
        outer, self._block = self._block, block
        try:
            yield
        finally:
            self._block = outer

    def note(self, number: int, _frame: Any) -> None:
        """The handler of stops; a second Ctrl-C in one process stops at once."""
        note_arrival(number)
        if self and number == signal.SIGINT and _is_alone():
            raise KeyboardInterrupt
        self.append(number)
        if len(self) == 1:
            self._since = time.monotonic()
            self._look()

    def alarm(self, *_: Any) -> None:
        """The handler of the timer."""
        self._look()

    def _look(self) -> None:
        """End the block if its time is up, else look again when it is."""
        if not self or self._block is None or self._has_left:
            return
        began, patience = self._block
        rest = max(self._since, began) + patience - time.monotonic()
        if rest <= 0:
            self._has_left = True
            raise Abandoned
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, rest)


_ACTIVE: list[Caught] = []  # one at most: a process has one handler of a signal


def _is_alone() -> bool:
    return not torch.distributed.is_initialized()


@contextmanager
def catch_signals() -> Iterator[Caught]:
    """Collect stops; a block inside another one goes on with its collection."""
    if _ACTIVE:
        yield _ACTIVE[0]
        return
    caught = Caught()
    handlers: dict[int, Any] = dict.fromkeys(heeded_stops(), caught.note)
    if hasattr(signal, "SIGALRM"):
        handlers[signal.SIGALRM] = caught.alarm
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    _ACTIVE.append(caught)
    try:
        with deadline(lambda: caught.is_saving):
            yield caught
    finally:
        _ACTIVE.clear()
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        restore_handlers(before)


def until_signal(items: Iterable[Served]) -> Iterator[Served]:
    """The items of an evaluation; a signal that is caught ends it before the next one."""
    if not _ACTIVE:
        yield from items
        return
    iterator, caught = iter(items), _ACTIVE[0]
    while True:
        with caught.leaving():
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def first_reason(error: BaseException) -> BaseException:
    """The contact that was lost before a signal came, or the error itself.

    The launcher tells the others to stop when a process dies: not the user.
    """
    if not isinstance(error, Abandoned):
        return error
    earlier = error.__context__
    while earlier is not None:
        # Torch's own: a download that is tried again has left an OSError there.
        if isinstance(earlier, RuntimeError) and is_lost_contact(earlier):
            return earlier
        earlier = earlier.__context__
    return error


def is_interruption(error: Exception) -> bool:
    """Whether contact was lost because another process was told to stop."""
    return is_lost_contact(error) and not mistake_is_told() and stop_is_told()


class Meetings:
    """When several processes ask each other whether one of them is to stop.

    Every `MEETING_EVERY` steps; where these take longer than `MEETING_SECONDS`, more often.
    """

    def __init__(self, processes: Processes, start_step: int):
        self._processes = processes
        self._last, self._time = start_step, time.monotonic()
        self._next = start_step + 1

    def due(self, done: int) -> bool:
        """Whether all processes meet after `done` steps."""
        return self._processes.world_size == 1 or done >= self._next

    def should_stop(self, caught: Caught, done: int) -> bool:
        """Whether a signal arrived, in any process."""
        if self._processes.world_size == 1 or not self.due(done):
            return self._processes.world_size == 1 and bool(caught)
        now = time.monotonic()
        seconds = (now - self._time) / max(done - self._last, 1)
        stop, slowest = self._processes.max([float(bool(caught)), seconds])
        count = int(MEETING_SECONDS / max(slowest, 1e-9))
        self._next = done + min(max(count, 1), MEETING_EVERY)
        self._last, self._time = done, now
        return stop > 0
