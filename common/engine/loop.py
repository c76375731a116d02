"""The training loop, once. It knows steps, not depth, text or data sets.

A step function returns named loss terms with their sum under "total". Every term is this part's
*share* of the effective batch: the shares of all micro-batches and processes add up to the loss of
the whole batch, and so do the gradients. One process with batch 16, two with 8 each and
micro-batches of 4 therefore take the same steps.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from common.engine.fetching import PartFetcher
from common.engine.log_window import SKIPPED, Window
from common.engine.optimization import gradient_scaler, learning_rate
from common.engine.train_config import TrainConfig
from common.engine.update import Task, Update, logged_terms
from common.engine.watching import NumberWatch, Told
from common.errors import UserError, tell_stop
from common.progress import progress_bar
from common.runtime.processes import Processes
from common.runtime.signals import (
    PATIENCE,
    Abandoned,
    Caught,
    Interrupted,
    Meetings,
    catch_signals,
    is_interruption,
)


@dataclass(frozen=True)
class Plan:
    """Which steps to take, and how."""

    config: TrainConfig
    seed: int
    start_step: int
    total_steps: int
    evaluate_every: int
    evaluate_first: bool = False  # an error or a signal left out the evaluation of `start_step`
    watch: NumberWatch | None = None  # that of a run which goes on

    def due(self, done: int) -> "Due":
        """What is to happen when `done` steps are done."""
        periods = (self.config.log_every, self.evaluate_every, self.config.save_every)
        log, evaluation, save = (
            done % period == 0 or done == self.total_steps for period in periods
        )
        return Due(log, evaluation, save)


@dataclass(frozen=True)
class Due:
    """What follows a step."""

    log: bool
    evaluation: bool
    save: bool

    @property
    def pause(self) -> bool:
        """Whether more than the next step follows."""
        return self.log or self.evaluation or self.save


@dataclass(frozen=True)
class Hooks:
    """What happens beside the steps; all are given the number of steps done.

    after_step: called after every update, before anything is logged, evaluated or saved.
    after_update: before that, with whether the step was skipped (bool [], on the device). on_error:
    called with what ends training, which is raised after it. told: see `watching.py`.
    """

    log: Callable[[int, dict[str, float]], None]
    evaluate: Callable[[int], None]
    save: Callable[[int], None]
    after_step: Callable[[], None] = lambda: None
    after_update: Callable[[Tensor], None] = lambda skipped: None
    on_error: Callable[[int, Exception], None] = lambda done, error: None
    told: Told = Told()


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
    """Train from `start_step` to `total_steps`; raise `Interrupted` after a signal, saved.

    scaler: see `gradient_scaler`; None: a new one.
    """
    config, total = plan.config, plan.total_steps
    scaler = scaler or gradient_scaler(config, processes.device)
    update = Update(model, task, optimizer, config, plan.seed, processes, scaler)
    watch = plan.watch or NumberWatch(config, processes)
    fetcher = PartFetcher(micro_batches, update.parts_per_step, processes)
    told = replace(hooks.told, fetch_errors=fetcher.meet)
    window = Window(config.batch_size)
    bar = progress_bar("train", total, done=plan.start_step, unit="step", has_rhythm=True)
    done = plan.start_step
    meetings = Meetings(processes, done)
    with catch_signals() as caught, caught.noting(), bar:
        try:
            if plan.evaluate_first:
                hooks.evaluate(done)
                with caught.saving():
                    hooks.save(done)
            for step in range(plan.start_step, total):
                # Train: one update from this step's micro-batches.
                rate = learning_rate(config, step, total)
                fetch_start = time.perf_counter()
                with caught.waiting():
                    parts = fetcher.fetch(step)
                window.data_seconds += time.perf_counter() - fetch_start
                giving_up = caught.leaving(PATIENCE if step > plan.start_step else 0.0)
                record = update(step, parts, rate, fetcher.is_void, giving_up)
                window.add(logged_terms(record, update.skipped, processes.world_size))
                hooks.after_update(update.skipped)
                hooks.after_step()
                bar.update()
                done = step + 1
                due = plan.due(done)
                watch.see(record, due.pause or update.can_skip, told)
                if due.pause or meetings.due(done):
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
                stop = meetings.should_stop(caught, done)
                if due.save or stop:
                    watch.settle(told)
                    with caught.saving():
                        hooks.save(done)
                if stop:
                    tell_stop()
                    processes.barrier()  # the first that leaves has the others ended
                    raise Interrupted(done, caught.reason)
        except Interrupted:
            raise
        except (Abandoned, Exception) as error:
            done = watch.whole_steps(done)
            if isinstance(error, Exception) and not is_interruption(error):
                hooks.on_error(done, error)
                raise
            _leave(plan, done, hooks, caught)


def _leave(plan: Plan, done: int, hooks: Hooks, caught: Caught) -> NoReturn:
    """Save what was learned, without waiting for other processes, and raise `Interrupted`."""
    tell_stop()
    if done > plan.start_step:
        with caught.saving():
            hooks.save(done)
    raise Interrupted(done, caught.reason)


def _stop_if_broken(terms: dict[str, float], done: int) -> None:
    """A user error when every update of the last window was skipped."""
    if terms[SKIPPED] > 0.999:
        raise UserError(
            f"no gradient was finite in the steps before step {done}, so nothing was learned in "
            "them; lower train.lr, lengthen train.warmup_steps, or try train.precision=fp32"
        )
