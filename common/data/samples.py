"""The files that the pairs of a list stand for, checked on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from common.data.data_config import DataConfig
from common.data.list_prefix import foreign_prefix, strip_command
from common.data.pairs import PairList
from common.errors import UserError
from common.images.folder_index import FolderIndex
from common.packed import Packed, PackedStrings
from common.packed_mappings import PackedMapping

SplitName = Literal["train", "val", "test"]
# A few files lost in a download change no result; more means that something is wrong.
MIN_SHARE = 0.99


@dataclass(frozen=True)
class Sample:
    """One image of a data set: its key in lists, captions and features, and its files."""

    key: str
    image_file: str
    depth_file: str


@dataclass(frozen=True, eq=False, repr=False)
class Samples(Packed[Sample]):
    """The pairs with ground truth of one list, and where their paths start.

    images, depths: N paths as listed. depth_dirs: the depth map of row n is below
    depth_dirs[dir_of[n]], uint8 [N].
    """

    images: PackedStrings
    depths: PackedStrings
    image_dir: str
    depth_dirs: tuple[str, ...]
    dir_of: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def item(self, row: int) -> Sample:
        folder = self.depth_dirs[self.dir_of[row]]
        return self._sample(self.images.item(row), folder, self.depths.item(row))

    def __iter__(self) -> Iterator[Sample]:
        folders = map(self.depth_dirs.__getitem__, self.dir_of)
        return map(self._sample, self.images, folders, self.depths)

    def take(self, rows: np.ndarray) -> "Samples":
        images, depths = self.images.take(rows), self.depths.take(rows)
        return replace(self, images=images, depths=depths, dir_of=self.dir_of[rows])

    def _sample(self, image: str, depth_dir: str, depth: str) -> Sample:
        return Sample(image.lstrip("/"), _below(self.image_dir, image), _below(depth_dir, depth))

    @cached_property
    def keys(self) -> PackedStrings:
        """Of all images."""
        return self.images.without_start("/")

    def image_files(self) -> Iterator[str]:
        """Of all images."""
        return (_below(self.image_dir, image) for image in self.images)

    def depth_files(self) -> Iterator[str]:
        """Of all images."""
        folders = map(self.depth_dirs.__getitem__, self.dir_of)
        return map(_below, folders, self.depths)


class ImageFiles(PackedMapping[Path]):
    """Key -> image file."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(samples.keys)
        self.samples = samples

    def value_at(self, row: int) -> Path:
        return Path(self.samples[row].image_file)


def name_files(data: DataConfig, split: SplitName, pairs: PairList, files: FolderIndex) -> Samples:
    """The files that the pairs with ground truth stand for, whether they exist or not."""
    image_dir, depth_dirs = _folders(data, split)
    pairs = pairs.with_depth
    dir_of = np.zeros(len(pairs), np.uint8)
    named = Samples(pairs.images, pairs.depths, image_dir, tuple(depth_dirs), dir_of)
    for number in range(len(depth_dirs) - 1, -1, -1) if len(depth_dirs) > 1 else ():
        dir_of[files.which_exist((depth_dirs[number], pairs.depths))[0]] = number
    return named


def _folders(data: DataConfig, split: SplitName) -> tuple[str, list[str]]:
    """Where the images of a split start, and where its depth maps may."""
    below = data.test_dir if split == "test" else data.train_dir
    gt_dir = (data.gt_root or data.root) / below
    return str(data.root / below), [str(gt_dir / name) for name in data.data_set.depth_dirs]


def find_present(
    data: DataConfig,
    split: SplitName,
    named: Samples,
    files: FolderIndex,
    list_file: Path | None = None,
) -> tuple[np.ndarray, list[str]]:
    """bool [N], whether the files are there, and of every other sample its first missing file.

    A `UserError` if more than 1 % are missing, unless `data.allow_missing`, or if nothing is left.
    list_file: where they are listed; the message says how to correct it, where that would help.
    """
    has_image, has_depth = which_exist(named, files)
    is_present = has_image & has_depth
    num_found = int(is_present.sum())
    lost_images, lost_depths = named.take(~has_image), named.take(~has_depth)
    if not num_found or (num_found < MIN_SHARE * len(named) and not data.allow_missing):
        folder_key = "test_dir" if split == "test" else "train_dir"
        keys = f"data.{folder_key} and whether the download is complete"
        lost = lost_images, lost_depths
        if list_file is not None and (
            way := _without_prefix(data, split, len(named), lost, files, list_file)
        ):
            raise UserError(way)
        if num_found:
            keys += ", or set data.allow_missing=true to go on without them"
        images, depths = list(lost_images.image_files()), list(lost_depths.depth_files())
        _refuse_missing(images, len(named), "images", f"data.root, {keys}")
        _refuse_missing(depths, len(named), "depth maps", f"data.gt_root, {keys}")
    missing = [
        sample.depth_file if image_is_there else sample.image_file
        for sample, image_is_there in zip(
            named.take(~is_present), has_image[~is_present], strict=True
        )
    ]
    return is_present, missing


def which_exist(named: Samples, files: FolderIndex) -> tuple[np.ndarray, np.ndarray]:
    """bool [N] each: whether there is the image, and whether there is the depth map."""
    rows = [np.flatnonzero(named.dir_of == number) for number in range(len(named.depth_dirs))]
    parts = [(d, named.depths.view(r)) for d, r in zip(named.depth_dirs, rows, strict=True)]
    has_image, *found = files.which_exist((named.image_dir, named.images), *parts)
    has_depth = np.zeros(len(named), bool)
    has_depth[np.concatenate(rows)] = np.concatenate(found)
    return has_image, has_depth


def _below(folder_path: str, path: str) -> str:
    return path if path.startswith("/") else f"{folder_path}/{path}"


def _without_prefix(
    data: DataConfig,
    split: SplitName,
    num_named: int,
    lost: tuple[Samples, Samples],
    files: FolderIndex,
    list_file: Path,
) -> str | None:
    """How to correct a list whose paths start with folders of its author; None: that is not it.

    lost: those whose image is missing, and those whose depth map is.
    """
    image_dir, depth_dirs = _folders(data, split)
    images = list(lost[0].keys)
    depths = [file.removeprefix(f"{depth_dirs[0]}/") for file in lost[1].depth_files()]
    found = (foreign_prefix(images, [image_dir], files), foreign_prefix(depths, depth_dirs, files))
    prefixes = list(dict.fromkeys(filter(None, found)))
    if not prefixes:
        return None
    command, copy = strip_command(list_file, prefixes)
    key = "train" if split == "val" and data.val_list is None else split
    return (
        f"{max(len(images), len(depths))} of {num_named} pairs are missing, first "
        f"{(images + depths)[0]}: the paths of {list_file} start with {' and '.join(prefixes)}, "
        f"not as they do here; write a list without it and set data.{key}_list={copy}: {command}"
    )


def _refuse_missing(missing: list[str], num_named: int, what: str, keys: str) -> None:
    if missing:
        raise UserError(
            f"{len(missing)} of {num_named} {what} are missing, first {', '.join(missing[:3])}; "
            f"check {keys}"
        )
