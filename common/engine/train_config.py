"""How a stage is optimized: the train section of a config."""

from dataclasses import dataclass
from typing import Literal

from common.config import may_change, passing, require_at_least
from common.runtime.precision import Precision


@dataclass(frozen=True)
class TrainConfig:
    """`batch_size` is the effective one, over all processes and micro-batches."""

    batch_size: int = 4
    micro_batch_size: int | None = may_change(None)
    epochs: int | None = may_change(None)
    max_steps: int | None = may_change(None)
    lr: float = 3e-5
    final_lr: float = 1e-5
    schedule: Literal["constant", "polynomial", "step"] = "polynomial"
    drop_at: float = 0.5  # schedule `step`: share of training after which lr becomes final_lr
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    ema_decay: float | None = None  # use a moving average of the weights, see averaging.py
    max_skipped_steps: int = may_change(0)  # steps with a loss or gradient that is not finite
    spike_factor: float | None = may_change(10.0)  # of the gradient's norm, see watching.py
    precision: Precision = "auto"
    compile: bool = may_change(False)
    profile: bool = may_change(False)  # write a trace of a few steps, see profiling.py
    num_workers: int = may_change(4)
    log_every: int = may_change(20)
    save_every: int = may_change(1000)
    resume: bool = may_change(True)
    dry_run: bool = passing(False)  # two steps, and what a run would take; nothing is kept

    def __post_init__(self) -> None:
        require_at_least(1, self, "batch_size", "micro_batch_size", "epochs", "max_steps")
        require_at_least(1, self, "log_every", "save_every")
        require_at_least(0, self, "final_lr", "weight_decay", "warmup_steps", "num_workers")
        require_at_least(0, self, "max_skipped_steps")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(
                f"ema_decay: must be between 0 and 1, both excluded, not {self.ema_decay}; null "
                "keeps no average"
            )
        if self.spike_factor is not None and not self.spike_factor > 1:
            raise ValueError(
                f"spike_factor: must be above 1, not {self.spike_factor}; null tells no spikes"
            )
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
