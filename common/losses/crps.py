"""Proper scores of drawn scenes: the loss that makes the spread of stage 1 mean something.

The continuous ranked probability score of a distribution and the truth y (Gneiting & Raftery, JASA
2007, equation 21), and its unbiased estimate from K draws x_1..x_K:

    CRPS = E|X - y| - E|X - X'| / 2  ~  mean_k |x_k - y| - sum_{k<l} |x_k - x_l| / (K (K - 1))

Its expectation is least for the distribution that y really has. The first term alone, which is the
published L1 of one draw, is least for a single value: it teaches to spread nothing.

Two numbers are scored, as logarithms so that a large room counts as a small one: the depth of every
pixel, and the scale of a scene, its median over the measured pixels. Scores of pixels do not see
how they vary together, and the scale is what words leave open.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from common.losses.depth import edge_aware_smoothness, smoothness_counts

MIN_DEPTH = 1e-3  # meters; nothing nearer is measured, and a logarithm stays finite


@dataclass(frozen=True)
class CRPSTerms:
    """This part's share of each term, unweighted.

    pixels, scale: CRPS of the draws. mean_scene: mean |ln pred - ln gt| of the mean scene.
    """

    pixels: Tensor
    scale: Tensor
    mean_scene: Tensor
    smoothness: Tensor


def crps_of_draws(draws: Tensor, truth: Tensor) -> Tensor:
    """Of each number, not reduced: draws [K, ...], K >= 2, and truth [...] -> [...]."""
    if len(draws) < 2 or draws.shape[1:] != truth.shape:
        raise ValueError(
            f"draws must be [K, ...], K >= 2, for truth {tuple(truth.shape)}, not "
            f"{tuple(draws.shape)}"
        )
    pairs = torch.combinations(torch.arange(len(draws), device=draws.device))  # [K (K - 1) / 2, 2]
    between = (draws[pairs[:, 0]] - draws[pairs[:, 1]]).abs().mean(0)
    return (draws - truth).abs().mean(0) - between / 2


def crps_terms(
    draws: Tensor,
    mean_scene: Tensor,
    gt_depth: Tensor,
    image: Tensor,
    valid: Tensor,
    totals: Mapping[str, Tensor],
) -> CRPSTerms:
    """CRPS of draws, error of the mean scene, and its smoothness where nothing is measured.

    Each a mean over the valid pixels, or over the images that have some. draws: [K, B, 1, H, W] and
    mean_scene, gt_depth: [B, 1, H, W], meters. image: [B, 3, H, W]. valid: bool [B, 1, H, W].
    totals: `crps_totals` of the effective batch, where this batch is a part of it; empty: this
    batch is the whole.
    """
    totals = totals or crps_totals(valid)
    log_gt = _log(torch.where(valid, gt_depth, 1.0))
    log_draws, log_mean = _log(draws), _log(mean_scene)
    of_pixels = torch.where(valid, crps_of_draws(log_draws, log_gt), 0.0)
    error = torch.where(valid, (log_mean - log_gt).abs(), 0.0)
    has_valid = valid.flatten(1).any(1)  # [B]
    scales = log_scale(log_draws, valid.expand(draws.shape)), log_scale(log_gt, valid)
    of_scale = torch.where(has_valid, crps_of_draws(*scales), 0.0)
    return CRPSTerms(
        of_pixels.sum() / totals["valid"].clamp(min=1),
        of_scale.sum() / totals["images"].clamp(min=1),
        error.sum() / totals["valid"].clamp(min=1),
        edge_aware_smoothness(mean_scene, image, ~valid, totals["smooth_x"], totals["smooth_y"]),
    )


def crps_totals(valid: Tensor) -> dict[str, Tensor]:
    """This part's counts, to be added over the whole batch: the normalizers of `crps_terms`."""
    count_x, count_y = smoothness_counts(~valid)
    return {
        "valid": valid.sum(),
        "images": valid.flatten(1).any(1).sum(),
        "smooth_x": count_x,
        "smooth_y": count_y,
    }


def log_scale(log_depth: Tensor, valid: Tensor) -> Tensor:
    """The median of log depth over the valid pixels: [..., 1, H, W] -> [...]; 0: there are none."""
    numbers = torch.where(valid, log_depth, torch.nan).flatten(-3)
    return numbers.nanmedian(dim=-1).values.nan_to_num(0.0)


def _log(depth: Tensor) -> Tensor:
    return depth.float().clamp(min=MIN_DEPTH).log()
