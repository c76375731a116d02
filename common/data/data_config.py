"""The data section of a config: which data, where, at what size, and how training varies it."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from common.config import MAY_CHANGE, may_change
from common.data.data_set import DataSet
from common.data.lists import NumberScenes, number_scenes
from common.data.scenes import number_labels
from common.data.sets import DATA_SETS, PUBLISHED_SPLITS
from common.data.subsets import check_subset


@dataclass(frozen=True)
class DataConfig:
    """Which data, where, and at what size."""

    name: str  # of the data set, a file of common/data/sets
    root: Path = field(metadata=MAY_CHANGE)  # folder of the images
    height: int  # of training images, a multiple of 32; NYU's are resized, KITTI's cut out
    width: int  # of training images, likewise
    max_depth: float  # meters; deeper ground truth is neither trained on nor scored
    gt_root: Path | None = may_change(None)  # folder of the ground truth; None: data.root
    split: str | None = None  # a published one: names the lists that are not given
    train_list: str | None = None  # list file, looked up under root, then as given
    val_list: str | None = None  # the same; None: carved by scene from the training list
    test_list: str | None = None  # the same
    allow_missing: bool = False  # go on when more than 1 % of a split is not there
    allow_changed: bool = may_change(False)  # go on with a run whose images or lists are others now
    # A training image that cannot be read: the run stops, or another one stands in for it. What is
    # validated or scored never has a stand-in.
    on_error: Literal["stop", "skip"] = may_change("stop")
    # The share of bad training images above which `skip` stops; one is allowed, unless this is 0.
    max_bad_share: float = may_change(0.01)
    train_dir: str = ""  # folder below both roots where training and validation paths start
    test_dir: str = ""  # the same for test paths
    val_share: float = 0.02  # of the training images, when there is no val_list
    # What is one scene where images are set apart: a folder, or (for folders that hold a kind of
    # scene and not one) frames of neighboring numbers, see common/data/scenes.py.
    carve_by: Literal["folder", "frames"] = "folder"
    train_images: int | float | None = None  # few-shot: so many, or a share, of what val leaves
    subset_seed: int = 0  # of the few-shot choice
    test_share: float = 0.1  # folder without lists: share kept for testing; 1: all (zero-shot)
    depth_scale: float | None = None  # stored units of a meter; None: the data set's own
    float_depth_scale: float | None = None  # the same of float maps (.npy, .exr); None: meters
    rotated_bits: bool | None = None  # stored values are turned by 3 bits; None: the data set's own
    # Where a depth head starts from; None: the data set's own. A run's model.prior_mean has it too.
    mean_log_depth: float | None = may_change(None)
    rotate_degrees: float = 2.5  # training images are turned by up to so many, 0 to 45
    zoom: float = 1.0  # magnified up to so many times (4), and depth divided by it; 1: never
    flip: bool = True  # half of the training images are mirrored
    jitter: bool = True  # gamma, brightness and color
    exif_orientation: bool = True  # images are turned as it says; false: taken as stored
    mask_border: bool = True  # NYU: no training ground truth near the image border
    cache: Path | None = may_change(None)  # folder for decoded training frames: a local disk

    def __post_init__(self) -> None:
        if self.name not in DATA_SETS:
            raise ValueError(f"name: must be one of {', '.join(DATA_SETS)}, not {self.name!r}")
        largest = DATA_SETS[self.name].crop_size or (None, None)
        _check_size("height", self.height, largest[0], self.name)
        _check_size("width", self.width, largest[1], self.name)
        if self.max_depth <= 0:
            raise ValueError(f"max_depth: {self.max_depth} is not above 0 meters")
        for key in ("depth_scale", "float_depth_scale"):
            scale = getattr(self, key)
            if scale is not None and not 0 < scale < math.inf:
                raise ValueError(f"{key}: {scale} is not above 0")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share: {self.val_share} is not in [0, 1)")
        if not 0 <= self.max_bad_share < 1:
            raise ValueError(f"max_bad_share: {self.max_bad_share} is not in [0, 1)")
        if not 0 <= self.test_share <= 1:
            raise ValueError(f"test_share: {self.test_share} is not in [0, 1]")
        if not 0 <= self.rotate_degrees <= 45:
            raise ValueError(f"rotate_degrees: {self.rotate_degrees} is not in [0, 45]")
        if not 1 <= self.zoom <= 4:
            raise ValueError(f"zoom: {self.zoom} is not in [1, 4]; 1 does not zoom")
        check_subset(self.train_images, self.subset_seed)
        self._check_split()

    def _check_split(self) -> None:
        if self.split is None:
            return
        if self.split not in PUBLISHED_SPLITS:
            names = ", ".join(PUBLISHED_SPLITS)
            raise ValueError(f"split: must be one of {names} or null, not {self.split!r}")
        if PUBLISHED_SPLITS[self.split] not in DATA_SETS[self.name].splits:
            raise ValueError(f"split: {self.split} is no split of {self.name}; correct data.name")

    @property
    def data_set(self) -> DataSet:
        """All that is known of the configured data set, with what the config says otherwise."""
        keys = ("depth_scale", "float_depth_scale", "rotated_bits", "mean_log_depth")
        given: dict[str, Any] = {
            key: getattr(self, key) for key in keys if getattr(self, key) is not None
        }
        return replace(DATA_SETS[self.name], **given)

    @property
    def number_scenes(self) -> NumberScenes:
        """What a scene is where images are set apart."""
        return number_labels if self.carve_by == "frames" else number_scenes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a training image."""
        return self.height, self.width


def _check_size(key: str, size: int, largest: int | None, name: str) -> None:
    if size % 32 or size < 32:
        below = max(size // 32, 1) * 32
        nearest = f"{below} or {below + 32}" if size > 32 else "32"
        raise ValueError(f"{key}: {size} is not divisible by 32; use {nearest}")
    if largest is not None and size > largest:
        height, width = DATA_SETS[name].crop_size or (0, 0)
        raise ValueError(f"{key}: {size} is above {largest}; {name} is cut to {height}x{width}")
