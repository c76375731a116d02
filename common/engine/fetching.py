"""Fetch the parts of each step; one process that cannot does not leave the others waiting."""

from collections.abc import Iterator
from typing import Any

from common.errors import UserError
from common.runtime.processes import Processes


class SharedError(Exception):
    """An error that all processes meet together, after `done` whole steps of training."""

    def __init__(self, error: UserError, done: int):
        super().__init__(error, done)
        self.error, self.done = error, done


class PartFetcher:
    """This process's micro-batches, step by step.

    A single process raises what it meets. One of several would leave the others waiting in the
    exchange of gradients; so it goes on with the parts it had, its step is void (see `Update`), and
    all of them stop where they meet next.
    """

    def __init__(self, micro_batches: Iterator[Any], parts_per_step: int, processes: Processes):
        self.micro_batches, self.parts_per_step = micro_batches, parts_per_step
        self.processes = processes
        self.parts: list[Any] = []
        self.errors: list[SharedError] = []  # one at most

    @property
    def is_void(self) -> bool:
        """Whether the parts are those of an earlier step."""
        return bool(self.errors)

    def fetch(self, step: int) -> list[Any]:
        """The parts of the step."""
        if self.is_void:
            return self.parts
        try:
            self.parts = [next(self.micro_batches) for _ in range(self.parts_per_step)]
        except UserError as error:
            if self.processes.world_size == 1 or not self.parts:
                raise
            self.errors.append(SharedError(error, step))
        return self.parts

    def meet(self, step: int | None = None) -> None:
        """Called by all processes at once: raise the first `SharedError` of all of them.

        step: an error in fetching a later one does not count yet.
        """
        if self.processes.world_size > 1 and self.processes.any(self.is_void):
            first = min(self.processes.gather(self.errors), key=lambda error: error.done)
            if step is None or first.done <= step:
                raise first
