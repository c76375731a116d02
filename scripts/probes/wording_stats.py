"""Numbers of how far answers move with the words; numpy, pure.

e = ln pred - ln gt, averaged over an image's scored pixels, is the error of its log scale.
"""

import math
from collections.abc import Sequence

import numpy as np


def describe_spread(
    medians: Sequence[np.ndarray], log_errors: Sequence[np.ndarray]
) -> dict[str, float | int]:
    """How far apart the answers about one picture are, over N pictures with K_i >= 2 sentences.

    medians: predicted, meters, [K_i] each. log_errors: e, [K_i] each. Gives `mean_ratio` and
    `largest_ratio` of the largest to the smallest median of a picture, and the variance of e in two
    parts, every picture counting the same: `std_wording` within a picture, `std_picture` between
    the means of pictures, `explained_share` the first's share of the variance.
    """
    if not medians:
        raise ValueError("no picture with two sentences")
    ratios = np.array([values.max() / values.min() for values in medians])
    within = float(np.mean([np.var(errors) for errors in log_errors]))
    between = float(np.var([np.mean(errors) for errors in log_errors]))
    total = within + between
    return {
        "num_images": len(ratios),
        "num_captions": int(sum(map(len, medians))),
        "mean_ratio": float(ratios.mean()),
        "largest_ratio": float(ratios.max()),
        "std_wording": math.sqrt(within),
        "std_picture": math.sqrt(between),
        "explained_share": within / total if total > 0 else 0.0,
    }


def scale_move(before: float, after: float) -> float:
    """|ln after - ln before| of two median depths: 0 where the scale stays, 0.69 where it doubles.

    Both in meters.
    """
    return abs(math.log(after / before))


def depth_move(before: np.ndarray, after: np.ndarray) -> float:
    """Mean |ln after - ln before| over the pixels of two depth maps of one shape, meters."""
    return float(np.abs(np.log(after) - np.log(before)).mean())


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive numbers."""
    return float(np.exp(np.log(values).mean()))
