"""What keeps distributions wide: the floor on std of stages 1 and 2, the KL terms of joint; and the
normalizers of the loss of stages 1 and 2. Parts of a batch: see `depth.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from common.config import require_at_least
from common.losses.depth import (
    check_same_shape,
    edge_aware_smoothness,
    masked_l1,
    smoothness_counts,
)

MIN_VARIANCE = 1e-12  # of a channel that does not vary; its logarithm stays finite


@dataclass(frozen=True)
class VAELossConfig:
    """Weights of the terms of stages 1 and 2. WorDepth's released text-VAE has no KL term."""

    smoothness_weight: float = 0.01  # of edge-aware smoothness, on pixels without ground truth
    std_floor: float = 2.0  # a mean std below it costs the difference; 0: off

    def __post_init__(self) -> None:
        require_at_least(0, self, "smoothness_weight", "std_floor")


@dataclass(frozen=True)
class VAETerms:
    """This part's share of each term, unweighted."""

    l1: Tensor
    smoothness: Tensor
    std_floor: Tensor


def measured(gt_depth: Tensor, max_depth: float) -> Tensor:
    """Pixels with ground truth: 1e-3 < gt < max_depth (meters), bool."""
    return (gt_depth > 1e-3) & (gt_depth < max_depth)


def vae_terms(
    depth: Tensor,
    std: Tensor,
    gt_depth: Tensor,
    image: Tensor,
    floor: float,
    max_depth: float,
    totals: Mapping[str, Tensor],
) -> VAETerms:
    """Mean |error| where depth is measured, smoothness where it is not, and the floor on std.

    depth, gt_depth: [B, 1, H, W], meters. std: [B, L]. image: [B, 3, H, W]. totals: `vae_totals` of
    the effective batch, where this batch is a part of it; empty: this batch is the whole.
    """
    totals = totals or vae_totals(std.detach(), gt_depth, max_depth)
    valid = measured(gt_depth, max_depth)
    mean_std = totals["std_sum"] / totals["std_count"]
    return VAETerms(
        masked_l1(depth, gt_depth, valid, totals["valid"]),
        edge_aware_smoothness(depth, image, ~valid, totals["smooth_x"], totals["smooth_y"]),
        std_floor(std, floor, mean_std, totals["std_count"]),
    )


def vae_totals(std: Tensor, gt_depth: Tensor, max_depth: float) -> dict[str, Tensor]:
    """This part's counts, to be added over the whole batch: the normalizers of `vae_terms`."""
    valid = measured(gt_depth, max_depth)
    count_x, count_y = smoothness_counts(~valid)
    return {
        "valid": valid.sum(),
        "smooth_x": count_x,
        "smooth_y": count_y,
        "std_sum": std.float().sum(),
        "std_count": torch.full((), std.numel(), device=std.device),
    }


def std_floor(
    std: Tensor,
    floor: float = 2.0,
    total_mean: Tensor | None = None,
    total_count: Tensor | None = None,
) -> Tensor:
    """Hinge `max(0, floor - mean(std))`, one mean over the whole batch and all dimensions.

    std: [B, D]. total_mean, total_count: mean and number of all std values in the effective batch,
    where this batch is a part of it; whether the hinge is open depends on the whole.
    """
    std = std.float()
    mean = std.detach().mean() if total_mean is None else total_mean
    share = (floor - std).sum() / (std.numel() if total_count is None else total_count)
    return torch.where(mean < floor, share, 0.0 * share)


def gaussian_kl(mean: Tensor, logvar: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean over the batch of KL(N(mean, exp(logvar)) || N(0, 1)), summed over dimensions.

    mean, logvar: [B, D]. count: images in the effective batch, where this batch is a part of it.
    """
    check_same_shape(mean, logvar)
    mean, logvar = mean.float(), logvar.float()
    kl = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum()
    return kl / (mean.shape[0] if count is None else count)


def channel_sums(eps: Tensor) -> Tensor:
    """Return number, sum and sum of squares of each channel's cells: float64 [3, C].

    eps: [B, C, h, w]. The sums of the parts of a batch add up to those of the whole.
    """
    cells = eps.double().transpose(0, 1).flatten(1)  # [C, B*h*w]
    counts = torch.full_like(cells[:, 0], cells.shape[1])
    return torch.stack([counts, cells.sum(1), cells.square().sum(1)])


def channel_kl(eps: Tensor, totals: Tensor | None = None) -> Tensor:
    """Sum over channels of KL(N(m_c, s_c^2) || N(0, 1)), not divided by the batch size.

    m_c and s_c are the mean and the unbiased standard deviation of channel c over all cells of the
    batch; there must be two cells at least.

    eps: [B, C, h, w]. totals: `channel_sums` of the effective batch, where this batch is a part.
    """
    own = channel_sums(eps)
    whole = own if totals is None else totals.detach() + (own - own.detach())
    number, total, total_square = whole
    mean = total / number
    variance = (total_square - number * mean.square()) / (number - 1)
    variance = variance.clamp(min=MIN_VARIANCE)
    kl = -0.5 * (1 + variance.log() - mean.square() - variance).sum()
    other_parts = 1 - own[0, 0] / number[0]
    return (kl - other_parts * kl.detach()).float()
