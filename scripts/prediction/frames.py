"""From a picture to what the network reads of it, and its depth back to the picture's size.

Both as evaluation does it (`FrameReader.for_evaluation`, `common/evaluation/protocols.py`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.data.data_set import DataSet
from common.evaluation.protocols import resize_to_gt
from common.images import transforms
from common.images.crops import bottom_window

_NEARLY = 1.1  # a frame of the crop's camera is at most so many times as high and as wide


@dataclass(frozen=True)
class SeenFrame:
    """A picture as the network reads it.

    image: uint8 [h, w, 3]. size: (H, W) of the picture. window: the rows and columns of it that the
    image is cut from; None: the image is all of it, resized. is_crop_set: the network was trained
    on crops, not on resized pictures.
    """

    image: np.ndarray
    size: tuple[int, int]
    window: tuple[slice, slice] | None = None
    is_crop_set: bool = False

    @property
    def scale(self) -> float:
        """Pixels of the image for each of the picture's, horizontally."""
        return 1.0 if self.window else self.image.shape[1] / self.size[1]

    def to_picture(self, depth: Tensor) -> Tensor:
        """Depth [h, w] of the image -> [H, W] of the picture; nan where it was not seen."""
        if self.window is None:
            return resize_to_gt(depth, depth.new_empty(self.size), "")[0]
        whole = torch.full(self.size, torch.nan)
        whole[self.window] = depth
        return whole


def make_frame(picture: np.ndarray, data_set: DataSet, size: tuple[int, int]) -> SeenFrame:
    """What the network reads of a picture [H, W, 3]; size: (height, width) of its data.

    Pictures are resized, whatever their shape. Where training cuts frames (KITTI), pictures of
    their shape are cut, too, at the bottom; any other is resized to the cut's size.
    """
    own = picture.shape[0], picture.shape[1]
    crop = data_set.crop_size
    if crop is None:
        return SeenFrame(transforms.resize_image(picture, *size), own)
    window = bottom_window(*own, crop)
    is_near = all(whole <= _NEARLY * part for whole, part in zip(own, crop, strict=True))
    if window is not None and is_near:
        return SeenFrame(np.ascontiguousarray(picture[window]), own, window, is_crop_set=True)
    return SeenFrame(transforms.resize_image(picture, *crop), own, is_crop_set=True)


def describe_frame(frame: SeenFrame) -> str | None:
    """A note where the network sees another picture than the user."""
    height, width = frame.image.shape[:2]
    if frame.window is not None:
        return (
            f"the network sees the lower {height}x{width} of the picture; above there is no depth"
        )
    if frame.is_crop_set:
        return (
            f"not of the training frames' shape: the whole picture is resized to {height}x{width}"
        )
    squeeze = (frame.size[1] / frame.size[0]) / (width / height)
    if max(squeeze, 1 / squeeze) > 1.5:
        return f"of another shape than {height}x{width}, to which the picture is resized"
    return None
