"""Few-shot subsets of the training images: seeded, and each inside every larger one of its seed.

The images are put in an order that depends on the seed and the list's length only; a subset is the
first of them. `draw_rows(is_present, 8, seed=0)` is part of `draw_rows(is_present, 32, seed=0)`.
"""

import numpy as np

from common.errors import UserError


def check_subset(images: int | float | None, seed: int) -> None:
    """ValueError, with the key first, unless this can be asked for."""
    if isinstance(images, float) and not 0 < images < 1:
        raise ValueError(
            f"train_images: {images} is neither a whole number of images, as 8, nor a share "
            "between 0 and 1; leave it out (null) to train on all images"
        )
    if isinstance(images, int) and images < 1:
        raise ValueError(f"train_images: {images} is not at least 1")
    if seed < 0:
        raise ValueError(f"subset_seed: {seed} is not at least 0")


def subset_size(images: int | float | None, num_images: int) -> int:
    """How many of `num_images` are meant: so many, or (a float) the share of them; None: all."""
    if images is None:
        return num_images
    if isinstance(images, float):
        return max(1, round(images * num_images))
    if images > num_images:
        raise UserError(
            f"data.train_images: {images} images are asked for, the training split has only "
            f"{num_images}; give fewer, a share as 0.5, or null for all"
        )
    return images


def draw_rows(is_present: np.ndarray, images: int | float | None, seed: int) -> np.ndarray:
    """The rows of a list that the subset consists of, in their order.

    is_present: bool [N]; a lost file is replaced by the next one in the seeded order and changes no
    other choice.
    """
    size = subset_size(images, int(is_present.sum()))
    order = np.random.default_rng(seed).permutation(len(is_present))
    return np.sort(order[is_present[order]][:size])
