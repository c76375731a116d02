"""The training loop, once. It knows steps, not depth, text or data sets.

A `step_fn(model, batch, rng)` returns named loss terms with their sum under "total". Every term is
this part's *share* of the effective batch: the shares of all micro-batches and processes add up to
the loss of the whole batch, and so do the gradients. One process with batch 16, two with 8 each and
micro-batches of 4 therefore take the same steps.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.config import require_at_least
from common.engine.log_window import Window
from common.errors import UserError
from common.runtime.precision import Precision, autocast, choose_precision
from common.runtime.processes import Processes
from common.runtime.randomness import StepRandom

StepFn = Callable[[nn.Module, dict, StepRandom], dict[str, Tensor]]
TotalsFn = Callable[[nn.Module, dict, StepRandom], dict[str, Tensor]]


@dataclass(frozen=True)
class TrainConfig:
    """How a stage is optimized. `batch_size` is the effective one, over all processes."""

    batch_size: int = 4
    micro_batch_size: int | None = None
    epochs: int | None = None
    max_steps: int | None = None
    lr: float = 3e-5
    final_lr: float = 1e-5
    schedule: Literal["constant", "polynomial", "step"] = "polynomial"
    drop_at: float = 0.5  # schedule `step`: share of training after which lr becomes final_lr
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    precision: Precision = "auto"
    compile: bool = False
    profile: bool = False  # write a trace of a few steps, see common/engine/profiling.py
    num_workers: int = 4
    log_every: int = 20
    save_every: int = 1000
    resume: bool = True

    def __post_init__(self) -> None:
        require_at_least(1, self, "batch_size", "micro_batch_size", "epochs", "max_steps")
        require_at_least(1, self, "log_every", "save_every")
        require_at_least(0, self, "final_lr", "weight_decay", "warmup_steps", "num_workers")
        if not 0 <= self.drop_at <= 1:
            raise ValueError(f"drop_at: must be in [0, 1], not {self.drop_at}")
        for name in ("lr", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}: must be positive, not {value}")
        if self.epochs is None and self.max_steps is None:
            raise ValueError("max_steps: give train.max_steps or train.epochs")

    def total_steps(self, num_samples: int) -> int:
        """`max_steps`, or as many steps as `epochs` passes over `num_samples` take."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.epochs is not None
        return max(1, self.epochs * num_samples // self.batch_size)


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Linear warm-up, then constant, (1 - progress)^0.9 down to `final_lr`, or one step to it."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return config.lr * warmup
    if config.schedule == "step":
        return (config.lr if step < config.drop_at * total_steps else config.final_lr) * warmup
    remaining = (1 - step / total_steps) ** 0.9
    return ((config.lr - config.final_lr) * remaining + config.final_lr) * warmup


def adam(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.Adam:
    """Adam with PyTorch's eps 1e-8 and, if asked for, L2 weight decay (the published setting)."""
    return torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def adamw(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW: as `adam`, but the weight decay is decoupled from the gradient."""
    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def gradient_scaler(config: TrainConfig, processes: Processes) -> torch.amp.GradScaler:
    """What keeps small gradients from vanishing in fp16; without effect in other formats."""
    is_fp16 = choose_precision(config.precision, processes.device) == "fp16"
    return torch.amp.GradScaler(processes.device.type, enabled=is_fp16)


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived, and the run was saved at `step`."""

    def __init__(self, step: int):
        super().__init__(f"interrupted and saved at step {step}")
        self.step = step


def fit(
    *,
    model: nn.Module,
    step_fn: StepFn,
    micro_batches: Iterator[dict],
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    total_steps: int,
    start_step: int,
    seed: int,
    processes: Processes,
    log: Callable[[int, dict[str, float]], None],
    evaluate: Callable[[int], None],
    evaluate_every: int,
    save: Callable[[int], None],
    batch_totals: TotalsFn | None = None,
    scaler: torch.amp.GradScaler | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train from `start_step` to `total_steps`; raise `Interrupted` after a saved Ctrl-C.

    batch_totals: sums of one part that, where the effective batch has several parts (processes or
    micro-batches), are added over all of them before the step and reach `step_fn` as
    `batch["totals"]`; a batch of one part has no such key. scaler: see `gradient_scaler`.
    after_step: called after every update, before anything is logged, evaluated or saved.
    """
    scaler = scaler or gradient_scaler(config, processes)
    loop = _Loop(model, step_fn, optimizer, config, seed, processes, batch_totals, scaler)
    window = Window(config.batch_size)
    bar = tqdm(
        total=total_steps,
        initial=start_step,
        disable=not processes.is_main,
        unit="step",
        dynamic_ncols=True,
        desc="train",
    )
    with catch_signals() as caught, bar:
        for step in range(start_step, total_steps):
            rate = learning_rate(config, step, total_steps)
            fetch_start = time.perf_counter()
            parts = [next(micro_batches) for _ in range(loop.parts_per_step)]
            window.data_seconds += time.perf_counter() - fetch_start
            window.add(loop.step(step, parts, rate))
            after_step()
            bar.update()
            done = step + 1
            if done % config.log_every == 0 or done == total_steps:
                terms = window.close(processes, rate)
                log(done, terms)
                _stop_if_broken(terms, done)
                bar.set_postfix(loss=f"{terms['loss/total']:.4g}")
            if done % evaluate_every == 0 or done == total_steps:
                with window.pause():
                    evaluate(done)
            stop = _should_stop(caught, done, processes)
            if done % config.save_every == 0 or done == total_steps or stop:
                save(done)
            if stop:
                raise Interrupted(done)


def _stop_if_broken(terms: dict[str, float], done: int) -> None:
    """A user error when every update of the last window was skipped."""
    if terms["skipped_updates"] > 0.999:
        raise UserError(
            f"no gradient was finite in the steps before step {done}, so nothing was learned in "
            "them; lower train.lr, lengthen train.warmup_steps, or try train.precision=fp32"
        )


def _should_stop(caught: list, done: int, processes: Processes) -> bool:
    """Whether a signal arrived; several processes agree on it every tenth step."""
    if processes.world_size > 1 and done % 10:
        return False
    return processes.any(bool(caught))


class _Loop:
    """What one step needs, and the step itself: forward, backward, clip, update."""

    def __init__(
        self,
        model: nn.Module,
        step_fn: StepFn,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        seed: int,
        processes: Processes,
        batch_totals: TotalsFn | None,
        scaler: torch.amp.GradScaler,
    ):
        self.model, self.step_fn, self.optimizer = model, step_fn, optimizer
        self.config, self.seed, self.processes, self.batch_totals = (
            config,
            seed,
            processes,
            batch_totals,
        )
        self.precision = choose_precision(config.precision, processes.device)
        self.scaler = scaler
        self.local_size = config.batch_size // processes.world_size
        self.part_size = config.micro_batch_size or self.local_size
        self.parts_per_step = -(-self.local_size // self.part_size)
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]

    def step(self, step: int, parts: list[dict], rate: float) -> dict[str, Tensor]:
        """One optimizer update from the micro-batches `parts`; returns this process's shares."""
        self.model.train()
        parts = [to_device(p, self.processes.device) for p in parts]
        self._add_totals(step, parts)
        terms: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            with self._no_sync(last=index == len(parts) - 1):
                for name, value in self._part(step, index, part).items():
                    terms[name] = terms[name] + value if name in terms else value
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters, limit)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
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
        return terms | {name: value / self.processes.world_size for name, value in ours.items()}

    def _part(self, step: int, index: int, part: dict) -> dict[str, Tensor]:
        rng = self._random(step, index, part)
        with autocast(self.precision, self.processes.device):
            losses = self.step_fn(self.model, part, rng)
        # DDP averages gradients over processes; the loss is a sum of shares.
        self.scaler.scale(losses["total"] * self.processes.world_size).backward()
        return {f"loss/{name}": value.detach() for name, value in losses.items()}

    def _random(self, step: int, index: int, part: dict) -> StepRandom:
        """The random numbers of a part; also seeds the layers that draw their own."""
        first = self.processes.rank * self.local_size + index * self.part_size
        count = len(part["position"])
        rng = StepRandom(self.seed, step, self.config.batch_size, first, count)
        rng.seed_modules()
        return rng

    def _add_totals(self, step: int, parts: list[dict]) -> None:
        if self.batch_totals is None or len(parts) * self.processes.world_size == 1:
            return
        with torch.no_grad(), autocast(self.precision, self.processes.device):
            counts = [
                self.batch_totals(self.model, part, self._random(step, index, part))
                for index, part in enumerate(parts)
            ]
        summed = {k: torch.stack([c[k].double() for c in counts]).sum(0) for k in counts[0]}
        totals = self.processes.sum(summed)
        for part in parts:
            part["totals"] = totals

    def _no_sync(self, last: bool) -> Any:
        no_sync: Any = getattr(self.model, "no_sync", nullcontext)
        return nullcontext() if last else no_sync()


def to_device(batch: dict, device: torch.device) -> dict:
    """The batch with its tensors on `device`; strings and lists stay."""
    return {
        k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()
    }


@contextmanager
def catch_signals() -> Iterator[list]:
    """Collect SIGINT and SIGTERM in a list; in one process, a second Ctrl-C stops at once."""
    caught: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if caught and number == signal.SIGINT and not torch.distributed.is_initialized():
            raise KeyboardInterrupt
        caught.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
