"""Training steps in the real loop (`common/engine/loop.py`), timed one by one on the device."""

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat

import torch
from torch import nn

from benchmarks.gpu.bench import Bench, wait
from benchmarks.gpu.recipes import optimizer_of, step_of
from common.data.batch import Batch
from common.engine.loop import Hooks, Plan, Task, fit
from common.engine.train_config import TrainConfig
from common.runtime.precision import Precision
from common.runtime.processes import Processes, unwrap

WARM_UP = 3
FEWEST, MOST = 3, 12  # steps that count
SECONDS = 3.0  # after which FEWEST are enough
AHEAD = 2  # steps that the CPU may be ahead


class _Enough(Exception):
    """Ends a loop from within."""


class StepClock:
    """Called after every step; tells the seconds of each step that counts."""

    def __init__(self, device: torch.device, warm_up: int = WARM_UP):
        self.device, self.warm_up = device, warm_up
        self.marks: list[torch.cuda.Event | float] = []
        self.first_done = 0.0  # when the first step was, by perf_counter
        self.start = time.perf_counter()

    def __call__(self) -> None:
        """Note the end of a step; raise `_Enough` after the last one."""
        self.marks.append(self._mark())
        if len(self.marks) == 1:
            wait(self.device)
            self.first_done = time.perf_counter()
        if len(self.marks) == self.warm_up:
            wait(self.device)
            self.start = time.perf_counter()
        if len(self.marks) > self.warm_up + AHEAD:
            self._wait_for(self.marks[-1 - AHEAD])
        counted = len(self.marks) - self.warm_up
        is_late = time.perf_counter() - self.start > SECONDS
        if counted >= MOST or (counted >= FEWEST and is_late):
            raise _Enough

    def seconds(self) -> list[float]:
        """Of each step after the warm-up."""
        wait(self.device)
        marks = self.marks[self.warm_up - 1 :]
        return [self._between(a, b) for a, b in zip(marks[:-1], marks[1:], strict=True)]

    def _mark(self) -> "torch.cuda.Event | float":
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _wait_for(self, mark: "torch.cuda.Event | float") -> None:
        if not isinstance(mark, float):
            mark.synchronize()

    def _between(self, a: "torch.cuda.Event | float", b: "torch.cuda.Event | float") -> float:
        if isinstance(a, float) or isinstance(b, float):
            return float(b) - float(a)  # type: ignore[arg-type]
        return a.elapsed_time(b) / 1e3


def run_steps(
    what: str,
    network: nn.Module,
    batch: Batch,
    precision: Precision,
    bench: Bench,
    after_step: Callable[[], None],
    count: int = 1000,
) -> None:
    """The recipe's loop on one batch, until `count` steps are done or `after_step` says so."""
    config = TrainConfig(
        batch_size=len(batch), max_steps=count, precision=precision, log_every=count
    )
    with suppress(_Enough):
        fit(
            network,
            Task(step_of(what)),
            repeat(batch),
            optimizer_of(what, unwrap(network), config),
            Plan(config, seed=0, start_step=0, total_steps=count, evaluate_every=count + 1),
            Hooks(
                log=lambda step, values: None,
                evaluate=lambda step: None,
                save=lambda step: None,
                after_step=after_step,
            ),
            Processes(0, 1, bench.device),
        )
