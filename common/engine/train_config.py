"""How a stage is optimized: the train section of a config."""

from dataclasses import dataclass
from typing import Literal

from common.config import may_change, passing, require_at_least
from common.runtime.precision import Precision
from common.runtime.time_limit import read_time


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast, on how much at once. Adam; AdamW for LLM-MDE."""

    batch_size: int = 4  # the effective one, over all processes and micro-batches
    # Images that a process computes at once; None: its whole share. The steps are the same.
    micro_batch_size: int | None = may_change(None)
    # Passes over the training images; or max_steps. A run goes on with more, never with fewer.
    epochs: int | None = may_change(None)
    max_steps: int | None = may_change(None)  # updates; wins over epochs
    lr: float = 3e-5  # learning rate after the warm-up
    final_lr: float = 1e-5  # what polynomial (power 0.9) and step end with
    schedule: Literal["constant", "polynomial", "step"] = "polynomial"  # of the learning rate
    drop_at: float = 0.5  # schedule `step`: share of training after which lr becomes final_lr
    warmup_steps: int = 0  # in which the learning rate grows to lr, linearly
    weight_decay: float = 0.0  # as L2 in Adam, decoupled in AdamW
    clip_norm: float | None = 1.0  # largest norm of the whole batch's gradient; None: not clipped
    # Use an average of the weights in place of the last ones, with this weight on what came before.
    ema_decay: float | None = None
    # Steps with a loss or gradient that is not finite which a run may pass over; 0: it stops.
    max_skipped_steps: int = may_change(0)
    # Tell of a gradient whose norm is so many times the median of the steps before; None: do not.
    spike_factor: float | None = may_change(10.0)
    precision: Precision = "auto"  # bf16 where the hardware has it, else fp16 (GPU) or fp32 (CPU)
    compile: bool = may_change(False)  # torch.compile; goes on without it where it cannot be had
    profile: bool = may_change(False)  # write a trace of a few steps to the run's profile/
    num_workers: int = may_change(4)  # that load images, for each process; 0: it loads them itself
    log_every: int = may_change(20)  # steps
    save_every: int = may_change(1000)  # steps between two last.pt; the one before it is kept too
    # Steps between two checkpoints that stay, step_0012000.pt, each a last.pt; null: none stays.
    keep_every: int | None = may_change(None)
    keep_newest: int = may_change(0)  # so many of train.keep_every stay; 0: all
    async_save: bool = may_change(False)  # write checkpoints in a thread while training goes on
    resume: bool = may_change(True)  # go on from last.pt; false: start over in the same folder
    # Hours, HH:MM:SS or Slurm's D-HH:MM:SS: save and end before it, exit code 130; None: no limit.
    time_limit: str | None = may_change(None)
    dry_run: bool = passing(False)  # two steps, and what a run would take; nothing is kept

    def __post_init__(self) -> None:
        require_at_least(1, self, "batch_size", "micro_batch_size", "epochs", "max_steps")
        require_at_least(1, self, "log_every", "save_every", "keep_every")
        require_at_least(0, self, "keep_newest")
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
        if self.time_limit is not None:
            try:
                read_time(self.time_limit)
            except ValueError:
                raise ValueError(
                    f"time_limit: {self.time_limit!r} is no time; give hours as a number (1.5), "
                    "HH:MM:SS, or Slurm's MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"
                ) from None
        if self.epochs is None and self.max_steps is None:
            raise ValueError("max_steps: give train.max_steps or train.epochs")

    def total_steps(self, num_samples: int) -> int:
        """`max_steps`, or as many steps as `epochs` passes over `num_samples` take."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.epochs is not None
        return max(1, self.epochs * num_samples // self.batch_size)

    def most_numbered(self, total_steps: int) -> int:
        """How many checkpoints of `keep_every` there are at most: one more before one goes."""
        count = total_steps // self.keep_every if self.keep_every else 0
        return min(count, self.keep_newest + 1) if self.keep_newest else count
