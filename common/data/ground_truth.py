"""How much of the measured ground truth is used; the rest is beyond `data.max_depth` or too near.

Depth that is not measured (0) and what a crop leaves out do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

LOUD_BELOW = 0.9  # share from which on the rest is a few pixels, as in the published evaluations


@dataclass(frozen=True)
class GroundTruthUse:
    """Pixels with a measurement, those of them that count, and between which depths, in meters."""

    num_measured: int = 0
    num_used: int = 0
    farthest: float = 0.0  # 0 where nothing is measured
    nearest: float = math.inf
    num_images: int = 1

    @property
    def share(self) -> float:
        """Of the measured pixels; 0 where nothing is measured."""
        return self.num_used / self.num_measured if self.num_measured else 0.0

    @property
    def is_loud(self) -> bool:
        """Whether so much is left out that nobody must overlook it."""
        return self.share < LOUD_BELOW

    def describe(self, done: str, max_depth: float) -> str:
        """One line. done: what is done with the pixels, `scored` or `trained on`."""
        text = f"{100 * self.share:.3g} % of the measured ground-truth pixels are {done}"
        text += f" ({self.num_images} images)"
        if not self.is_loud:
            return text
        farthest = f"{self.farthest:.3g} m"
        why = f"data.max_depth={max_depth:g} leaves out what is farther, up to {farthest}"
        if self.farthest < max_depth:
            why = f"the others are too near; the farthest is {farthest}: check the unit"
        return f"warning: only {text}: {why}"


def count_use(gt_depth: Tensor, used: Tensor) -> GroundTruthUse:
    """Of one map, or one part of it. gt_depth: meters, any shape; used: bool, the same shape."""
    measured = (gt_depth > 0) & (gt_depth < torch.inf)
    if gt_depth.numel() == 0:
        return GroundTruthUse()
    farthest = torch.where(measured, gt_depth, 0).max()
    nearest = torch.where(measured, gt_depth, torch.inf).min()
    counts = measured.sum(), (measured & used).sum()
    numbers = torch.stack([*counts, farthest.double(), nearest.double()])
    num_measured, num_used, *ends = numbers.tolist()  # one wait for the device
    return GroundTruthUse(int(num_measured), int(num_used), *ends)


def total_use(parts: Iterable[GroundTruthUse]) -> GroundTruthUse:
    """Of several maps together."""
    known = list(parts)
    return GroundTruthUse(
        sum(part.num_measured for part in known),
        sum(part.num_used for part in known),
        max((part.farthest for part in known), default=0.0),
        min((part.nearest for part in known), default=math.inf),
        sum(part.num_images for part in known),
    )
