"""One training session: what its checkpoint holds, and what happens between the steps."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from common.config import to_dict
from common.engine.averaging import WeightAverage
from common.engine.fetching import SharedError
from common.engine.log_window import Window
from common.engine.loop import Hooks, Plan
from common.engine.optimization import gradient_scaler
from common.engine.running_statistics import share_running_statistics
from common.engine.update import StepRecord, Task, Update
from common.engine.watching import NumberWatch, Told
from common.errors import UserError
from common.evaluation.results import EvalResult, describe_failures
from common.programs.assembly import Data
from common.programs.bad_data import BadData
from common.programs.inference import draw_prediction_panels, evaluate_dataset
from common.programs.run import Run
from common.programs.run_config import RunConfig
from common.programs.saving import Saver
from common.programs.stage import Stage
from common.programs.step_dumps import name_images, write_dump
from common.runtime import checkpoints
from common.runtime.threads import resume_threads, threads_of_run
from common.shortages import ShortageError


def bind_task(stage: Stage, config: Any) -> Task:
    """The stage's step with the settings it takes by name."""
    settings = {"loss": config.loss, "max_depth": config.data.max_depth}
    totals_fn = stage.totals_fn and partial(stage.totals_fn, **settings)
    return Task(partial(stage.step_fn, **settings), totals_fn)


class Session:
    """What a run's checkpoint holds, and what happens between the steps."""

    def __init__(self, stage: Stage, config: RunConfig, model: Any, data: Data, run: Run):
        self.stage, self.config, self.model, self.data, self.run = stage, config, model, data, run
        self.optimizer = stage.optimizer(stage.parameters(model, config), config.train)
        self.scaler = gradient_scaler(config.train, run.processes.device)
        self.watch = NumberWatch(config.train, run.processes)
        decay = config.train.ema_decay
        self.average = WeightAverage(model, decay) if decay is not None else None
        self.bad_data = BadData(data.train, run)
        self.best_metric = float("inf")
        self.saver = Saver(run.checkpoints, config.train, run.check_claim)
        self.window = Window(config.train.batch_size)
        self.is_evaluating = False  # what ends it leaves an evaluation to do
        self._kept = data.kept.to_plain() if data.kept else None

    def plan(self, start_step: int) -> Plan:
        """The steps from `start_step` to the end."""
        train = self.config.train
        total = train.total_steps(len(self.data.train))
        every = self.config.eval.every
        seed, evaluates = self.config.seed, self.is_evaluating
        return Plan(train, seed, start_step, total, every, evaluates, self.watch, self.window)

    def hooks(
        self, after_step: Callable[[], None], on_error: Callable[[int, Exception], None]
    ) -> Hooks:
        """What the loop calls. after_step, on_error: see `Hooks`."""
        images = partial(name_images, processes=self.run.processes)
        told = Told(self.run.log, images, self.write_dump)
        own = self.log, self.validate, self.save, after_step, self.after_update
        return Hooks(*own, on_error, told, self.bad_data.meet, self.saver.finish)

    def after_update(self, skipped: Tensor) -> None:
        """Take the new weights into their average. skipped: bool [], nothing was changed."""
        if self.average is not None:
            self.average.update(skipped)

    def used_weights(self) -> AbstractContextManager[None]:
        """Have the network hold what is evaluated, kept and handed on: the average, if any."""
        return self.average.applied() if self.average is not None else nullcontext()

    def write_dump(self, record: StepRecord) -> str:
        """Write down a step that is not finite; called by all processes at once."""
        update = Update(
            self.model,
            bind_task(self.stage, self.config),
            self.optimizer,
            self.config.train,
            self.config.seed,
            self.run.processes,
            self.scaler,
        )
        content = self._content(record.step)
        for key in ("data", "average"):  # it holds the weights that are trained
            content.pop(key, None)
        return write_dump(self.run.folder / "dumps", content, record, update)

    def resume(self, path: Path) -> int:
        """Load the run's checkpoint; returns the step to start from."""
        saved = checkpoints.load_checkpoint(
            path, stage=self.stage.name, recipes=(self.stage.recipe,)
        )
        self.model.load_state_dict(checkpoints.as_trained(saved))
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved.get("scaler", {}))
        train, processes = self.config.train, self.run.processes
        self.watch = NumberWatch(train, processes, saved.get("watch"))
        self.window = Window(train.batch_size, saved.get("window"), processes)
        if self.average is not None:
            self._restore_average(self.average, saved, path)
        checkpoints.restore_random_states(saved["random_states"])
        self.best_metric, self.saver.saved_step = saved["best_metric"], saved["step"]
        self.is_evaluating = saved.get("evaluation_failed", False)
        self.bad_data.restore(saved.get("bad_images", []))
        if "data" not in saved:
            self.run.log("this run does not say what it was trained on; the data are not compared")
        if (
            line := resume_threads(saved.get("cpu"), processes.world_size, processes.device)
        ) is not None:
            self.run.log(line)
        self.run.log(f"resuming at step {saved['step']}")
        return saved["step"]

    def _restore_average(self, average: WeightAverage, saved: dict[str, Any], path: Path) -> None:
        try:
            average.restore(saved["average"]["num_updates"], saved["raw_weights"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} lacks the raw weights beside their average (train.ema_decay), or "
                "has those of another network; start over under another experiment=NAME"
            ) from error

    def log(self, step: int, values: dict[str, float]) -> None:
        """Scalars of the training steps."""
        self.saver.check()
        self.run.scalars(step, "train", values | self.bad_data.counts())

    def validate(self, step: int) -> None:
        """Score the validation split, draw some of it, keep the checkpoint if it is the best."""
        self.is_evaluating = True
        with self.used_weights():
            share_running_statistics(self.model, self.run.processes)
            self._validate(step)
        self.is_evaluating = False

    def _validate(self, step: int) -> None:
        self.model.eval()
        predict, result = self.stage.predict, self._score(step)
        self.run.scalars(step, "val", {**result.metrics, "gt_used": result.gt_used})
        if self.run.processes.is_main:
            pictures = draw_prediction_panels(self.model, predict, self.data.val)
            self.run.panels(step, "val", pictures)
        self.keep_if_best(step, result.metrics["abs_rel"])
        self.run.log(
            f"step {step}: val abs_rel {result.metrics['abs_rel']:.4f}, rmse "
            f"{result.metrics['rmse']:.4f} m, d1 {result.metrics['d1']:.4f} "
            f"({result.num_images} images, protocol {result.protocol}, "
            f"{100 * result.gt_used:.3g} % of the measured pixels)"
        )
        if result.gt_use.is_loud:
            max_depth = self.config.data.max_depth
            self.run.log(f"val: {result.gt_use.describe('scored', max_depth)}")

    def _score(self, step: int) -> EvalResult:
        """Of the validation split. An image that fails ends the training: of every process."""
        data, evaluation = self.config.data, self.config.eval
        predict, processes = self.stage.predict, self.run.processes
        try:
            result = evaluate_dataset(
                self.model, predict, self.data.val, evaluation, data.max_depth, processes
            )
        except ShortageError:
            raise  # of this process alone
        except UserError as error:
            raise SharedError(error, step) from error
        if result.failures:
            raise SharedError(UserError(describe_failures(result)), step)
        return result

    def save(self, step: int) -> None:
        """Write `last.pt`, everything that resuming needs."""
        if self.run.processes.is_main:
            with self.used_weights():
                self.saver.save_last(self._content(step) | self._progress(step))
        else:
            self.saver.saved_step = step

    def _progress(self, step: int) -> dict[str, Any]:
        """What resuming needs beside the weights that are used."""
        raw = {"raw_weights": self.average.raw_weights()} if self.average is not None else {}
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random_states": checkpoints.random_states(),
            "watch": self.watch.state(),
            "cpu": threads_of_run(self.run.processes.world_size),
            "window": self.window.state(step, self.run.processes),
            **self.bad_data.state(),
            **({"evaluation_failed": True} if self.is_evaluating else {}),
            **raw,
        }

    def describe_saved(self, plan: Plan) -> str:
        """What a run that ends without being saved leaves."""
        step = self.saver.saved_step
        if not step:
            return "nothing of this run is saved"
        return (
            f"what came after the last save, at step {step} of {plan.total_steps}, is lost; the "
            "same command continues from there"
        )

    def keep_if_best(self, step: int, metric: float) -> None:
        """Write `best.pt` when the validation metric (lower is better) has improved."""
        if metric < self.best_metric:
            self.best_metric = metric
            if self.run.processes.is_main:
                self.saver.save_best(self._content(step))

    def _content(self, step: int) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "recipe": self.stage.recipe,
            "model": self.model.state_dict(),
            "model_config": self.model.describe(),
            "config": to_dict(self.config),
            "step": step,
            "data": self._kept,
            "sampler_position": step * self.config.train.batch_size,
            "best_metric": self.best_metric,
            **({"average": self.average.describe()} if self.average is not None else {}),
        }

    def log_plan(self, plan: Plan) -> None:
        """Sizes, notes about the data, and which steps will be taken."""
        trained = _millions(p for p in self.model.parameters() if p.requires_grad)
        data, run = self.data, self.run
        run.log(
            f"{len(data.train)} training and {len(data.val)} validation images; "
            f"{trained:.1f} of {_millions(self.model.parameters()):.1f} M parameters are trained"
        )
        for note in dict.fromkeys((*data.train.notes, *data.val.notes)):
            run.log(note)
        run.log(
            f"steps {plan.start_step} to {plan.total_steps}, batch {plan.config.batch_size} on "
            f"{run.processes.world_size} process(es){_shares(plan, run)}, {run.processes.device}"
        )
        if self.average is not None:
            run.log(
                f"evaluated, kept and handed on is an average of the weights over about the last "
                f"{1 / (1 - self.average.decay):.3g} steps (train.ema_decay={self.average.decay:g})"
            )


def _shares(plan: Plan, run: Run) -> str:
    """How many images of a batch each of several processes gets, where they get not the same."""
    size, parts = plan.config.batch_size, run.processes.world_size
    return f" (NPROC) of {size // parts} or {size // parts + 1} images" if size % parts else ""


def _millions(parameters: Any) -> float:
    return sum(p.numel() for p in parameters) / 1e6
