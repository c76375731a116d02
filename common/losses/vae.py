"""The loss of stages 1 and 2: mean |error| + smoothness where nothing is measured + a floor on std.

WorDepth's text-VAE has no KL term; the floor on the standard deviation plays that part.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.config import require_at_least
from common.losses.depth import edge_aware_smoothness, masked_l1, smoothness_counts, std_floor


@dataclass(frozen=True)
class VAELossConfig:
    """Weights of the terms."""

    smoothness_weight: float = 0.01
    std_floor: float = 2.0

    def __post_init__(self) -> None:
        require_at_least(0, self, "smoothness_weight", "std_floor")


def measured(gt_depth: Tensor, max_depth: float) -> Tensor:
    """Pixels with ground truth: 1e-3 < gt < max_depth (meters), bool."""
    return (gt_depth > 1e-3) & (gt_depth < max_depth)


def vae_loss(
    depth: Tensor, std: Tensor, batch: dict, config: VAELossConfig, max_depth: float
) -> dict[str, Tensor]:
    """This part's share of each term; `batch["totals"]`, if any, holds the whole batch's totals.

    depth: [B, 1, H, W], meters. std: [B, L].
    """
    gt_depth = batch["gt_depth"]
    totals = batch.get("totals") or vae_totals(std.detach(), batch, max_depth)
    valid = measured(gt_depth, max_depth)
    l1 = masked_l1(depth, gt_depth, valid, totals["valid"])
    smoothness = edge_aware_smoothness(
        depth, batch["image"], ~valid, totals["smooth_x"], totals["smooth_y"]
    )
    mean_std = totals["std_sum"] / totals["std_count"]
    floor = std_floor(std, config.std_floor, mean_std, totals["std_count"])
    total = l1 + config.smoothness_weight * smoothness + floor
    return {"total": total, "l1": l1, "smoothness": smoothness, "std_floor": floor}


def vae_totals(std: Tensor, batch: dict, max_depth: float) -> dict[str, Tensor]:
    """This part's counts, to be added over the whole batch: the normalizers of `vae_loss`."""
    valid = measured(batch["gt_depth"], max_depth)
    count_x, count_y = smoothness_counts(~valid)
    count = torch.tensor(std.numel(), device=std.device)
    return {"valid": valid.sum(), "smooth_x": count_x, "smooth_y": count_y,
            "std_sum": std.float().sum(), "std_count": count}  # fmt: skip
