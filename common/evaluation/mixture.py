"""What two estimates of the same numbers are worth together: their best mixture, by scene."""

from collections.abc import Sequence

import numpy as np

from common.evaluation.comparison import Floats


def mix(a: Floats, b: Floats, scenes: Sequence[str]) -> tuple[Floats, Floats]:
    """Weights [N] of b that give the mixture the least variance in the other scenes; its errors.

    Errors are taken without their mean, which is the other scenes' too.
    """
    labels = np.array(scenes)
    weights, mixed = np.zeros_like(a), np.zeros_like(a)
    for scene in dict.fromkeys(scenes):
        inside = labels == scene
        rest = ~inside if (~inside).any() else inside
        centered = a - a[rest].mean(), b - b[rest].mean()
        step = centered[1] - centered[0]
        spread = np.square(step[rest]).sum()
        weight = -(centered[0] * step)[rest].sum() / spread if spread else 0.0
        weights[inside] = weight
        mixed[inside] = (centered[0] + weight * step)[inside]
    return weights, mixed
