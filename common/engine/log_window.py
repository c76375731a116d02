"""What training logs: means of the named terms, speed and memory since the last log line."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from common.runtime.processes import Processes

SKIPPED = "skipped_updates"


class Window:
    """Means of the named terms, and the speed, since the last log line."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.restart()

    def restart(self) -> None:
        """Forget everything; time starts now."""
        self.sums: dict[str, Tensor] = {}
        self.steps = 0
        self.data_seconds = 0.0
        self.start = time.perf_counter()

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
            "step_seconds": seconds / self.steps,
            "data_seconds": self.data_seconds / self.steps,
            "images_per_s": self.steps * self.batch_size / seconds,
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
