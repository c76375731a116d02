"""The files that the lines of a list stand for, checked on disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.data.data_config import DataConfig
from common.data.list_prefix import foreign_prefix, strip_command
from common.data.lists import Pair
from common.errors import UserError
from common.images.reading import FolderIndex

SplitName = Literal["train", "val", "test"]
# A few files lost in a download change no result; more means that something is wrong.
MIN_SHARE = 0.99


@dataclass(frozen=True)
class Sample:
    """One image of a data set: its key in lists, captions and features, and its files."""

    key: str
    image_file: str
    depth_file: str


def name_files(
    data: DataConfig, split: SplitName, pairs: Iterable[Pair], files: FolderIndex
) -> list[Sample]:
    """The files that the pairs with ground truth stand for, whether they exist or not."""
    image_dir, depth_dirs = _folders(data, split)
    samples = []
    for pair in pairs:
        if pair.depth is not None:
            candidates = [_below(name, pair.depth) for name in depth_dirs]
            depth_file = next((path for path in candidates if path in files), candidates[0])
            image_file = _below(image_dir, pair.image)
            samples.append(Sample(pair.image.lstrip("/"), image_file, depth_file))
    return samples


def _folders(data: DataConfig, split: SplitName) -> tuple[str, list[str]]:
    """Where the images of a split start, and where its depth maps may."""
    below = data.test_dir if split == "test" else data.train_dir
    gt_dir = (data.gt_root or data.root) / below
    return str(data.root / below), [str(gt_dir / name) for name in data.data_set.depth_dirs]


def present_samples(
    data: DataConfig,
    split: SplitName,
    named: list[Sample],
    files: FolderIndex,
    list_file: Path | None = None,
) -> tuple[list[Sample], list[str]]:
    """Those whose files are there, and of every other one its first missing file.

    A `UserError` if more than 1 % are missing, unless `data.allow_missing`, or if nothing is left.
    list_file: where they are listed; the message says how to correct it, where that would help.
    """
    samples = [s for s in named if s.image_file in files and s.depth_file in files]
    if not samples or (len(samples) < MIN_SHARE * len(named) and not data.allow_missing):
        folder_key = "test_dir" if split == "test" else "train_dir"
        keys = f"data.{folder_key} and whether the download is complete"
        if list_file is not None and (way := _without_prefix(data, split, named, files, list_file)):
            raise UserError(way)
        if samples:
            keys += ", or set data.allow_missing=true to go on without them"
        _refuse_missing(files, [s.image_file for s in named], "images", f"data.root, {keys}")
        _refuse_missing(files, [s.depth_file for s in named], "depth maps", f"data.gt_root, {keys}")
    kept = set(samples)
    missing = [
        s.depth_file if s.image_file in files else s.image_file for s in named if s not in kept
    ]
    return samples, missing


def _below(folder_path: str, path: str) -> str:
    return path if path.startswith("/") else f"{folder_path}/{path}"


def _without_prefix(
    data: DataConfig, split: SplitName, named: list[Sample], files: FolderIndex, list_file: Path
) -> str | None:
    """How to correct a list whose paths start with folders of its author; None: that is not it."""
    image_dir, depth_dirs = _folders(data, split)
    images = [s.key for s in named if s.image_file not in files]
    depths = [s.depth_file for s in named if s.depth_file not in files]
    depths = [file.removeprefix(f"{depth_dirs[0]}/") for file in depths]
    found = (foreign_prefix(images, [image_dir], files), foreign_prefix(depths, depth_dirs, files))
    prefixes = list(dict.fromkeys(filter(None, found)))
    if not prefixes:
        return None
    command, copy = strip_command(list_file, prefixes)
    key = "train" if split == "val" and data.val_list is None else split
    return (
        f"{max(len(images), len(depths))} of {len(named)} pairs are missing, first "
        f"{(images + depths)[0]}: the paths of {list_file} start with {' and '.join(prefixes)}, "
        f"not as they do here; write a list without it and set data.{key}_list={copy}: {command}"
    )


def _refuse_missing(files: FolderIndex, paths: list[str], what: str, keys: str) -> None:
    missing = [path for path in paths if path not in files]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(paths)} {what} are missing, first {', '.join(missing[:3])}; "
            f"check {keys}"
        )
