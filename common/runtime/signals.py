"""Ctrl-C and SIGTERM are noted while a step runs, so that the run can be saved after it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from common.runtime.processes import Processes


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived, and the run was saved at `step`."""

    def __init__(self, step: int):
        super().__init__(f"interrupted and saved at step {step}")
        self.step = step


@contextmanager
def catch_signals() -> Iterator[list]:
    """Collect SIGINT and SIGTERM in a list; in one process, a second Ctrl-C stops at once."""
    caught: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if caught and number == signal.SIGINT and not torch.distributed.is_initialized():
            raise KeyboardInterrupt
        caught.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def should_stop(caught: list, done: int, processes: Processes) -> bool:
    """Whether a signal arrived; several processes agree on it every tenth step."""
    if processes.world_size > 1 and done % 10:
        return False
    return processes.any(bool(caught))
