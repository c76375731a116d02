"""Before the first step: how much of the training's ground truth will be trained on?"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from common.data.dataset import DepthDataset
from common.data.ground_truth import GroundTruthUse, count_use, total_use
from common.errors import UserError

NUM_IMAGES = 32  # spread over the training images: a second of reading


def describe_training_use(
    dataset: DepthDataset, trained_on: Callable[[Tensor, float], Tensor], max_depth: float
) -> str:
    """One line for the log. A `UserError` if nothing of what is measured is trained on.

    trained_on: (ground truth, max_depth, both meters) -> the pixels of the loss, bool.
    """
    use, num_images = training_use(dataset, trained_on, max_depth)
    if use.num_used == 0:
        raise UserError(_nothing_to_learn(use, num_images, max_depth))
    return f"{use.describe('trained on', max_depth)} (of {num_images} training images)"


def training_use(
    dataset: DepthDataset, trained_on: Callable[[Tensor, float], Tensor], max_depth: float
) -> tuple[GroundTruthUse, int]:
    """Of some training images spread over the data set, and how many these are."""
    indices = np.unique(np.linspace(0, len(dataset) - 1, NUM_IMAGES).round().astype(int))
    maps = (dataset.to_meters(dataset.training_frame(int(i))[1]) for i in indices)
    depths = (torch.from_numpy(depth) for depth in maps)
    return total_use(count_use(d, trained_on(d, max_depth)) for d in depths), len(indices)


def _nothing_to_learn(use: GroundTruthUse, num_images: int, max_depth: float) -> str:
    if use.num_measured == 0:
        return (
            f"none of {num_images} training images has a measured pixel; "
            "python scripts/doctor.py looks at the depth maps"
        )
    if use.farthest < max_depth:
        return (
            f"all measured depth of {num_images} training images is too near to train on, "
            f"{use.farthest:.3g} m at most; correct data.depth_scale (stored units of a meter)"
        )
    return (
        f"all measured depth of {num_images} training images lies beyond data.max_depth="
        f"{max_depth:g} m, up to {use.farthest:.3g} m; raise data.max_depth, or correct "
        "data.depth_scale (stored units of a meter)"
    )
