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

from common.engine.fetching import PartFetcher
from common.engine.log_window import Window
from common.engine.optimization import gradient_scaler, learning_rate
from common.engine.train_config import TrainConfig
from common.errors import UserError
from common.progress import progress_bar
from common.runtime.precision import autocast, choose_precision
from common.runtime.processes import MEETING_EVERY, Processes
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
    evaluate_first: bool = False  # an error left out the evaluation of `start_step`

    def due(self, done: int) -> "Due":
        """What is to happen when `done` steps are done."""
        periods = (self.config.log_every, self.evaluate_every, self.config.save_every)
        log, evaluation, save = (
            done % period == 0 or done == self.total_steps for period in periods
        )
        return Due(log, evaluation, save, log or evaluation or save or done % MEETING_EVERY == 0)


@dataclass(frozen=True)
class Due:
    """What follows a step. meeting: the processes make sure that none has failed."""

    log: bool
    evaluation: bool
    save: bool
    meeting: bool


@dataclass(frozen=True)
class Hooks:
    """What happens beside the steps; all are given the number of steps done.

    after_step: called after every update, before anything is logged, evaluated or saved. on_error:
    called with what ends training, which is raised after it.
    """

    log: Callable[[int, dict[str, float]], None]
    evaluate: Callable[[int], None]
    save: Callable[[int], None]
    after_step: Callable[[], None] = lambda: None
    on_error: Callable[[int, Exception], None] = lambda done, error: None


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
    fetcher = PartFetcher(micro_batches, update.parts_per_step, processes)
    window = Window(config.batch_size)
    bar = progress_bar("train", total, done=plan.start_step, unit="step", has_rhythm=True)
    done = plan.start_step
    with catch_signals() as caught, bar:
        try:
            if plan.evaluate_first:
                hooks.evaluate(done)
                hooks.save(done)
            for step in range(plan.start_step, total):
                # Train: one update from this step's micro-batches.
                rate = learning_rate(config, step, total)
                fetch_start = time.perf_counter()
                with caught.waiting():
                    parts = fetcher.fetch(step)
                window.data_seconds += time.perf_counter() - fetch_start
                window.add(update(step, parts, rate, fetcher.is_void))
                hooks.after_step()
                bar.update()
                done = step + 1
                due = plan.due(done)
                if due.meeting:
                    fetcher.meet()

                # Log, evaluate, save, stop.
                if due.log:
                    terms = window.close(processes, rate)
                    hooks.log(done, terms)
                    bar.report(f"loss {terms['loss/total']:.4g}")
                    _stop_if_broken(terms, done)
                if due.evaluation:
                    with window.pause():
                        hooks.evaluate(done)
                stop = should_stop(caught, done, processes)
                if due.save or stop:
                    hooks.save(done)
                if stop:
                    raise Interrupted(done)
        except WaitEnded:
            hooks.save(done)
            raise Interrupted(done) from None
        except Interrupted:
            raise
        except Exception as error:
            hooks.on_error(done, error)
            raise


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
        self.rows = processes.share(self.config.batch_size)
        self.part_size = self.config.micro_batch_size or len(self.rows)
        self.parts_per_step = -(-len(self.rows) // self.part_size)
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]

    def __call__(
        self, step: int, parts: list[MicroBatch], rate: float, is_void: bool = False
    ) -> dict[str, Tensor]:
        """Train on the micro-batches `parts`; returns this process's shares of the terms.

        is_void: make the gradients nan, for which every process leaves its weights as they are.
        """
        self.model.train()
        parts = [part.to(self.processes.device) for part in parts]
        totals = self._totals(step, parts)
        terms: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            with self._no_sync(is_last=index == len(parts) - 1):
                for name, value in self._backward(step, index, part, totals, is_void).items():
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
        self, step: int, index: int, part: MicroBatch, totals: Totals, is_void: bool
    ) -> dict[str, Tensor]:
        rng = self._random(step, index, part)
        with autocast(self.precision, self.processes.device):
            losses = self.task.step_fn(self.model, part, rng, totals)
        # DDP averages gradients over processes; the loss is a sum of shares.
        weight = float("nan") if is_void else self.processes.world_size
        self.scaler.scale(losses["total"] * weight).backward()
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
        first = self.rows.start + index * self.part_size
        rng = StepRandom(self.seed, step, self.config.batch_size, first, len(part))
        rng.seed_modules()
        return rng

    def _no_sync(self, is_last: bool) -> Any:
        no_sync: Any = getattr(self.model, "no_sync", nullcontext)
        return nullcontext() if is_last else no_sync()
