"""Predictions fitted to their own ground truth before they are scored: shape judged, scale given.

    median       pred * median(gt) / median(pred)                   (Zhou et al. 2017)
    scale_shift  s pred + t with the least sum of (s pred + t - gt)^2   (as MiDaS, but of depth)

Both over the scored pixels whose prediction is finite, for each image on its own. Such numbers are
not metric: the ground truth has told the scale. So they never stand under the name of a metric, but
under one of their own, `abs_rel_median_aligned`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from common.evaluation.metrics import METRIC_NAMES, average_over_images, score_image

Alignment = Literal["median", "scale_shift"]
ABOUT: dict[Alignment, str] = {
    "median": "every prediction was multiplied by median(ground truth) / median(prediction) of its "
    "own image",
    "scale_shift": "to every prediction the scale and shift were applied that fit it best to the "
    "ground truth of its own image",
}


def column(name: str, alignment: Alignment) -> str:
    """What a number of aligned predictions is called: in JSON, CSV and tables, everywhere."""
    return f"{name}_{alignment}_aligned"


def fit_alignment(pred: np.ndarray, gt: np.ndarray, alignment: Alignment) -> tuple[float, float]:
    """Scale and shift of one image's scored pixels: [n] and [n], meters, n >= 1, all finite.

    ValueError where there is none: a median that is not above 0.
    """
    pred, gt = pred.astype(np.float64), gt.astype(np.float64)
    if alignment == "median":
        middle = float(np.median(pred))
        if not middle > 0:
            raise ValueError(f"the median of the prediction is {middle:g}")
        return float(np.median(gt)) / middle, 0.0
    centered = pred - pred.mean()
    spread = float(centered @ centered)
    scale = float(centered @ (gt - gt.mean())) / spread if spread > 0 else 0.0
    return scale, float(gt.mean()) - scale * float(pred.mean())


def aligned_scores(
    pred_depth: Tensor,
    gt_depth: Tensor,
    valid: Tensor,
    max_depth: float,
    alignments: Sequence[Alignment],
) -> dict[str, float]:
    """The nine metrics after each alignment, its scale and its shift, by their `column`.

    pred_depth, gt_depth, valid: [h, w] in the protocol's frame, as `score_image` takes them; no
    entries without a valid pixel. Afterwards predictions are kept within [1e-3, max_depth], as
    always. An image that cannot be aligned, its median being not above 0 or nothing finite, has no
    entries of that alignment.
    """
    if not alignments or not valid.any():
        return {}
    pred, gt = pred_depth[valid].cpu().numpy(), gt_depth[valid].cpu().numpy()
    is_finite = np.isfinite(pred)
    scores: dict[str, float] = {}
    for alignment in alignments:
        if not is_finite.any():
            continue
        try:
            scale, shift = fit_alignment(pred[is_finite], gt[is_finite], alignment)
        except ValueError:
            continue
        fitted = scale * pred_depth.double() + shift
        own = score_image(fitted, gt_depth, valid, max_depth)
        named = {**{name: own[name] for name in METRIC_NAMES}, "scale": scale}
        if alignment == "scale_shift":
            named["shift"] = shift
        scores |= {column(name, alignment): value for name, value in named.items()}
    return scores


def average_aligned(
    rows: Sequence[Mapping[str, Any]], alignments: Sequence[Alignment]
) -> dict[Alignment, dict[str, float]]:
    """The mean of each metric over the images that could be aligned, by its `column`.

    For each alignment; one that no image allows is not there.
    """
    means: dict[Alignment, dict[str, float]] = {}
    for alignment in alignments:
        own = aligned_rows(rows, alignment)
        named = [{name: row[column(name, alignment)] for name in METRIC_NAMES} for row in own]
        if named:
            found = average_over_images(named).items()
            means[alignment] = {column(name, alignment): mean for name, mean in found}
    return means


def aligned_rows(
    rows: Sequence[Mapping[str, Any]], alignment: Alignment
) -> list[Mapping[str, Any]]:
    """Those of images that could be aligned."""
    return [row for row in rows if column("scale", alignment) in row]
