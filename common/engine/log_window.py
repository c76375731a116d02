"""What training logs: means of the named terms, speed and memory since the last log line."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from common.runtime.processes import Processes

SKIPPED = "skipped_updates"


class Window:
    """Means of the named terms, and the speed, since the last log line.

    A checkpoint between two lines keeps what is summed up so far.
    """

    def __init__(
        self,
        batch_size: int,
        state: list[dict[str, Any]] | None = None,
        processes: Processes | None = None,
    ):
        """state: of a checkpoint, for these processes; None: nothing is summed up."""
        self.batch_size = batch_size
        self.done = 0
        self.restart()
        if state and processes is not None:
            self._restore(state, processes)

    def restart(self) -> None:
        """Forget everything; time starts now."""
        self.sums: dict[str, Tensor] = {}
        self.steps = 0
        self._settled: tuple[int, list[dict[str, Any]]] = (-1, [])
        self._start_clock()

    def begin(self, done: int) -> None:
        """The next step comes after `done` ones; the speed is that of the steps from now on."""
        self.done = done
        self._start_clock()

    def _start_clock(self) -> None:
        self.timed_steps = 0
        self.data_seconds = 0.0
        self.start = time.perf_counter()

    def settle(self, processes: Processes) -> None:
        """Called by all processes at once, before a save: each has its own sums."""
        own = {
            "steps": self.steps,
            "sums": {name: value.detach().cpu() for name, value in self.sums.items()},
        }
        self._settled = self.done, processes.gather([own])

    def state(self, done: int, processes: Processes) -> list[dict[str, Any]]:
        """Of each process after `done` steps, for a checkpoint.

        Empty where one saves alone and cannot ask the others, or a step is not to count.
        """
        if processes.world_size == 1:
            self.settle(processes)
        settled_at, settled = self._settled
        return settled if settled_at == self.done == done else []

    def _restore(self, state: list[dict[str, Any]], processes: Processes) -> None:
        """As many processes as before go on with their own sums; else the first has them all."""
        parts = [part["sums"] for part in state]
        totals = {name: sum(part[name] for part in parts) for name in parts[0]}
        if len(parts) == processes.world_size:
            sums = parts[processes.rank]
        elif processes.is_main:
            sums = totals
        else:
            sums = {name: torch.zeros_like(value) for name, value in totals.items()}
        self.sums = {name: value.to(processes.device) for name, value in sums.items()}
        self.steps = state[0]["steps"]

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave out the time that the block takes."""
        start = time.perf_counter()
        yield
        self.start += time.perf_counter() - start

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add one step's terms, without waiting for the device."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1
        self.done += 1
        self.timed_steps += 1

    def close(self, processes: Processes, rate: float) -> dict[str, float]:
        """Means over the window, summed over processes; opens the next window."""
        sums = {name: value.item() for name, value in processes.sum(self.sums).items()}
        num_skipped = sums.get(SKIPPED, 0.0)
        num_counted = self.steps - num_skipped  # a skipped step has no terms
        means = {k: v / num_counted if num_counted else float("nan") for k, v in sums.items()}
        means |= {SKIPPED: num_skipped / self.steps} if SKIPPED in sums else {}
        seconds = time.perf_counter() - self.start
        means |= {
            "lr": rate,
            "step_seconds": seconds / self.timed_steps,
            "data_seconds": self.data_seconds / self.timed_steps,
            "images_per_s": self.timed_steps * self.batch_size / seconds,
        }
        memory = memory_gb(processes.device)
        means |= {} if memory is None else {"memory_gb": memory}
        self.restart()
        return means


def memory_gb(device: torch.device) -> float | None:
    """Peak memory so far: of the GPU's allocator, or of this process; None: it cannot be known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
