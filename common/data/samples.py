"""The data section of a config, and the files of its lists, checked on disk."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common.data import folder, kitti, nyu, sun_rgbd
from common.data.layout import Layout
from common.data.lists import Pair
from common.data.named_splits import NAMED_SPLITS, SplitName
from common.data.subsets import check_subset, draw_subset
from common.errors import UserError
from common.images.reading import FolderIndex
from common.images.transforms import KB_HEIGHT, KB_WIDTH

Split = Literal["train", "val", "test"]
# A few files lost in a download change no result; more means that something is wrong.
MIN_SHARE = 0.99


@dataclass(frozen=True)
class DataConfig:
    """Which data, where, and at what size."""

    name: Literal["nyu", "kitti", "sun_rgbd", "folder"]
    root: Path  # folder of the images
    height: int
    width: int
    max_depth: float  # meters
    gt_root: Path | None = None  # folder of the ground truth; None: the same as root
    split: SplitName | None = None  # names the lists that are not given below
    train_list: str | None = None  # looked up under root, then as given
    val_list: str | None = None  # None: carved by scene from the training list
    test_list: str | None = None
    allow_missing: bool = False  # go on when more than 1 % of a split is not there
    train_dir: str = ""  # folder below both roots where training and validation paths start
    test_dir: str = ""  # the same for test paths
    val_share: float = 0.02  # of the training images, when there is no val_list
    train_images: int | float | None = None  # few-shot: so many, or a share, of what val leaves
    subset_seed: int = 0  # which of them
    test_share: float = 0.1  # folder without lists: share kept for testing; 1: all (zero-shot)
    depth_scale: float | None = None  # stored units of a meter; None: the data set's own
    rotate_degrees: float = 2.5
    flip: bool = True
    jitter: bool = True  # gamma, brightness and color
    mask_border: bool = True  # NYU: no training ground truth near the image border
    cache: Path | None = None  # folder for decoded training frames: a local disk; None: no cache

    def __post_init__(self) -> None:
        is_kitti = self.name == "kitti"
        _check_size("height", self.height, KB_HEIGHT if is_kitti else None)
        _check_size("width", self.width, KB_WIDTH if is_kitti else None)
        if self.max_depth <= 0:
            raise ValueError(f"max_depth: {self.max_depth} is not above 0 meters")
        if self.depth_scale is not None and self.depth_scale <= 0:
            raise ValueError(f"depth_scale: {self.depth_scale} is not above 0")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share: {self.val_share} is not in [0, 1)")
        if not 0 <= self.test_share <= 1:
            raise ValueError(f"test_share: {self.test_share} is not in [0, 1]")
        if not 0 <= self.rotate_degrees <= 45:
            raise ValueError(f"rotate_degrees: {self.rotate_degrees} is not in [0, 45]")
        check_subset(self.train_images, self.subset_seed)
        if self.split is not None and NAMED_SPLITS[self.split].data != self.name:
            raise ValueError(f"split: {self.split} is no split of {self.name}; correct data.name")


def _check_size(key: str, size: int, largest: int | None) -> None:
    if size % 32 or size < 32:
        below = max(size // 32, 1) * 32
        nearest = f"{below} or {below + 32}" if size > 32 else "32"
        raise ValueError(f"{key}: {size} is not divisible by 32; use {nearest}")
    if largest is not None and size > largest:
        raise ValueError(
            f"{key}: {size} is above {largest}; KITTI is cut to {KB_HEIGHT}x{KB_WIDTH}"
        )


@dataclass(frozen=True)
class Sample:
    """One image of a data set: its key in lists, captions and features, and its files."""

    key: str
    image_file: str
    depth_file: str


@dataclass(frozen=True)
class FoundSamples:
    """The pairs of a split whose files are there, and what was left out."""

    samples: list[Sample]
    num_without_gt: int  # pairs whose list line names no depth
    missing: list[str]  # of every pair that is not on disk, its first missing file
    num_found: int  # on disk; more than the samples where `train_images` asks for a subset


def layout_of(data: DataConfig) -> Layout:
    """How the configured data set is stored; a new data set is one more file and one more case."""
    layouts = {
        "nyu": nyu.LAYOUT,
        "kitti": kitti.LAYOUT,
        "sun_rgbd": sun_rgbd.LAYOUT,
        "folder": folder.LAYOUT,
    }
    layout = layouts[data.name]
    return layout if data.depth_scale is None else replace(layout, depth_scale=data.depth_scale)


def find_samples(data: DataConfig, layout: Layout, split: Split, pairs: list[Pair]) -> FoundSamples:
    """The files of every pair that has ground truth, or of the training subset that is asked for.

    Pairs that are not on disk are left out and named in `missing`. A `UserError` if they are more
    than 1 %, unless `data.allow_missing`, or if nothing is left.
    """
    files = FolderIndex()
    named = name_files(data, layout, split, pairs, files)
    if not named:
        raise UserError(f"none of the {len(pairs)} images of the {split} list has ground truth")
    samples = [s for s in named if s.image_file in files and s.depth_file in files]
    if not samples or (len(samples) < MIN_SHARE * len(named) and not data.allow_missing):
        folder_key = "test_dir" if split == "test" else "train_dir"
        keys = f"data.{folder_key} and whether the download is complete"
        if samples:
            keys += ", or set data.allow_missing=true to go on without them"
        _refuse_missing(files, [s.image_file for s in named], "images", f"data.root, {keys}")
        _refuse_missing(files, [s.depth_file for s in named], "depth maps", f"data.gt_root, {keys}")
    kept = set(samples)
    missing = [
        s.depth_file if s.image_file in files else s.image_file for s in named if s not in kept
    ]
    num_without_gt, num_found = len(pairs) - len(named), len(samples)
    if split == "train" and data.train_images is not None:
        samples = draw_subset(named, samples, data.train_images, data.subset_seed)
    return FoundSamples(samples, num_without_gt, missing, num_found)


def name_files(
    data: DataConfig, layout: Layout, split: Split, pairs: list[Pair], files: FolderIndex
) -> list[Sample]:
    """The files that the pairs with ground truth stand for, whether they exist or not."""
    below = data.test_dir if split == "test" else data.train_dir
    image_dir = str(data.root / below)
    gt_dir = (data.gt_root or data.root) / below
    depth_dirs = [str(gt_dir / name) for name in layout.depth_dirs]
    samples = []
    for pair in pairs:
        if pair.depth is not None:
            candidates = [_below(name, pair.depth) for name in depth_dirs]
            depth_file = next((path for path in candidates if path in files), candidates[0])
            image_file = _below(image_dir, pair.image)
            samples.append(Sample(pair.image.lstrip("/"), image_file, depth_file))
    return samples


def _below(folder_path: str, path: str) -> str:
    return path if path.startswith("/") else f"{folder_path}/{path}"


def _refuse_missing(files: FolderIndex, paths: list[str], what: str, keys: str) -> None:
    missing = [path for path in paths if path not in files]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(paths)} {what} are missing, first {', '.join(missing[:3])}; "
            f"check {keys}"
        )
