"""A training step whose numbers were not finite, as a file that does the step once more.

    RUN/dumps/step_0000124.pt      python scripts/replay.py RUN/dumps/step_0000124.pt

It is a checkpoint of the weights before the step (plain tensors and plain types, read by the one
loader), with `broken_step` beside them: the batch as the network got it, what the step needs of the
whole effective batch, its place among the random numbers, its terms and the norms of its gradient.
Of several processes one writes: the first whose own loss or gradient is not finite. A run keeps the
`MOST_DUMPS` newest; one above `MOST_BYTES` is not written.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.data.batch import Batch
from common.engine.optimization import gradient_scaler
from common.engine.update import Repetition, StepRecord, Task, Update
from common.engine.watching import loss_is_finite
from common.errors import UserError
from common.files import check_space
from common.programs.stage import Stage
from common.runtime.checkpoints import num_bytes, read_checkpoint, save_checkpoint
from common.runtime.precision import Precision
from common.runtime.processes import Processes

MOST_DUMPS, MOST_BYTES = 3, 8_000_000_000
MOST_NAMES = 8  # images in a line
KEY = "broken_step"


def name_images(record: StepRecord, processes: Processes) -> str:
    """The images of a step for a line: those of parts whose loss is not finite, else all."""
    own = [key for part in record.parts for key in part.key]
    parts = processes.gather([(loss_is_finite(record), own)])
    broken = [key for is_finite, keys in parts for key in keys if not is_finite]
    keys = broken or [key for _, part in parts for key in part]
    more = f" and {len(keys) - MOST_NAMES} more" if len(keys) > MOST_NAMES else ""
    return f"images {', '.join(keys[:MOST_NAMES])}{more}"


def write_dump(
    folder: Path,
    checkpoint: dict[str, Any],
    record: StepRecord,
    update: Update,
) -> str:
    """Called by all processes at once; says where the dump is, or why there is none.

    checkpoint: stage, recipe, model (the weights before the step), model_config and config.
    """
    processes = update.processes
    repeated = _repeat(update, record)
    flags = processes.gather([_is_finite(record, repeated)])
    writer = flags.index(False) if False in flags else 0
    path = folder / f"step_{record.step + 1:07d}.pt"
    told: list[str] = []
    if processes.rank == writer:
        content = {**checkpoint, KEY: _describe(record, repeated, update)}
        told = [_write(path, content)]
    return processes.gather(told)[0]


def _repeat(update: Update, record: StepRecord) -> Repetition | None:
    """None: there is no memory for it; the loss of the step itself is known."""
    try:
        return update.repeat(record)
    except torch.OutOfMemoryError:
        return None


def _is_finite(record: StepRecord, repeated: Repetition | None) -> bool:
    norms = repeated.grad_norms.values() if repeated else ()
    return loss_is_finite(record) and all(map(math.isfinite, norms))


def _describe(record: StepRecord, repeated: Repetition | None, update: Update) -> dict[str, Any]:
    return {
        "step": record.step,
        "parts": [_plain(part) for part in record.parts],
        "totals": {name: value.cpu() for name, value in record.totals.items()},
        "terms": {name: value.cpu() for name, value in record.terms.items()},
        "loss_scale": record.loss_scale,
        "grad_norms": repeated.grad_norms if repeated else {},
        "rank": update.processes.rank,
        "world_size": update.processes.world_size,
        "precision": update.precision,
        "device": str(update.processes.device.type),
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
    }


def _plain(batch: Batch) -> dict[str, Any]:
    """Tensors and plain types; `.clone()`, for a view would be stored with all that it views."""
    sent = batch.to(torch.device("cpu"))
    return {k: v.clone() if isinstance(v, Tensor) else v for k, v in vars(sent).items()}


def _write(path: Path, content: dict[str, Any]) -> str:
    try:
        size = num_bytes(content)
        if size > MOST_BYTES:
            return f"not written down: that would take {size / 1e9:.1f} GB"
        check_space(path.parent, size, "writing the step down")
        save_checkpoint(path, content)
        for old in sorted(path.parent.glob("step_*.pt"))[:-MOST_DUMPS]:
            if old != path:
                old.unlink(missing_ok=True)
    except (UserError, OSError) as error:  # the step is told of in any case
        return f"not written down: {error}"
    return f"written down: python scripts/replay.py {path}"


class StepDump:
    """A dump that was read. `terms` and `grad_norms` are those of the training."""

    def __init__(self, path: Path):
        self.path, self.content = path, read_checkpoint(path)
        if not isinstance(self.content.get(KEY), dict):
            raise UserError(
                f"{path} holds no step; name a file that a run wrote into its folder dumps/"
            )
        try:
            self._read(self.content[KEY])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} is a damaged dump ({type(error).__name__}: {error}); let the run write "
                "it again"
            ) from error

    def _read(self, step: dict[str, Any]) -> None:
        parts = [Batch(**part) for part in step["parts"]]
        totals, self.terms = dict(step["totals"]), dict(step["terms"])
        self.grad_norms: dict[str, float] = dict(step["grad_norms"])
        norm = torch.tensor(float("nan"))
        scale = float(step["loss_scale"])
        self.record = StepRecord(int(step["step"]), parts, totals, self.terms, norm, scale)
        self.rank, self.world_size = int(step["rank"]), int(step["world_size"])
        self.precision: Precision = step["precision"]
        self.device, self.num_threads = str(step["device"]), int(step["num_threads"])
        self.torch = str(step["torch"])

    @property
    def images(self) -> list[str]:
        """The keys of the batch."""
        return [key for part in self.record.parts for key in part.key]

    def repeat(
        self, stage: Stage, config: Any, model: nn.Module, task: Task, device: torch.device
    ) -> Repetition:
        """Do the step once more, in this process alone; model: of the dump, on the device."""
        own = "fp32" if self.precision == "fp16" and device.type == "cpu" else self.precision
        train = replace(config.train, precision=own)
        parts = [part.to(device) for part in self.record.parts]
        totals = {name: value.to(device) for name, value in self.record.totals.items()}
        record = replace(self.record, parts=parts, totals=totals)
        update = Update(
            model,
            task,
            stage.optimizer(stage.parameters(model, config), train),
            train,
            config.seed,
            Processes(self.rank, self.world_size, device),
            gradient_scaler(train, device),
        )
        return update.repeat(record)


def same_numbers(one: Tensor, other: Tensor) -> bool:
    """Bit for bit, where nan equals nan."""
    return one.shape == other.shape and torch.equal(one.isnan(), other.isnan()) and torch.equal(
        one.nan_to_num(0.0, 1e38, -1e38), other.nan_to_num(0.0, 1e38, -1e38)
    )  # fmt: skip
