"""Training losses, as pure functions that take an explicit mask and return one number.

All compute in float32 or better (also under autocast), give a differentiable zero where the mask
is empty, and let neither gradients nor non-finite values through from pixels outside the mask.

Parts of a batch: the effective batch of one update may be split over processes and micro-batches.
A loss that normalizes over the whole batch takes that normalizer as an optional argument. Given the
effective batch's total, it returns this part's share, and the shares of all parts add up to the
loss of the whole, in value and in gradient. Without it, the batch at hand is the whole.
`silog_loss` is a sum over images, so its parts add up by themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (ground truth, max_depth) in meters -> the pixels that a loss is taken on, bool.
ValidMask = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class DepthLossConfig:
    """SILog's share of the squared mean (lambda)."""

    silog_lambda: float = 0.85  # 0: errors of scale count in full; 1: not at all

    def __post_init__(self) -> None:
        if not 0 <= self.silog_lambda <= 1:
            raise ValueError(f"silog_lambda: must be in [0, 1], not {self.silog_lambda}")


def silog_valid(gt_depth: Tensor, max_depth: float) -> Tensor:
    """Return the pixels SILog is taken on, 0.1 m < gt < max_depth, as a bool mask."""
    return (gt_depth > 0.1) & (gt_depth < max_depth)


def silog_loss(pred_depth: Tensor, gt_depth: Tensor, valid: Tensor, lam: float = 0.85) -> Tensor:
    """Sum over images the scale-invariant log error, each weighted by its share of valid pixels.

    Per image, with e = ln pred - ln gt (0 where |e| <= 0.001) and n valid pixels (those included):
    `l = sum(e^2) / n - lam (sum(e) / n)^2`, and the loss is the sum of `l n / (H W)`; no square
    root, no factor 10. From Eigen et al. 2014, in the form VA-DepthNet and WorDepth train with.

    pred_depth, gt_depth: [B, 1, H, W], meters, pred > 0. valid: bool, see `silog_valid`.
    """
    check_same_shape(pred_depth, gt_depth, valid)
    pred = torch.where(valid, pred_depth.float(), 1.0)
    gt = torch.where(valid, gt_depth.float(), 1.0)
    error = pred.log() - gt.log()
    error = error.masked_fill(error.abs() <= 1e-3, 0.0)  # this way round, a nan stays visible
    num_valid = valid.flatten(1).sum(1) + 1e-6  # [B]
    mean_square = error.square().flatten(1).sum(1) / num_valid
    mean = error.flatten(1).sum(1) / num_valid
    num_pixels = valid[0].numel()
    return ((mean_square - lam * mean.square()) * num_valid / num_pixels).sum()


def masked_l1(
    pred_depth: Tensor, gt_depth: Tensor, valid: Tensor, count: Tensor | None = None
) -> Tensor:
    """Mean absolute error in meters over the valid pixels of the whole batch.

    pred_depth, gt_depth: [B, 1, H, W], meters. valid: bool, the same shape. count: number of valid
    pixels in the effective batch, where this batch is a part of it.
    """
    check_same_shape(pred_depth, gt_depth, valid)
    error = torch.where(valid, pred_depth.float() - gt_depth.float(), 0.0)
    return error.abs().sum() / _at_least_one(valid.sum() if count is None else count)


def smoothness_counts(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Count the masked pixels that have a right neighbor, and those that have a lower one."""
    return mask[..., :-1].sum(), mask[..., :-1, :].sum()


def edge_aware_smoothness(
    pred_depth: Tensor,
    image: Tensor,
    mask: Tensor,
    count_x: Tensor | None = None,
    count_y: Tensor | None = None,
) -> Tensor:
    """Mean |step| to the right plus mean |step| down, over the masked pixels of the whole batch.

    A step is the difference between a masked pixel and its neighbor, in meters, times
    `exp(-mean_c |dI|)`, so that depth may jump where the image does. The mask holds the pixels
    without ground truth; the mask value of the left or upper pixel decides.

    pred_depth: [B, 1, H, W]. image: [B, 3, H, W], normalized. mask: bool [B, 1, H, W], True = use.
    count_x, count_y: `smoothness_counts` of the effective batch, where this batch is a part of it.
    """
    check_same_shape(pred_depth, mask)
    if image.shape[0] != mask.shape[0] or image.shape[-2:] != mask.shape[-2:]:
        raise ValueError(f"image {tuple(image.shape)} does not match mask {tuple(mask.shape)}")
    own_x, own_y = smoothness_counts(mask)
    pred, image = pred_depth.float(), image.float()
    sum_x = _weighted_steps(pred, image, mask, dim=-1)
    sum_y = _weighted_steps(pred, image, mask, dim=-2)
    mean_x = sum_x / _at_least_one(own_x if count_x is None else count_x)
    mean_y = sum_y / _at_least_one(own_y if count_y is None else count_y)
    return mean_x + mean_y


def _weighted_steps(pred: Tensor, image: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Sum |forward difference| * exp(-mean_c |dI|) along `dim` over the masked pixels."""
    weight = (-image.diff(dim=dim).abs().mean(1, keepdim=True)).exp()
    mask = mask.narrow(dim, 0, mask.shape[dim] - 1)
    step = torch.where(mask, pred.diff(dim=dim), 0.0)
    return (step.abs() * weight).sum()


def _at_least_one(count: Tensor) -> Tensor:
    return count.clamp(min=1)


def check_same_shape(*tensors: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1:
        raise ValueError(f"tensors must have one shape, got {', '.join(map(str, shapes))}")
