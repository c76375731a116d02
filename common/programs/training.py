"""What every stage's `train.py` shares: the command line, resuming, and the rhythm around `fit`."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from common.config import (
    REPO_ROOT,
    apply_overrides,
    find_yaml,
    load_config,
    merge_yaml,
    to_dict,
)
from common.engine.loop import Interrupted, StepFn, TotalsFn, fit, gradient_scaler
from common.engine.profiling import profile_steps
from common.errors import UserError
from common.evaluation.scoring import EvalResult
from common.programs.assembly import Data, training_batches
from common.programs.run import Run, RunConfig
from common.runtime import checkpoints as ckpt
from common.runtime.processes import Processes, wrap

C = TypeVar("C", bound=RunConfig)


def read_command_line(config_type: type[C], words: list[str], default_yaml: str, doc: str) -> C:
    """`[CONFIG.yaml] [key=value ...]` -> config; `--help` prints `doc`."""
    if {"-h", "--help"} & set(words):
        print(doc.strip())
        raise SystemExit(0)
    return load_config(config_type, *_split_words(words, default_yaml))


def peek(words: list[str], default_yaml: str, key: str, default: str) -> str:
    """One top-level setting, before it is known which config the others belong to."""
    if {"-h", "--help"} & set(words):
        return default
    yaml_path, overrides = _split_words(words, default_yaml)
    tree: dict[str, Any] = {}
    merge_yaml(tree, {}, yaml_path)
    apply_overrides(tree, {}, overrides)
    return str(tree.get(key, default))


def _split_words(words: list[str], default_yaml: str) -> tuple[Path, list[str]]:
    overrides = [w for w in words if "=" in w and not w.startswith("-")]
    files = [w for w in words if w not in overrides]
    if len(files) > 1 or any(f.startswith("-") for f in files):
        raise UserError(f"command line: expected [CONFIG.yaml] [key=value ...], got {files}")
    return find_yaml(files[0]) if files else REPO_ROOT / default_yaml, overrides


def seed_everything(seed: int) -> None:
    """Seed the global generators, which only the initial weights are drawn from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def train(
    run: Run,
    config: RunConfig,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Data,
    step_fn: StepFn,
    evaluate: Callable[..., EvalResult],
    draw_panels: Callable[..., list[np.ndarray]],
    batch_totals: TotalsFn | None = None,
    recipe: str = "staged",
    has_branches: bool = False,
) -> None:
    """Resume what is there, then train to the end; evaluates, logs and saves on the way.

    model: its `describe()` is what rebuilds it. evaluate, draw_panels: the stage's, for the
    validation split. has_branches: a step may leave some trained parameters without a gradient.
    """
    processes = run.processes
    model.to(processes.device)
    total = config.train.total_steps(len(data.train))
    scaler = gradient_scaler(config.train, processes)
    state = _State(run, config, model, optimizer, scaler, recipe)
    start = state.resume() if run.resumes else 0
    run.rewind(start)
    if start >= total:
        run.log(f"already trained: {start} of {total} steps; nothing to do")
        return
    _log_plan(run, config, model, data, start, total)

    def log(step: int, values: dict[str, float]) -> None:
        run.scalars(step, "train", values)

    def validate(step: int) -> None:
        model.eval()
        result = evaluate(
            model,
            dataset=data.val,
            config=config.eval,
            max_depth=config.data.max_depth,
            processes=processes,
        )
        run.scalars(step, "val", result.metrics)
        if processes.is_main:
            run.panels(step, "val", draw_panels(model, dataset=data.val))
        state.keep_if_best(step, result.metrics["abs_rel"])
        run.log(
            f"step {step}: val abs_rel {result.metrics['abs_rel']:.4f}, rmse "
            f"{result.metrics['rmse']:.4f} m, d1 {result.metrics['d1']:.4f} "
            f"({result.num_images} images, protocol {result.protocol})"
        )

    try:
        with _profiler(run, config, start) as after_step:
            fit(
                model=wrap(model, processes, config.train.compile, has_branches, run.log),
                step_fn=step_fn, micro_batches=_batches(config, data, processes, start, total),
                optimizer=optimizer, config=config.train, total_steps=total, start_step=start,
                seed=config.seed, processes=processes, log=log, evaluate=validate,
                evaluate_every=config.eval.every, save=state.save, batch_totals=batch_totals,
                scaler=scaler, after_step=after_step,
            )  # fmt: skip
    except Interrupted as stopped:
        run.log(
            f"interrupted; saved at step {stopped.step} of {total}. "
            "The same command continues from there."
        )
        raise SystemExit(130) from None


class _State:
    """The part of a run that a checkpoint holds."""

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        model: Any,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        recipe: str,
    ):
        self.run, self.config, self.model, self.optimizer = run, config, model, optimizer
        self.stage, self.recipe, self.scaler = run.stage, recipe, scaler
        self.best_metric = float("inf")

    def resume(self) -> int:
        """Load `last.pt`; returns the step to start from."""
        saved = ckpt.load_checkpoint(self.run.last, stage=self.stage, recipes=(self.recipe,))
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved.get("scaler", {}))
        ckpt.restore_random_states(saved["random_states"])
        self.best_metric = saved["best_metric"]
        self.run.log(f"resuming at step {saved['step']}")
        return saved["step"]

    def save(self, step: int) -> None:
        """Write `last.pt`, everything that resuming needs."""
        if self.run.processes.is_main:
            ckpt.save_checkpoint(
                self.run.last,
                self._content(step)
                | {
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "random_states": ckpt.random_states(),
                },
            )

    def keep_if_best(self, step: int, metric: float) -> None:
        """Write `best.pt` when the validation metric (lower is better) has improved."""
        if metric < self.best_metric:
            self.best_metric = metric
            if self.run.processes.is_main:
                ckpt.save_checkpoint(self.run.best, self._content(step))

    def _content(self, step: int) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "recipe": self.recipe,
            "model": self.model.state_dict(),
            "model_config": self.model.describe(),
            "config": to_dict(self.config),
            "step": step,
            "sampler_position": step * self.config.train.batch_size,
            "best_metric": self.best_metric,
        }


def _profiler(
    run: Run, config: RunConfig, start: int
) -> AbstractContextManager[Callable[[], None]]:
    """Gives what to call after each step; does nothing unless this process writes a trace."""
    if not (config.train.profile and run.processes.is_main):
        return nullcontext(lambda: None)
    return profile_steps(run.folder / "profile", run.processes.device, run.log, start)


def _batches(
    config: RunConfig, data: Data, processes: Processes, start: int, total: int
) -> Iterator[dict]:
    return training_batches(
        data.train,
        config.train,
        seed=config.seed,
        processes=processes,
        start_step=start,
        total_steps=total,
    )


def _log_plan(
    run: Run, config: RunConfig, model: nn.Module, data: Data, start: int, total: int
) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    everything = sum(p.numel() for p in model.parameters()) / 1e6
    run.log(
        f"{len(data.train)} training and {len(data.val)} validation images; "
        f"{trained:.1f} of {everything:.1f} M parameters are trained"
    )
    for note in (*data.train.notes, *data.val.notes):
        run.log(note)
    run.log(
        f"steps {start} to {total}, batch {config.train.batch_size} on "
        f"{run.processes.world_size} process(es), {run.processes.device}"
    )
