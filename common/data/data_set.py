"""What there is to say about a data set; each has one file in `sets/` that says all of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.data.lists import Notes, NumberScenes, carve_by_scene
from common.data.pairs import PairList
from common.language.controls import folder_category

# pairs, share, seed, what a scene is -> rest, carved
Carve = Callable[[PairList, float, int, NumberScenes], tuple[PairList, PairList]]


@dataclass(frozen=True)
class ListFile:
    """One published list. `num_with_gt` of its lines name ground truth, the others `None`."""

    file: str  # its usual name
    num_lines: int
    num_with_gt: int
    sha256: str | None = None  # first 12 hex digits, as published; None: not known


@dataclass(frozen=True)
class PublishedSplit:
    """A training and a test list that papers name: `data.split` instead of two lists."""

    name: str
    train: ListFile
    test: ListFile


@dataclass(frozen=True)
class DepthRange:
    """What the depth maps of a data set look like, in meters; the doctor judges by it."""

    typical: float  # median of a whole data set
    low: float  # the median of a data set lies between these two,
    high: float
    file_low: float  # and that of every single map between these
    file_high: float
    about: str


@dataclass(frozen=True)
class TrainingCamera:
    """The pinhole camera that took a data set's pictures; pixels of one of `size` (H, W)."""

    name: str
    size: tuple[int, int]
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class DataSet:
    """How a data set is stored, listed, trained on and checked.

    Stored: 16-bit PNG depth holds meters * depth_scale, 0 = no measurement; rotated_bits: turned by
    3 bits, as in SUN RGB-D. Float maps hold meters * float_depth_scale. Depth paths start in one of
    depth_dirs below the ground-truth folder.
    """

    name: str  # data.name
    config: str  # the YAML file with its usual settings
    prepared_by: str  # what brings it into {root}, a folder below {parent}
    depth_scale: float
    mean_log_depth: float  # of its training ground truth: where a depth head starts from
    depth_range: DepthRange | None = None  # None: anybody's images
    camera: TrainingCamera | None = None  # None: several, or not known
    depth_dirs: tuple[str, ...] = ("",)
    rotated_bits: bool = False
    float_depth_scale: float = 1.0
    # Listed
    splits: tuple[PublishedSplit, ...] = ()
    # Where there are no lists: the pairs below two roots, and notes on what is left out there.
    find_pairs: Callable[[Path, Path], tuple[PairList, Notes]] | None = None
    carve: Carve = carve_by_scene  # sets validation (or test) images apart
    category_of: Callable[[str], str] = folder_category  # key -> kind of scene, for controls
    # Trained on
    brightness: tuple[float, float] = (0.75, 1.25)  # range of the brightness factor
    crop_size: tuple[int, int] | None = None  # images are cut to it (bottom, centered), not resized
    border_rows: tuple[int, int] | None = None  # training ground truth outside is dropped ...
    border_cols: tuple[int, int] | None = None
    border_size: tuple[int, int] | None = None  # ... in files of this (height, width)
    needs_captions: bool = False  # the doctor misses them
    caption_pattern: str | None = None  # images to caption without a list: a glob below its root
    has_benchmark: bool = False  # KITTI's server takes predictions for its own test images
