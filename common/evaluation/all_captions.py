"""Evaluation with every caption of an image (`eval.captions=all`): one prediction for each of them.

What is scored is their geometric mean, pixel by pixel: the mean of log depth, because what words
change is the scale, and a scale is a factor. How far apart they are is `caption_spread`, the ratio
of the largest to the smallest of their median depths (of all pixels of a prediction).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from common.data.batch import Batch
from common.evaluation.metrics import MIN_DEPTH, sanitize


def average_captions(
    predict: Callable[[Batch], Tensor], batch: Batch, max_depth: float
) -> tuple[Tensor, list[list[float]]]:
    """The geometric mean over the captions of each image, and the median depth with each of them.

    predict: batch -> depth [B, 1, H, W], meters. batch: of an evaluation with all captions. Returns
    depth [B, 1, H, W] and for each image as many medians, within [1e-3, max_depth] meters, as it
    has captions. An image with one caption keeps its prediction.
    """
    first = predict(batch)
    medians = [[median] for median in _medians(first, max_depth)]
    total = first.clamp(min=MIN_DEPTH).log()  # NaN stays, and is counted by the metrics
    for rows, reworded in batch.rewordings():
        pred_depth = predict(reworded)
        total[rows] += pred_depth.clamp(min=MIN_DEPTH).log()
        for row, median in zip(rows, _medians(pred_depth, max_depth), strict=True):
            medians[row].append(median)
    counts = torch.tensor(list(map(len, medians)), device=first.device)[:, None, None, None]
    return torch.where(counts == 1, first, (total / counts).exp()), medians


def caption_spread(medians: Sequence[float]) -> float:
    """Largest to smallest median depth of one image, at least 1."""
    return max(medians) / min(medians)


def _medians(pred_depth: Tensor, max_depth: float) -> list[float]:
    """The lower median of each image of [B, 1, H, W], as far as it would be scored."""
    clean, _, _ = sanitize(pred_depth, max_depth)
    return clean.flatten(1).median(dim=1).values.tolist()
