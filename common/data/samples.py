"""Which files a split consists of: the data section of a config, and its lists checked on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.data import kitti, nyu
from common.data.layout import Layout
from common.data.lists import Pair, carve_validation, find_file, read_list
from common.data.reading import FolderIndex
from common.data.transforms import KB_HEIGHT, KB_WIDTH
from common.errors import UserError

Split = Literal["train", "val", "test"]
# The same for every run, so that no run validates on what another one trained on.
CARVE_SEED = 0


@dataclass(frozen=True)
class DataConfig:
    """Which data, where, and at what size."""

    name: Literal["nyu", "kitti"]
    root: Path  # folder of the images
    height: int
    width: int
    max_depth: float  # metres
    gt_root: Path | None = None  # folder of the ground truth; None: the same as root
    train_list: str | None = None  # looked up under root, then as given
    val_list: str | None = None  # None: carved by scene from the training list
    test_list: str | None = None
    train_dir: str = ""  # folder below both roots where training and validation paths start
    test_dir: str = ""  # the same for test paths
    val_share: float = 0.02  # of the training images, when there is no val_list
    rotate_degrees: float = 2.5
    flip: bool = True
    jitter: bool = True  # gamma, brightness and colour
    mask_border: bool = True  # NYU: no training ground truth near the image border

    def __post_init__(self) -> None:
        is_kitti = self.name == "kitti"
        _check_size("height", self.height, KB_HEIGHT if is_kitti else None)
        _check_size("width", self.width, KB_WIDTH if is_kitti else None)
        if self.max_depth <= 0:
            raise ValueError(f"max_depth: {self.max_depth} is not above 0 metres")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share: {self.val_share} is not in [0, 1)")
        if not 0 <= self.rotate_degrees <= 45:
            raise ValueError(f"rotate_degrees: {self.rotate_degrees} is not in [0, 45]")


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


def layout_of(data: DataConfig) -> Layout:
    """How the configured data set is stored; a new data set is one more file and one more case."""
    match data.name:
        case "nyu":
            return nyu.LAYOUT
        case "kitti":
            return kitti.LAYOUT


def read_split(data: DataConfig, split: Split) -> list[Pair]:
    """The list lines of a split; validation is carved from the training list if it has no list."""
    if not data.root.is_dir():
        raise UserError(f"data.root: no folder {data.root}; set data.root to where the images are")
    if split == "test":
        return _read_list(data, "test_list", data.test_list)
    if split == "val" and data.val_list is not None:
        return _read_list(data, "val_list", data.val_list)
    pairs = _read_list(data, "train_list", data.train_list)
    if data.val_list is not None:
        return pairs
    train, val = carve_validation(pairs, data.val_share, CARVE_SEED)
    if split == "val" and not val:
        raise UserError("no validation images: set data.val_list or data.val_share")
    return train if split == "train" else val


def _read_list(data: DataConfig, key: str, name: str | None) -> list[Pair]:
    if name is None:
        raise UserError(f"data.{key} is not set; name the list file of this split")
    return read_list(find_file(name, data.root))


def find_samples(data: DataConfig, layout: Layout, split: Split, pairs: list[Pair]) -> list[Sample]:
    """The files of every pair that has ground truth; a `UserError` if one is missing."""
    below = data.test_dir if split == "test" else data.train_dir
    image_dir = data.root / below
    gt_dir = (data.gt_root or data.root) / below
    depth_dirs = [str(gt_dir / folder) for folder in layout.depth_dirs]
    files = FolderIndex()
    samples = []
    for pair in pairs:
        if pair.depth is not None:
            candidates = [f"{folder}/{pair.depth}" for folder in depth_dirs]
            depth_file = next((path for path in candidates if path in files), candidates[0])
            samples.append(Sample(pair.image, f"{image_dir}/{pair.image}", depth_file))
    if not samples:
        raise UserError(f"none of the {len(pairs)} images of the {split} list has ground truth")
    folder_key = "test_dir" if split == "test" else "train_dir"
    _check_files(files, [s.image_file for s in samples], "images", f"data.root, data.{folder_key}")
    _check_files(
        files, [s.depth_file for s in samples], "depth maps", f"data.gt_root, data.{folder_key}"
    )
    return samples


def _check_files(files: FolderIndex, paths: list[str], what: str, keys: str) -> None:
    missing = [path for path in paths if path not in files]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(paths)} {what} are missing, first {', '.join(missing[:3])}; "
            f"check {keys} and whether the download is complete"
        )
