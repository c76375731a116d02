"""A data set of images, depth maps and text features: its checks, its training and test items.

Everything a list names is checked when the data set is built, so that a missing file, feature or
caption ends a run in its first second and not in its third hour.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.data.frame_cache import Frame, FrameCache
from common.data.layout import Layout
from common.data.samples import (
    DataConfig,
    FoundSamples,
    Sample,
    Split,
    find_samples,
    layout_of,
)
from common.data.splits import count_lost_lines, read_split
from common.errors import UserError
from common.images import transforms
from common.images.reading import read_pair, size_text
from common.language.feature_files import FeatureStore


class DepthDataset(Dataset):
    """Items are dicts. `dataset[index]` is for evaluation, `dataset[index, position]` for training.

    image          float32 [3, H, W], ImageNet-normalized
    gt_depth       float32 [1, H, W], meters, 0 = no measurement; in evaluation [1, h, w], as filed
    text_feature   float32 [D];  image_feature float32 [E]: each only if its features were given
    caption, image_path: str;  position: int

    `position` counts the samples of the whole run; with `seed` it decides the augmentation, which
    therefore depends neither on the number of workers nor on the number of processes.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        layout: Layout,
        size: tuple[int, int],
        augmentation: transforms.Augmentation | None = None,
        text_features: FeatureStore | None = None,
        image_features: FeatureStore | None = None,
        captions: dict[str, str] | None = None,
        seed: int = 0,
        mask_border: bool = True,
        num_without_gt: int = 0,
        num_missing: int = 0,
        notes: Sequence[str] = (),
        cache: FrameCache | None = None,
    ) -> None:
        self.samples = samples
        self.layout = layout
        self.size = size
        self.augmentation = augmentation
        self.text_features = text_features
        self.image_features = image_features
        self.seed = seed
        self.mask_border = mask_border
        self.num_without_gt = num_without_gt
        self.num_missing = num_missing
        self.notes = tuple(notes)
        self.cache = cache
        keys = [sample.key for sample in samples]
        check_features(keys, text_features, "text", "text.features or text.captions")
        check_features(keys, image_features, "image", "the image features")
        check_captions(keys, captions)
        self.captions = {key: captions[key] for key in keys} if captions else {}

    def __len__(self) -> int:
        return len(self.samples)

    def open_cache(self) -> None:
        """Make the cache's file, if there is one, and add a note: a full disk shows at once."""
        if self.cache is not None:
            self.notes += (self.cache.describe(),)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        if isinstance(key, tuple):
            return self._training_item(*key)
        return self._evaluation_item(key)

    def _training_item(self, index: int, position: int) -> dict[str, Any]:
        sample = self.samples[index]
        image, depth = self.training_frame(index)
        rng = np.random.default_rng([self.seed, position])
        jitter = None
        if self.layout.kb_crop:
            image, depth = self._crop(image, depth, rng)
        if self.augmentation is not None:
            image, depth, jitter = transforms.augment(image, depth, self.augmentation, rng)
        return self._item(sample, transforms.normalize(image, jitter), depth, position)

    def training_frame(self, index: int) -> Frame:
        """Image uint8 [H, W, 3] and stored depth [H, W] before anything random; cached, if so set.

        [H, W] is the size of training, for KITTI the 352x1216 that training windows are cut from.
        """
        sample = self.samples[index]
        if self.cache is None:
            return self._decode(sample)
        return self.cache.get(index, sample, self._decode)

    def _decode(self, sample: Sample) -> Frame:
        image, depth = self._read(sample)
        depth = self._drop_border(depth)
        if self.layout.kb_crop:
            return _kb_crop(image, sample), transforms.kb_crop(depth)
        image = transforms.resize_image(image, *self.size)
        return image, transforms.resize_depth(depth, *self.size)

    def _evaluation_item(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        image, depth = self._read(sample)
        if self.layout.kb_crop:
            image = _kb_crop(image, sample)
        else:
            image = transforms.resize_image(image, *self.size)
        return self._item(sample, transforms.normalize(image), depth, index)

    def _read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        return read_pair(sample.image_file, sample.depth_file, self.layout.rotated_bits)

    def _drop_border(self, depth: np.ndarray) -> np.ndarray:
        rows, cols = self.layout.border_rows, self.layout.border_cols
        if not self.mask_border or depth.shape != self.layout.border_size or not rows or not cols:
            return depth
        return transforms.mask_border(depth, rows, cols)

    def _crop(
        self, image: np.ndarray, depth: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random window of the training size; the central one without augmentation."""
        free = depth.shape[0] - self.size[0], depth.shape[1] - self.size[1]
        top, left = free[0] // 2, free[1] // 2
        if self.augmentation is not None:
            top, left = transforms.draw_crop(depth.shape, *self.size, rng)
        image = transforms.crop(image, top, left, *self.size)
        return image, transforms.crop(depth, top, left, *self.size)

    def _item(
        self, sample: Sample, image: np.ndarray, depth: np.ndarray, position: int
    ) -> dict[str, Any]:
        scale = self.layout.depth_scale if depth.dtype == np.uint16 else 1.0
        item: dict[str, Any] = {
            "image": torch.from_numpy(image),
            "gt_depth": torch.from_numpy(transforms.to_meters(depth, scale)),
            "caption": self.captions.get(sample.key, ""),
            "image_path": sample.key,
            "position": position,
        }
        if self.text_features is not None:
            item["text_feature"] = self.text_features[sample.key]
        if self.image_features is not None:
            item["image_feature"] = self.image_features[sample.key]
        return item


def build_dataset(
    data: DataConfig,
    split: Split,
    text_features: FeatureStore | None,
    image_features: FeatureStore | None,
    captions: dict[str, str] | None,
    seed: int,
    augment: bool,
) -> DepthDataset:
    """The data set of one split, with every file, feature and caption checked to be there.

    Images without ground truth are left out and counted in `num_without_gt`; pairs that are not on
    disk, or that the test list of a named split has lost, in `num_missing`; `notes` are lines for
    the log that say so.
    """
    layout = layout_of(data)
    pairs, notes = read_split(data, split)
    found = find_samples(data, layout, split, pairs)
    augmentation = transforms.Augmentation(
        data.rotate_degrees, data.flip, data.jitter, layout.brightness
    )
    return DepthDataset(
        found.samples,
        layout,
        (data.height, data.width),
        augmentation if augment else None,
        text_features,
        image_features,
        captions,
        seed,
        data.mask_border,
        found.num_without_gt,
        len(found.missing) + count_lost_lines(data, split, pairs),
        notes + _describe_missing(split, found) + _describe_subset(data, split, found),
        _frame_cache(data, layout, found.samples) if split == "train" else None,
    )


def _frame_cache(data: DataConfig, layout: Layout, samples: Sequence[Sample]) -> FrameCache | None:
    if data.cache is None:
        return None
    size = (data.height, data.width)
    if layout.kb_crop:
        size = (transforms.KB_HEIGHT, transforms.KB_WIDTH)
    return FrameCache(data.cache, data.name, samples, size, repr((layout, data.mask_border)))


def image_files(data: DataConfig, split: Split) -> dict[str, Path]:
    """Key -> image file of a split, for programs that encode or caption the images."""
    found = find_samples(data, layout_of(data), split, read_split(data, split)[0])
    return {sample.key: Path(sample.image_file) for sample in found.samples}


def _describe_subset(data: DataConfig, split: Split, found: FoundSamples) -> list[str]:
    if split != "train" or data.train_images is None:
        return []
    return [
        f"train: {len(found.samples)} of {found.num_found} training images "
        f"(subset seed {data.subset_seed})"
    ]


def _describe_missing(split: Split, found: FoundSamples) -> list[str]:
    if not found.missing:
        return []
    expected = found.num_found + len(found.missing)
    first = ", ".join(found.missing[:3])
    return [f"{split}: {len(found.missing)} of {expected} pairs are missing, first {first}"]


def check_features(keys: list[str], store: FeatureStore | None, kind: str, where_from: str) -> None:
    """Raise a `UserError` unless every image has a feature; None: none are configured."""
    missing = store.missing(keys) if store is not None else []
    if missing:
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no {kind} feature, first "
            f"{', '.join(missing[:3])}; check that {where_from} cover this list"
        )


def check_captions(keys: Iterable[str], captions: dict[str, str] | None) -> None:
    """Raise a `UserError` unless every image has a caption; None: no captions are configured."""
    keys = list(keys)
    missing = [key for key in keys if captions is not None and key not in captions]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no caption, first "
            f"{', '.join(missing[:3])}; check that text.captions covers this list"
        )


def _kb_crop(image: np.ndarray, sample: Sample) -> np.ndarray:
    try:
        return transforms.kb_crop(image)
    except ValueError as error:
        raise UserError(
            f"{sample.image_file} is {size_text(image)}, too small for KITTI's "
            f"{transforms.KB_HEIGHT}x{transforms.KB_WIDTH} crop; is this a KITTI image?"
        ) from error


def collate_train(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Tensors stacked, numbers as one tensor, strings as lists."""
    return {name: _collate([item[name] for item in items]) for name in items[0]}


def collate_eval(items: list[dict[str, Any]]) -> dict[str, Any]:
    """As in training, but `gt_depth` is a list of [1, h, w]: sizes differ between images."""
    names = items[0].keys() - {"gt_depth"}
    batch = {name: _collate([item[name] for item in items]) for name in names}
    return {**batch, "gt_depth": [item["gt_depth"] for item in items]}


def _collate(values: list) -> Any:
    if isinstance(values[0], Tensor):
        return torch.stack(values)
    return torch.tensor(values) if isinstance(values[0], int) else values
