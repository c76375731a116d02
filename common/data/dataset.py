"""A data set of images, depth maps and words: its checks, its training and test items.

Everything a list names is checked when the data set is built, so that a missing file, feature or
caption ends a run in its first second and not in its third hour.
"""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from common.data.batch import Item
from common.data.data_config import DataConfig
from common.data.frame_cache import Frame
from common.data.frames import FrameReader, describe_turned, frame_cache
from common.data.samples import Sample
from common.data.splits import Split
from common.images import transforms
from common.language.language import NO_LANGUAGE, Language

_WORDS, _DROPPED = 1, 2  # the random streams of the words, apart from that of the augmentation


class DepthDataset(Dataset):
    """`dataset[index]` is an item for evaluation, `dataset[index, position]` one for training.

    `position` counts the samples of the whole run; with `seed` it decides the augmentation, and
    which of an image's captions it has, if any. Both therefore depend neither on the number of
    workers nor on the number of processes.

    word_dropout: share of the training items that have no words. max_bad_share: of the
    images that may be unreadable, for which others stand in in training (`bad_images.py`); None: an
    unreadable one is an error.
    """

    def __init__(
        self,
        split: Split,
        reader: FrameReader,
        language: Language = NO_LANGUAGE,
        augmentation: transforms.Augmentation | None = None,
        seed: int = 0,
        word_dropout: float = 0.0,
        max_bad_share: float | None = None,
    ) -> None:
        self.split, self.reader, self.language = split, reader, language
        self.max_bad_share = max_bad_share
        self.augmentation, self.seed, self.word_dropout = augmentation, seed, word_dropout
        self.samples, self.data_set, self.cache = split.samples, reader.data_set, reader.cache
        self.notes = (*split.notes, *language.notes)
        language.check(split.samples.keys)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def skips_bad(self) -> bool:
        """Whether batches of training have another image where one cannot be read."""
        return self.max_bad_share is not None

    @property
    def largest_size(self) -> tuple[int, int]:
        """Height and width of the largest images that a network is given."""
        return self.data_set.crop_size or self.reader.size

    @property
    def item_bytes(self) -> int:
        """Of image and depth of a training item; words and features are small beside them."""
        height, width = self.reader.size
        return (3 + 1) * height * width * torch.float32.itemsize

    @property
    def words(self) -> dict[str, Any]:
        """What tells the words of these images from others: see `Language.sample`.

        Of what is only scored the first caption of each: the config may change to score all.
        """
        is_trained = self.split.name == "train"
        language = self.language if is_trained else self.language.only_firsts()
        return language.sample(self.samples.keys)

    def open_cache(self) -> None:
        """Make the cache's file, if there is one, and add a note: a full disk shows at once."""
        if self.cache is not None:
            self.notes += (self.cache.describe(),)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        if isinstance(key, tuple):
            return self._training_item(*key)
        image, depth = self.reader.for_evaluation(self.samples[key])
        sample = self.samples[key]
        words = self.language.all_words_of(sample.key)
        return self._item(sample, transforms.normalize(image), depth, key, words)

    def _training_item(self, index: int, position: int) -> Item:
        sample = self.samples[index]
        image, depth = self.training_frame(index)
        rng = np.random.default_rng([self.seed, position])
        jitter = None
        if self.data_set.crop_size is not None:
            image, depth = self._crop(image, depth, rng)
        if self.augmentation is not None:
            image, depth, jitter = transforms.augment(image, depth, self.augmentation, rng)
        words = self.draw_words(sample.key, position)
        return self._item(sample, transforms.normalize(image, jitter), depth, position, words)

    def draw_words(self, key: str, position: int) -> dict[str, Any]:
        """An image's words as sample `position` of the run: of one of its captions, or none."""
        if self.word_dropout:
            rng = np.random.default_rng([self.seed, position, _DROPPED])
            if rng.random() < self.word_dropout:
                return self.language.no_words_of(key)
        return self.language.words_of(key, self.draw_caption(key, position))

    def draw_caption(self, key: str, position: int) -> int:
        """Which of its captions an image has as sample `position` of the run, counted from 0."""
        count = self.language.count_of(key)
        if count == 1:
            return 0
        return int(np.random.default_rng([self.seed, position, _WORDS]).integers(count))

    def training_frame(self, index: int) -> Frame:
        """Image uint8 [H, W, 3] and stored depth [H, W] before anything random."""
        return self.reader.for_training(index, self.samples[index])

    def to_meters(self, depth: np.ndarray) -> np.ndarray:
        """A stored map [H, W], of 16 bits or floats, in meters: float32 [1, H, W]."""
        is_float = depth.dtype != np.uint16
        scale = self.data_set.float_depth_scale if is_float else self.data_set.depth_scale
        return transforms.to_meters(depth, scale)

    def _crop(
        self, image: np.ndarray, depth: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random window of the training size; the central one without augmentation."""
        size = self.reader.size
        free = depth.shape[0] - size[0], depth.shape[1] - size[1]
        top, left = free[0] // 2, free[1] // 2
        if self.augmentation is not None:
            top, left = transforms.draw_crop(depth.shape, *size, rng)
        image = transforms.crop(image, top, left, *size)
        return image, transforms.crop(depth, top, left, *size)

    def _item(
        self,
        sample: Sample,
        image: np.ndarray,
        depth: np.ndarray,
        position: int,
        words: dict[str, Any],
    ) -> Item:
        return Item(
            image=torch.from_numpy(image),
            gt_depth=torch.from_numpy(self.to_meters(depth)),
            key=sample.key,
            position=position,
            **words,
        )


def build_dataset(
    data: DataConfig,
    split: Split,
    language: Language = NO_LANGUAGE,
    seed: int = 0,
    augment: bool = False,
    word_dropout: float = 0.0,
) -> DepthDataset:
    """The data set of one split, with every feature and caption checked to be there.

    Only training images are cached: whatever is scored is read from its file.
    """
    data_set = data.data_set
    cache = frame_cache(data, split.samples) if split.name == "train" else None
    augmentation = transforms.Augmentation(
        data.rotate_degrees, data.zoom, data.flip, data.jitter, data_set.brightness
    )
    reader = FrameReader(data_set, data.size, data.mask_border, cache, data.exif_orientation)
    varied = augmentation if augment else None
    bad_share = data.max_bad_share if data.on_error == "skip" else None
    dataset = DepthDataset(split, reader, language, varied, seed, word_dropout, bad_share)
    dataset.notes += describe_turned(split.samples, data.exif_orientation)
    return dataset
