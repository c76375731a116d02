"""The splits that papers name: their list files, how many lines these have, and their hashes.

    data: {name: nyu, split: nyu_bts24k}     instead of data.train_list and data.test_list

A list is looked up under `data.root`, then beside that folder (KITTI's lists lie beside `raw/`).
`num_with_gt` lines of a list name ground truth; the others have `None` in its place.
"""

from dataclasses import dataclass
from typing import Literal

SplitName = Literal["nyu_bts24k", "nyu_labeled795", "nyu_dense36k", "kitti_eigen", "kitti_eigen697"]


@dataclass(frozen=True)
class ListFile:
    """One published list."""

    file: str  # its usual name
    num_lines: int
    num_with_gt: int
    sha256: str | None = None  # first 12 hex digits, as published; None: not known


@dataclass(frozen=True)
class NamedSplit:
    """A training and a test list of one data set."""

    name: str
    data: str  # data.name
    train: ListFile
    test: ListFile


_NYU_TEST = ListFile("nyudepthv2_test_files_with_gt.txt", 654, 654, "e92c191d5835")
_EIGEN_TRAIN = ListFile("eigen_train_files_with_gt.txt", 23158, 23158, "3655308ee4a0")

NAMED_SPLITS: dict[str, NamedSplit] = {
    split.name: split
    for split in (
        NamedSplit(
            "nyu_bts24k",
            "nyu",
            ListFile("nyudepthv2_train_files_with_gt.txt", 24231, 24231, "66e2beb718a5"),
            _NYU_TEST,
        ),
        NamedSplit(
            "nyu_labeled795",
            "nyu",
            ListFile("nyu_labeled_train_files_with_gt.txt", 795, 795),
            _NYU_TEST,
        ),
        NamedSplit(
            "nyu_dense36k",
            "nyu",
            ListFile("nyu_dense_train_files_with_gt.txt", 36253, 36253),
            _NYU_TEST,
        ),
        NamedSplit(
            "kitti_eigen",
            "kitti",
            _EIGEN_TRAIN,
            ListFile("eigen_test_files_with_gt.txt", 652, 652, "63893f0e7bca"),
        ),
        NamedSplit(
            "kitti_eigen697",
            "kitti",
            _EIGEN_TRAIN,
            ListFile("eigen_test_697_files_with_gt.txt", 697, 652, "8d0499af9ab4"),
        ),
    )
}
