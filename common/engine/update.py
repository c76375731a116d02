"""One training step: totals, forward and backward of each part, clipping, the update.

A step whose loss or gradient is not finite changes nothing: neither weights nor optimizer nor
running statistics. That is decided on the device, where it is known; the host reads it later
(`watching.py`), and until then no other step changes anything either, if none may be skipped.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from common.engine.log_window import SKIPPED
from common.engine.running_statistics import running_statistics
from common.engine.train_config import TrainConfig
from common.runtime.precision import autocast, choose_precision
from common.runtime.processes import Processes, unwrap
from common.runtime.randomness import StepRandom

Totals = Mapping[str, Tensor]
NEVER = nullcontext()


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
class StepRecord:
    """What a step read and gave. parts: this process's, on the device. terms: named loss terms,
    this process's shares. grad_norm: of all processes, before clipping. loss_scale: fp16's.
    """

    step: int
    parts: list[Any]
    totals: Totals
    terms: dict[str, Tensor]
    grad_norm: Tensor
    loss_scale: float = 1.0


@dataclass(frozen=True)
class Repetition:
    """A step done once more. terms: as in `StepRecord`. grad_norms: parameter -> norm of this
    process's gradient; of those that have one.
    """

    terms: dict[str, Tensor]
    grad_norms: dict[str, float]


class Update:
    """The steps of a plan, one after the other.

    can_skip: steps after one that is not finite go on; else they change nothing, until the host
    has seen it.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        seed: int,
        processes: Processes,
        scaler: torch.amp.GradScaler,
    ):
        self.model, self.task, self.optimizer = model, task, optimizer
        self.config, self.seed = config, seed
        self.processes, self.scaler = processes, scaler
        self.precision = choose_precision(config.precision, processes.device)
        self.rows = processes.share(config.batch_size)
        self.part_size = config.micro_batch_size or len(self.rows)
        self.parts_per_step = -(-len(self.rows) // self.part_size)
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]
        self.statistics = list(running_statistics(model).values())
        self.can_skip = config.max_skipped_steps > 0 or scaler.is_enabled()
        self.skipped = torch.zeros((), dtype=torch.bool, device=processes.device)
        self.is_closed = self.skipped

    def __call__(
        self,
        step: int,
        parts: list[MicroBatch],
        rate: float,
        is_void: bool = False,
        giving_up: AbstractContextManager[None] = NEVER,
    ) -> StepRecord:
        """Train on the micro-batches `parts`; `skipped` says then whether nothing was changed.

        is_void: make the gradients nan, for which every process leaves its weights as they are.
        giving_up: holds while a step that ends early, for an error or a signal, changes nothing.
        """
        self.model.train()  # all of it: parts that a library has made come in evaluation mode
        statistics = [tensor.clone() for tensor in self.statistics]
        try:
            with giving_up:
                parts = [part.to(self.processes.device) for part in parts]
                totals = self._totals(step, parts)
                terms = self._differentiate(step, parts, totals, is_void)
        except BaseException:
            for tensor, before in zip(self.statistics, statistics, strict=True):
                tensor.copy_(before)
            raise
        scale = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
        grad_norm = self._clip_and_update(rate)
        for tensor, before in zip(self.statistics, statistics, strict=True):
            tensor.copy_(torch.where(self.skipped, before, tensor))
        return StepRecord(step, parts, totals, terms, grad_norm, scale)

    def _differentiate(
        self, step: int, parts: list[Any], totals: Totals, is_void: bool
    ) -> dict[str, Tensor]:
        """Forward and backward of each part; the named terms."""
        terms: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            with self._no_sync(is_last=index == len(parts) - 1):
                losses = self._losses(self.model, step, index, part, totals)
                weight = self._weight(losses["total"], is_void)
                self.scaler.scale(losses["total"] * weight).backward()
            _add(terms, losses)
        return terms

    def repeat(self, record: StepRecord) -> Repetition:
        """This process's part of a step once more; nothing is changed, no process is waited for."""
        model = unwrap(self.model).train()
        statistics = [tensor.clone() for tensor in self.statistics]
        names = {id(p): name for name, p in model.named_parameters()}
        sums: list[Tensor | None] = [None] * len(self.parameters)
        terms: dict[str, Tensor] = {}
        for index, part in enumerate(record.parts):
            losses = self._losses(model, record.step, index, part, record.totals)
            scaled = losses["total"] * record.loss_scale
            gradients = torch.autograd.grad(scaled, self.parameters, allow_unused=True)
            pairs = zip(sums, gradients, strict=True)
            sums = [new if old is None else old + new if new is not None else old
                    for old, new in pairs]  # fmt: skip
            _add(terms, losses)
        for tensor, before in zip(self.statistics, statistics, strict=True):
            tensor.copy_(before)
        norms = {
            names[id(p)]: gradient.norm().item() / record.loss_scale
            for p, gradient in zip(self.parameters, sums, strict=True)
            if gradient is not None
        }
        return Repetition(terms, norms)

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

    def _losses(
        self, model: nn.Module, step: int, index: int, part: MicroBatch, totals: Totals
    ) -> dict[str, Tensor]:
        """The named terms of a part."""
        rng = self._random(step, index, part)
        with autocast(self.precision, self.processes.device):
            return self.task.step_fn(model, part, rng, totals)

    def _weight(self, loss: Tensor, is_void: bool) -> Tensor:
        """Of a loss: DDP averages gradients over processes, and the loss is a sum of shares.

        nan where the step is to change nothing: with the gradient every process learns of it.
        """
        is_used = torch.isfinite(loss.detach()) & ~self.is_closed
        weight = torch.full_like(loss.detach(), self.processes.world_size)
        return torch.where(is_used, weight, torch.nan) if not is_void else weight * torch.nan

    def _clip_and_update(self, rate: float) -> Tensor:
        """Clip, and step unless a gradient is not finite; returns the norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters, limit).detach()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)  # some groups have their own
        self.skipped = ~torch.isfinite(norm)
        if not self.can_skip:
            self.is_closed = self.is_closed | self.skipped
        if not self.scaler.is_enabled():
            # The fused optimizer skips the update then.
            self.optimizer.found_inf = self.skipped.float()  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _random(self, step: int, index: int, part: MicroBatch) -> StepRandom:
        """The random numbers of a part; also seeds the layers that draw their own."""
        first = self.rows.start + index * self.part_size
        rng = StepRandom(self.seed, step, self.config.batch_size, first, len(part))
        rng.seed_modules()
        return rng

    def _no_sync(self, is_last: bool) -> Any:
        no_sync: Any = getattr(self.model, "no_sync", nullcontext)
        return nullcontext() if is_last else no_sync()


def _add(terms: dict[str, Tensor], losses: dict[str, Tensor]) -> None:
    """Add a part's shares to those of the parts before it."""
    for name, value in losses.items():
        name, value = f"loss/{name}", value.detach()
        terms[name] = terms[name] + value if name in terms else value


def logged_terms(record: StepRecord, skipped: Tensor, world_size: int) -> dict[str, Tensor]:
    """What the log's window adds up over steps and processes; nothing of a skipped step."""
    # All processes know the same norm.
    values = record.terms | {"grad_norm": record.grad_norm / world_size}
    counted = {n: torch.where(skipped, torch.zeros_like(v), v) for n, v in values.items()}
    return counted | {SKIPPED: skipped.float() / world_size}
