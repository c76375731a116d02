"""Made-up batches for networks, losses and scores."""

from typing import Any

import torch
from torch import Tensor

from common.data.batch import Batch


def make_batch(
    image: Tensor,
    gt_depth: Any = None,
    text_feature: Tensor | None = None,
    image_feature: Tensor | None = None,
    first: int = 0,
) -> Batch:
    """A batch of these; its positions, and the numbers in its keys, start at `first`."""
    positions = torch.arange(first, first + len(image))
    keys = [f"scene/rgb_{position:05d}.jpg" for position in positions]
    captions = [f"The room of image {position}." for position in positions]
    return Batch(image, gt_depth, text_feature, image_feature, captions, keys, positions)
