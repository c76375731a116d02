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
from common.engine.pace import Pace
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
    first_reason,
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
    window: Window | None = None  # likewise

    def due(self, done: int) -> "Due":
        """What is to happen when `done` steps are done."""
        config = self.config
        periods = (config.log_every, self.evaluate_every, config.save_every)
        log, evaluation, save = (
            done % period == 0 or done == self.total_steps for period in periods
        )
        save = save or (config.keep_every is not None and done % config.keep_every == 0)
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
    called with what ends training, which is raised after it. told: see `watching.py`. meet: called
    by all processes at once, before anything is logged, evaluated or saved. finish_saves: returns
    when what was saved is whole.
    """

    log: Callable[[int, dict[str, float]], None]
    evaluate: Callable[[int], None]
    save: Callable[[int], None]
    after_step: Callable[[], None] = lambda: None
    after_update: Callable[[Tensor], None] = lambda skipped: None
    on_error: Callable[[int, Exception], None] = lambda done, error: None
    told: Told = Told()
    meet: Callable[[int], None] = lambda done: None
    finish_saves: Callable[[], None] = lambda: None


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
    scaler = scaler or gradient_scaler(plan.config, processes.device)
    update = Update(model, task, optimizer, plan.config, plan.seed, processes, scaler)
    with catch_signals() as caught, caught.noting():
        steps = _Steps(update, micro_batches, plan, hooks, caught)
        with steps.bar:
            try:
                if plan.evaluate_first:
                    hooks.evaluate(plan.start_step)
                    steps.save()
                for step in range(plan.start_step, plan.total_steps):
                    steps.train(step)
                    steps.follow_up()
            except Interrupted:
                raise
            except (Abandoned, Exception) as error:
                steps.end(error)


class _Steps:
    """The steps of a run, and how far it is: `done` of them are."""

    def __init__(
        self,
        update: Update,
        micro_batches: Iterator[Any],
        plan: Plan,
        hooks: Hooks,
        caught: Caught,
    ):
        config, self.processes = plan.config, update.processes
        self.update, self.plan, self.hooks, self.caught = update, plan, hooks, caught
        self.watch = plan.watch or NumberWatch(config, self.processes)
        self.fetcher = PartFetcher(micro_batches, update.parts_per_step, self.processes)
        self.told = replace(hooks.told, fetch_errors=self.fetcher.meet)
        self.window, self.pace = plan.window or Window(config.batch_size), Pace(self.processes)
        self.done, total = plan.start_step, plan.total_steps
        self.meetings = Meetings(self.processes, self.done)
        self.bar = progress_bar("train", total, done=self.done, unit="step", has_rhythm=True)
        self.window.begin(self.done)

    def train(self, step: int) -> None:
        """One update from this step's micro-batches."""
        plan, window, update = self.plan, self.window, self.update
        self.rate = learning_rate(plan.config, step, plan.total_steps)
        fetch_start = time.perf_counter()
        with self.caught.waiting():
            parts = self.fetcher.fetch(step)
        window.data_seconds += time.perf_counter() - fetch_start
        giving_up = self.caught.leaving(PATIENCE if step > plan.start_step else 0.0)
        record = update(step, parts, self.rate, self.fetcher.is_void, giving_up)
        window.add(logged_terms(record, update.skipped, self.processes.world_size))
        self.hooks.after_update(update.skipped)
        self.bar.update()
        self.done = step + 1
        pauses = plan.due(self.done).pause
        self.watch.see(record, pauses or update.can_skip, self.told)
        if pauses or self.meetings.due(self.done):
            self.fetcher.meet()
            self.hooks.meet(self.done)
        self.hooks.after_step()

    def follow_up(self) -> None:
        """Log, evaluate, save, stop: what is due after the step."""
        due = self.plan.due(self.done)
        if due.log:
            self.log()
        if due.evaluation:
            with self.window.pause():
                self.hooks.evaluate(self.done)
        stop = self.meetings.should_stop(self.caught, self.done)
        if stop:
            tell_stop()  # before the save, which may outlast the launcher's patience
        if due.save or stop:
            self.watch.settle(self.told)
            self.save()
        if stop:
            with self.caught.saving():  # the first that leaves has the others ended
                self.hooks.finish_saves()
                self.processes.barrier()
            raise Interrupted(self.done, self.caught.reason)

    def log(self) -> None:
        """The means since the last line; a line where steps have become slow."""
        terms = self.window.close(self.processes, self.rate)
        self.hooks.log(self.done, terms)
        if (line := self.pace.see(terms)) is not None:
            self.told.line(f"step {self.done}: {line}")
        self.bar.report(f"loss {terms['loss/total']:.4g}")
        _stop_if_broken(terms, self.done)

    def save(self) -> None:
        """By all processes at once."""
        self.window.settle(self.processes)
        with self.caught.saving():
            self.hooks.save(self.done)

    def end(self, error: BaseException) -> NoReturn:
        """After an error: tell of it and raise it. After a signal: save what was learned, without
        waiting for other processes, and raise `Interrupted`.
        """
        self.done = self.watch.whole_steps(self.done)
        error = first_reason(error)
        if isinstance(error, Exception) and not is_interruption(error):
            self.hooks.on_error(self.done, error)
            raise error
        tell_stop()
        if self.done > self.plan.start_step:
            with self.caught.saving():
                self.hooks.save(self.done)
        raise Interrupted(self.done, self.caught.reason)


def _stop_if_broken(terms: dict[str, float], done: int) -> None:
    """A user error when every update of the last window was skipped."""
    if terms[SKIPPED] > 0.999:
        raise UserError(
            f"no gradient was finite in the steps before step {done}, so nothing was learned in "
            "them; lower train.lr, lengthen train.warmup_steps, or try train.precision=fp32"
        )
