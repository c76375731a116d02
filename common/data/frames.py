"""From the files of a sample to arrays: decoded, cropped or resized, before anything random."""

from collections.abc import Sequence

import numpy as np

from common.data.data_config import DataConfig
from common.data.data_set import DataSet
from common.data.frame_cache import Frame, FrameCache
from common.data.samples import Sample
from common.errors import BadFileError, UserError
from common.images import transforms
from common.images.reading import read_orientation, read_pair, size_text

_NUM_TRIED = 20


class FrameReader:
    """Image uint8 [H, W, 3] and stored depth [H, W] of a sample, cached if there is a cache."""

    def __init__(
        self,
        data_set: DataSet,
        size: tuple[int, int],
        mask_border: bool = True,
        cache: FrameCache | None = None,
        upright: bool = True,
    ):
        """upright: images are turned as their EXIF orientation says, and not taken as stored."""
        self.data_set, self.size, self.upright = data_set, size, upright
        self.mask_border, self.cache = mask_border, cache

    def for_training(self, index: int, sample: Sample) -> Frame:
        """[H, W] is the size of training, or the `crop_size` that training windows are cut from."""
        if self.cache is None:
            return self._decode(sample)
        return self.cache.get(index, sample, self._decode)

    def for_evaluation(self, sample: Sample) -> Frame:
        """The image as the network reads it, and the depth map as filed."""
        image, depth = self._read(sample)
        if self.data_set.crop_size is not None:
            return self._crop(image, sample), depth
        return transforms.resize_image(image, *self.size), depth

    def _decode(self, sample: Sample) -> Frame:
        image, depth = self._read(sample)
        depth = self._drop_border(depth)
        if self.data_set.crop_size is not None:
            cropped = transforms.bottom_crop(depth, self.data_set.crop_size)
            return self._crop(image, sample), cropped
        image = transforms.resize_image(image, *self.size)
        return image, transforms.resize_depth(depth, *self.size)

    def _read(self, sample: Sample) -> Frame:
        rotated_bits = self.data_set.rotated_bits
        return read_pair(sample.image_file, sample.depth_file, rotated_bits, self.upright)

    def _drop_border(self, depth: np.ndarray) -> np.ndarray:
        rows, cols = self.data_set.border_rows, self.data_set.border_cols
        is_whole = depth.shape == self.data_set.border_size
        if not self.mask_border or not is_whole or not rows or not cols:
            return depth
        return transforms.mask_border(depth, rows, cols)

    def _crop(self, image: np.ndarray, sample: Sample) -> np.ndarray:
        size = self.data_set.crop_size
        assert size is not None
        try:
            return transforms.bottom_crop(image, size)
        except ValueError as error:
            raise BadFileError(
                f"{sample.image_file} is {size_text(image)}, too small for the "
                f"{size[0]}x{size[1]} crop of data.name={self.data_set.name}; is it of this data "
                "set?",
                sample.image_file,
            ) from error


def describe_turned(samples: Sequence[Sample], upright: bool) -> tuple[str, ...]:
    """A line for the log if some of the images are stored turned; a few of them are looked at."""
    tried = samples[:: max(len(samples) // _NUM_TRIED, 1)]
    turned = [sample.key for sample in tried if _is_turned(sample.image_file)]
    if not turned:
        return ()
    way = "turned upright" if upright else "taken as stored"
    return (
        f"EXIF says that {len(turned)} of {len(tried)} images looked at are to be turned, first "
        f"{turned[0]}: they are {way} (data.exif_orientation={str(upright).lower()}), and their "
        "depth must have been made so too",
    )


def _is_turned(file: str) -> bool:
    try:
        return read_orientation(file) > 1
    except UserError:
        return False  # told when the image is read


def frame_cache(data: DataConfig, samples: Sequence[Sample]) -> FrameCache | None:
    """The cache that `data.cache` asks for; nothing is on disk until it is used."""
    if data.cache is None:
        return None
    size = data.data_set.crop_size or data.size
    facts = (
        data.data_set.depth_scale,
        data.data_set.rotated_bits,
        data.data_set.border_rows,
        data.data_set.border_cols,
        data.data_set.border_size,
    )
    recipe = (facts, data.mask_border, *(() if data.exif_orientation else ("as stored",)))
    return FrameCache(data.cache, data.name, samples, size, repr(recipe))
