"""What the host learns of each step's numbers: not finite, or a spike of the gradient.

A loss or gradient that is not finite ends training at its step, or is skipped, `max_skipped_steps`
times in all. Where none may be skipped the host looks one step late, so that it need not wait for a
GPU: the step in between changes nothing (`update.py`). In fp16 a gradient that overflows lowers the
scale of the loss, as it should, and counts only when there is nothing left to lower.

A spike is a norm of the gradient above `spike_factor` times the median of the last `MEMORY` steps'
norms, of which there must be `FEWEST`. It is told, with the images of its step; clipping takes care
of it.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from common.engine.fetching import SharedError
from common.engine.train_config import TrainConfig
from common.engine.update import StepRecord
from common.errors import UserError
from common.runtime.processes import Processes

MEMORY, FEWEST = 100, 20  # norms
MOST_LINES = 50  # of a run's log: a training that has gone wild is told of often enough


@dataclass(frozen=True)
class Told:
    """How the watch speaks. line: to the log. images: of a step, by all processes at once.
    dump: writes down a step that is not finite, by all processes at once; returns what to say.
    fetch_errors: raises what kept a process from reading a step, which made it not finite.
    """

    line: Callable[[str], None] = print
    images: Callable[[StepRecord], str] = lambda record: ""
    dump: Callable[[StepRecord], str] = lambda record: ""
    fetch_errors: Callable[[int], None] = lambda step: None


class NumberWatch:
    """Looks at every step once; `num_skipped` and `norms` are kept in checkpoints."""

    def __init__(
        self, config: TrainConfig, processes: Processes, state: dict[str, Any] | None = None
    ):
        state = state or {}
        self.config, self.processes = config, processes
        self.num_skipped: int = state.get("num_skipped", 0)
        self.norms: deque[float] = deque(state.get("norms", ()), MEMORY)
        self.num_lines = 0
        self.pending: tuple[StepRecord, Callable[[], float]] | None = None  # and its norm

    def state(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return {"num_skipped": self.num_skipped, "norms": list(self.norms)}

    def see(self, record: StepRecord, at_once: bool, told: Told) -> None:
        """Look at the step before this one; at_once: at this one too.

        Raises the `SharedError` of a step that is not finite, on all processes.
        """
        self.settle(told)
        self.pending = record, sent_to_host(record.grad_norm)
        if at_once:
            self.settle(told)

    def settle(self, told: Told) -> None:
        """Look at the last step; called by all processes."""
        pending, self.pending = self.pending, None
        if pending is None:
            return
        record, norm = pending[0], pending[1]()
        if math.isfinite(norm):
            self._look_for_spike(record, norm, told)
            return
        told.fetch_errors(record.step)
        if not self._is_overflow(record):
            self._skip_or_stop(record, told)

    def whole_steps(self, done: int) -> int:
        """How many of `done` steps are known to be sound, without waiting for other processes."""
        pending, self.pending = self.pending, None
        if pending is None:
            return done
        record, norm = pending[0], pending[1]()
        if math.isfinite(norm):
            self.norms.append(norm)
            return done
        return record.step

    def _is_overflow(self, record: StepRecord) -> bool:
        """Of fp16, whose scale is lowered then; the loss itself is finite everywhere."""
        return record.loss_scale > 1 and not self.processes.any(not loss_is_finite(record))

    def _skip_or_stop(self, record: StepRecord, told: Told) -> None:
        most = self.config.max_skipped_steps
        is_last = self.num_skipped >= most
        what = self._describe(record, told)
        if is_last:
            skipped = f" {most} such steps were skipped before it." if most else ""
            raise SharedError(
                UserError(
                    f"{what}; the weights are those before it.{skipped} Lower train.lr, lengthen "
                    "train.warmup_steps, try train.precision=fp32, or skip such steps with "
                    f"train.max_skipped_steps={most + 10}"
                ),
                record.step,
            )
        self.num_skipped += 1
        told.line(f"{what}; skipped, {self.num_skipped} of at most {most}")

    def _describe(self, record: StepRecord, told: Told) -> str:
        """Step, terms, images, and where it is written down."""
        terms = self.processes.sum(record.terms)
        named = ", ".join(f"{name} {value.item():.4g}" for name, value in terms.items())
        broken = not math.isfinite(terms["loss/total"].item())
        subject = "the loss is" if broken else "the loss is finite, but its gradient is"
        parts = (f"step {record.step + 1}: {subject} not finite ({named})",
                 told.images(record), told.dump(record))  # fmt: skip
        return "; ".join(part for part in parts if part)

    def _look_for_spike(self, record: StepRecord, norm: float, told: Told) -> None:
        factor = self.config.spike_factor
        if factor is not None and len(self.norms) >= FEWEST:
            median = statistics.median(self.norms)
            if norm > factor * median and self.num_lines <= MOST_LINES:
                self._tell_spike(record, norm, median, told)
        self.norms.append(norm)

    def _tell_spike(self, record: StepRecord, norm: float, median: float, told: Told) -> None:
        self.num_lines += 1
        if self.num_lines > MOST_LINES:
            told.line(f"{MOST_LINES} spikes of the gradient were told, further ones are not")
            return
        images = told.images(record)
        told.line(
            f"step {record.step + 1}: gradient norm {norm:.4g}, {norm / max(median, 1e-30):.3g} "
            f"times the median of the {len(self.norms)} steps before it"
            + (f"; {images}" if images else "")
        )


def sent_to_host(number: Tensor) -> Callable[[], float]:
    """Send a number [] on its way now; the function returned waits for it alone.

    `item()` would wait for all that a GPU has been given since.
    """
    if number.device.type != "cuda":
        return number.item
    host = torch.empty((), dtype=number.dtype, pin_memory=True)
    host.copy_(number.detach(), non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def wait() -> float:
        arrived.synchronize()
        return host.item()

    return wait


def loss_is_finite(record: StepRecord) -> bool:
    """Of this process's share."""
    return bool(torch.isfinite(record.terms["loss/total"]).item())
