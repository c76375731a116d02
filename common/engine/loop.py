"""The training loop, once. It knows steps, not depth, text or data sets.

A step function returns named loss terms with their sum under "total". Every term is this part's
*share* of the effective batch: the shares of all micro-batches and processes add up to the loss of
the whole batch, and so do the gradients. One process with batch 16, two with 8 each and
micro-batches of 4 therefore take the same steps.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.engine.log_window import Window
from common.engine.optimization import gradient_scaler, learning_rate
from common.engine.train_config import TrainConfig
from common.errors import UserError
from common.runtime.precision import autocast, choose_precision
from common.runtime.processes import Processes
from common.runtime.randomness import StepRandom
from common.runtime.signals import Interrupted, WaitEnded, catch_signals, should_stop

Totals = Mapping[str, Tensor]


class MicroBatch(Protocol):
    """What the loop asks of a batch."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Any: ...


StepFn = Callable[[nn.Module, Any, StepRandom, Totals], dict[str, Tensor]]
TotalsFn = Callable[[nn.Module, Any, StepRandom], dict[str, Tensor]]


@dataclass(frozen=True)
class Task:
    """What a step computes.

    step_fn: (model, batch, random numbers, totals) -> named terms. totals_fn: sums of one part
    that, where the effective batch has several parts (processes or micro-batches), are added over
    all of them before the step and reach `step_fn` as `totals`; a batch of one part has none.
    """

    step_fn: StepFn
    totals_fn: TotalsFn | None = None


@dataclass(frozen=True)
class Plan:
    """Which steps to take, and how."""

    config: TrainConfig
    seed: int
    start_step: int
    total_steps: int
    evaluate_every: int


@dataclass(frozen=True)
class Hooks:
    """What happens beside the steps; all are given the number of steps done.

    after_step: called after every update, before anything is logged, evaluated or saved.
    """

    log: Callable[[int, dict[str, float]], None]
    evaluate: Callable[[int], None]
    save: Callable[[int], None]
    after_step: Callable[[], None] = lambda: None


def fit(
    model: nn.Module,
    task: Task,
    micro_batches: Iterator[Any],
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    hooks: Hooks,
    processes: Processes,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Train from `start_step` to `total_steps`; raise `Interrupted` after a saved Ctrl-C.

    scaler: see `gradient_scaler`; None: a new one.
    """
    config, total = plan.config, plan.total_steps
    scaler = scaler or gradient_scaler(config, processes.device)
    update = Update(model, task, optimizer, plan, processes, scaler)
    window = Window(config.batch_size)
    bar = tqdm(
        total=total,
        initial=plan.start_step,
        disable=not processes.is_main,
        unit="step",
        dynamic_ncols=True,
        desc="train",
    )
    with catch_signals() as caught, bar:
        for step in range(plan.start_step, total):
            # Train: one update from this step's micro-batches.
            rate = learning_rate(config, step, total)
            fetch_start = time.perf_counter()
            try:
                with caught.waiting():
                    parts = [next(micro_batches) for _ in range(update.parts_per_step)]
            except WaitEnded:
                hooks.save(step)
                raise Interrupted(step) from None
            window.data_seconds += time.perf_counter() - fetch_start
            window.add(update(step, parts, rate))
            hooks.after_step()
            bar.update()
            done = step + 1

            # Log: means over the steps since the last time.
            if done % config.log_every == 0 or done == total:
                terms = window.close(processes, rate)
                hooks.log(done, terms)
                _stop_if_broken(terms, done)
                bar.set_postfix(loss=f"{terms['loss/total']:.4g}")

            # Evaluate, save, stop.
            if done % plan.evaluate_every == 0 or done == total:
                with window.pause():
                    hooks.evaluate(done)
            stop = should_stop(caught, done, processes)
            if done % config.save_every == 0 or done == total or stop:
                hooks.save(done)
            if stop:
                raise Interrupted(done)


def _stop_if_broken(terms: dict[str, float], done: int) -> None:
    """A user error when every update of the last window was skipped."""
    if terms["skipped_updates"] > 0.999:
        raise UserError(
            f"no gradient was finite in the steps before step {done}, so nothing was learned in "
            "them; lower train.lr, lengthen train.warmup_steps, or try train.precision=fp32"
        )


class Update:
    """One optimizer update: totals, then forward and backward of each part, clip, update."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        processes: Processes,
        scaler: torch.amp.GradScaler,
    ):
        self.model, self.task, self.optimizer = model, task, optimizer
        self.config, self.seed = plan.config, plan.seed
        self.processes, self.scaler = processes, scaler
        self.precision = choose_precision(self.config.precision, processes.device)
        self.local_size = self.config.batch_size // processes.world_size
        self.part_size = self.config.micro_batch_size or self.local_size
        self.parts_per_step = -(-self.local_size // self.part_size)
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]

    def __call__(self, step: int, parts: list[MicroBatch], rate: float) -> dict[str, Tensor]:
        """Train on the micro-batches `parts`; returns this process's shares of the terms."""
        self.model.train()
        parts = [part.to(self.processes.device) for part in parts]
        totals = self._totals(step, parts)
        terms: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            with self._no_sync(is_last=index == len(parts) - 1):
                for name, value in self._backward(step, index, part, totals).items():
                    terms[name] = terms[name] + value if name in terms else value
        return terms | self._clip_and_update(rate)

    def _totals(self, step: int, parts: list[MicroBatch]) -> Totals:
        """The sums over all parts of the effective batch; none where there is one part only."""
        totals_fn = self.task.totals_fn
        if totals_fn is None or len(parts) * self.processes.world_size == 1:
            return {}
        with torch.no_grad(), autocast(self.precision, self.processes.device):
            counts = [
                totals_fn(self.model, part, self._random(step, index, part))
                for index, part in enumerate(parts)
            ]
        summed = {k: torch.stack([c[k].double() for c in counts]).sum(0) for k in counts[0]}
        return self.processes.sum(summed)

    def _backward(
        self, step: int, index: int, part: MicroBatch, totals: Totals
    ) -> dict[str, Tensor]:
        rng = self._random(step, index, part)
        with autocast(self.precision, self.processes.device):
            losses = self.task.step_fn(self.model, part, rng, totals)
        # DDP averages gradients over processes; the loss is a sum of shares.
        self.scaler.scale(losses["total"] * self.processes.world_size).backward()
        return {f"loss/{name}": value.detach() for name, value in losses.items()}

    def _clip_and_update(self, rate: float) -> dict[str, Tensor]:
        """Clip, and step unless a gradient is not finite; returns the norm and whether it is."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters, limit)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)  # some groups have their own
        broken = ~torch.isfinite(norm)
        if not self.scaler.is_enabled():
            # The fused optimizer skips the update then.
            self.optimizer.found_inf = broken.float()  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        # The window sums over processes, which all know the same norm.
        ours = {
            "grad_norm": norm.detach().nan_to_num(posinf=0.0),
            "skipped_updates": broken.float(),
        }
        return {name: value / self.processes.world_size for name, value in ours.items()}

    def _random(self, step: int, index: int, part: MicroBatch) -> StepRandom:
        """The random numbers of a part; also seeds the layers that draw their own."""
        first = self.processes.rank * self.local_size + index * self.part_size
        rng = StepRandom(self.seed, step, self.config.batch_size, first, len(part))
        rng.seed_modules()
        return rng

    def _no_sync(self, is_last: bool) -> Any:
        no_sync: Any = getattr(self.model, "no_sync", nullcontext)
        return nullcontext() if is_last else no_sync()
