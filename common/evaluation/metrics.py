"""The nine depth metrics, as pure functions of one image and its mask of scored pixels.

After Eigen et al. 2014; means are over the scored pixels, and e = ln pred - ln gt:

    abs_rel   mean |pred - gt| / gt          rmse_log  sqrt mean e^2
    sq_rel    mean (pred - gt)^2 / gt        log10     mean |log10 pred - log10 gt|
    rmse      sqrt mean (pred - gt)^2        silog     100 sqrt(mean e^2 - (mean e)^2)
    d1 d2 d3  share of pixels with max(pred / gt, gt / pred) < 1.25^k
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MIN_DEPTH = 1e-3  # meters; predictions below are clamped, ground truth at or below is not scored
CHUNK_PIXELS = 16384  # scored at a time on a CPU: small temporaries stay in its cache
METRIC_NAMES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "d1", "d2", "d3", "silog")


def sanitize(pred_depth: Tensor, max_depth: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the prediction within [1e-3, max_depth] meters, and how many values had to change.

    +inf becomes `max_depth`; nan and -inf become 1e-3. The counts, 0-d tensors on the prediction's
    device, are `num_clamped`, finite values outside the range, and `num_nonfinite`.
    """
    clean = pred_depth.nan_to_num(nan=MIN_DEPTH, posinf=max_depth, neginf=MIN_DEPTH)
    clean = clean.clamp(MIN_DEPTH, max_depth)
    num_kept, num_finite = (clean == pred_depth).sum(), (pred_depth.abs() < math.inf).sum()
    return clean, num_finite - num_kept, clean.numel() - num_finite


def compute_metrics(pred_depth: Tensor, gt_depth: Tensor, valid: Tensor) -> dict[str, float]:
    """Return the nine metrics of one image, each a mean over its valid pixels, in float64.

    pred_depth, gt_depth: any one shape, meters; pred positive and finite where `valid` (see
    `sanitize`). valid: bool, the same shape, at least one True.
    """
    _check_same_shape(pred_depth, gt_depth, valid)
    pred, gt = pred_depth.masked_select(valid), gt_depth.masked_select(valid)
    if len(gt) == 0:
        raise ValueError("an image with no valid pixel has no metrics")
    scores = _scores_from_sums(_pixel_sums(pred.double(), gt.double()).tolist(), len(gt))
    return {name: scores[name] for name in METRIC_NAMES}


def score_image(
    pred_depth: Tensor,
    gt_depth: Tensor,
    valid: Tensor,
    max_depth: float,
    with_medians: bool = False,
) -> dict[str, float | int]:
    """Sanitize one prediction and return its metrics, and what their summary needs.

    These are the nine metrics, `log_ratio` (the mean of e), `num_pixels`, and among these
    `num_clamped` and `num_nonfinite`; without a valid pixel only the three counts, all 0.
    with_medians: also `pred_median` and `gt_median` over the scored pixels, meters. Arguments as
    for `compute_metrics`, except that `pred_depth` may hold any value.
    """
    _check_same_shape(pred_depth, gt_depth, valid)
    where = positions_of(valid)
    pred, gt = pred_depth.take(where), gt_depth.take(where)
    num_pixels = len(where)
    size = CHUNK_PIXELS if gt.device.type == "cpu" else max(num_pixels, 1)
    sums = [
        _chunk_sums(*chunk, max_depth)
        for chunk in zip(pred.split(size), gt.split(size), strict=True)
    ]
    *totals, num_clamped, num_nonfinite = torch.stack(sums).sum(0).tolist()
    scores = _scores_from_sums(totals, num_pixels) if num_pixels else {}
    if with_medians and num_pixels:
        medians = {"pred_median": median(sanitize(pred, max_depth)[0]), "gt_median": median(gt)}
        scores = {**scores, **medians}
    return {
        **scores,
        "num_pixels": num_pixels,
        "num_clamped": int(num_clamped),
        "num_nonfinite": int(num_nonfinite),
    }


def median(values: Tensor) -> float:
    """The lower median of [n] numbers, n >= 1; on a CPU numpy is far faster at it."""
    if values.device.type != "cpu":
        return values.median().item()
    middle = (len(values) - 1) // 2
    return float(np.partition(values.numpy(), middle)[middle])


def positions_of(valid: Tensor) -> Tensor:
    """Where the flattened mask is True, int64 [n]; on a CPU numpy is far faster at it."""
    if valid.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(valid.numpy()))
    return valid.flatten().nonzero()[:, 0]


def _chunk_sums(pred: Tensor, gt: Tensor, max_depth: float) -> Tensor:
    """`_pixel_sums` of the sanitized prediction, and its two counts: [11]."""
    pred, *counts = sanitize(pred, max_depth)
    return torch.cat([_pixel_sums(pred.double(), gt.double()), torch.stack(counts)])


def _pixel_sums(pred: Tensor, gt: Tensor) -> Tensor:
    """Sum over pixels what the metrics are means of: [9], read by `_scores_from_sums`."""
    error, ratio = pred - gt, pred / gt
    relative, log_ratio = error / gt, ratio.log()
    worst_ratio = torch.maximum(ratio, gt / pred)
    sums = (
        relative.abs().sum(),
        relative.dot(error),
        error.dot(error),
        log_ratio.dot(log_ratio),
        log_ratio.abs().sum(),
        log_ratio.sum(),
        *((worst_ratio < 1.25**k).sum() for k in (1, 2, 3)),
    )
    return torch.stack(sums)


def _scores_from_sums(sums: Sequence[float], num_pixels: float) -> dict[str, float]:
    abs_rel, sq_rel, square, log_square, log_abs, log_ratio, d1, d2, d3 = (
        value / num_pixels for value in sums
    )
    return {
        "abs_rel": abs_rel,
        "sq_rel": sq_rel,
        "rmse": math.sqrt(square),
        "rmse_log": math.sqrt(log_square),
        "log10": log_abs / math.log(10),
        "d1": d1,
        "d2": d2,
        "d3": d3,
        "silog": _silog(log_square, log_ratio),
        "log_ratio": log_ratio,
    }


def average_over_images(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of each metric over images, every image counting the same."""
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in METRIC_NAMES}


def average_over_pixels(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return each metric as if the scored pixels of all images were one image.

    rows: per image the nine metrics, `log_ratio` and `num_pixels`.
    """
    num_pixels = sum(row["num_pixels"] for row in rows)

    def mean(name: str, power: int = 1) -> float:
        return math.fsum(row[name] ** power * row["num_pixels"] for row in rows) / num_pixels

    log_square = mean("rmse_log", power=2)
    return {
        **{name: mean(name) for name in METRIC_NAMES},
        "rmse": math.sqrt(mean("rmse", power=2)),
        "rmse_log": math.sqrt(log_square),
        "silog": _silog(log_square, mean("log_ratio")),
    }


def _silog(log_square: float, log_mean: float) -> float:
    return 100 * math.sqrt(max(0.0, log_square - log_mean**2))


def _check_same_shape(pred_depth: Tensor, gt_depth: Tensor, valid: Tensor) -> None:
    if not pred_depth.shape == gt_depth.shape == valid.shape:
        raise ValueError(
            f"prediction {tuple(pred_depth.shape)}, ground truth {tuple(gt_depth.shape)} and mask "
            f"{tuple(valid.shape)} must have one shape"
        )
