"""SUN RGB-D as Princeton distributes it: the official split, and the files of every sample.

ROOT/SUNRGBD/kv1/NYUdata/NYU0001/  image/NYU0001.jpg  depth/NYU0001.png  depth_bfx/NYU0001.png
                                   intrinsics.txt
SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat   `alltest`: 5,050 folders on its authors' disk
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from common.errors import UserError
from common.images.reading import read_depth
from scripts.preparation.hdf5 import is_hdf5, open_hdf5

DATA_FOLDER = "SUNRGBD"
SPLIT_FILE = "allsplit.mat"
SENSORS = ("kv1", "kv2", "realsense", "xtion")
_SEARCH_DEPTH = 4


@dataclass(frozen=True)
class RgbdFiles:
    """The files of one sample, below the folder that holds SUNRGBD."""

    image: str
    depth: str
    focal: float  # pixels


def find_data(place: Path) -> Path | None:
    """The folder with the sensors' folders, at or below `place`."""
    return next((f for f, names, _ in _walk(place) if set(SENSORS) & set(names)), None)


def find_split_file(place: Path) -> Path | None:
    """The toolbox's `allsplit.mat`, at or below `place`."""
    return next((f / SPLIT_FILE for f, _, files in _walk(place) if SPLIT_FILE in files), None)


def _walk(place: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder down to the search depth; not into the samples."""
    for path, names, files in os.walk(place, followlinks=True):
        folder = Path(path)
        yield folder, names, files
        deep = len(folder.relative_to(place).parts) >= _SEARCH_DEPTH
        names[:] = [] if deep else sorted(name for name in names if name not in SENSORS)


def read_test_folders(path: Path) -> list[str]:
    """The test samples' folders below SUNRGBD, `kv1/NYUdata/NYU0001`; MATLAB v5 or v7.3 files."""
    try:
        texts = _read_v73(path) if is_hdf5(path) else _read_v5(path)
    except KeyError as error:
        raise UserError(f"{path}: there is no 'alltest' in it; take the toolbox's file") from error
    except UserError:
        raise
    except Exception as error:  # scipy and h5py raise many types on damaged files
        reason = str(error).splitlines()[:1]
        raise UserError(f"cannot read {path}: {reason}; unpack the toolbox again") from error
    return [_below_data(text, path) for text in texts]


def _read_v5(path: Path) -> list[str]:
    cells = scipy.io.loadmat(path, variable_names=["alltest"], chars_as_strings=True)["alltest"]
    return [str(cell.item() if cell.size else "") for cell in cells.ravel()]


def _read_v73(path: Path) -> list[str]:
    with open_hdf5(path) as file:
        return ["".join(map(chr, file[ref][()].ravel())) for ref in file["alltest"][()].ravel()]


def _below_data(text: str, path: Path) -> str:
    before, found, after = text.partition(f"/{DATA_FOLDER}/")
    if not found or not after.strip("/"):
        raise UserError(f"{path}: '{text}' is no folder below {DATA_FOLDER}")
    return after.strip("/")


def find_rgbd_files(root: Path, folder: str, depth_folder: str) -> RgbdFiles | str:
    """A sample's files, or what is wrong with it, as text; `folder` as in `read_test_folders`."""
    name = f"{DATA_FOLDER}/{folder}"
    image = _only_file(root / name / "image", (".jpg", ".jpeg", ".png"))
    depth = _only_file(root / name / depth_folder, (".png",))
    if image is None:
        return f"{name}: no image"
    if depth is None:
        return f"{name}: no {depth_folder}"
    try:
        focal = float((root / name / "intrinsics.txt").read_text(encoding="utf-8").split()[0])
    except (OSError, UnicodeDecodeError, ValueError, IndexError):
        return f"{name}: no focal length in intrinsics.txt"
    return RgbdFiles(f"{name}/image/{image}", f"{name}/{depth_folder}/{depth}", focal)


def _only_file(folder: Path, suffixes: tuple[str, ...]) -> str | None:
    try:
        names = [path.name for path in folder.iterdir() if path.suffix.lower() in suffixes]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return min((name for name in names if not name.startswith(".")), default=None)


def has_rotated_bits(depth_file: Path) -> bool:
    """Whether a depth file still has SUN RGB-D's rotated bits; the lowest three tell.

    They hold meters / 8.192, so they are 0 or 1 in a room; in plain millimeters they are anything.
    """
    stored = read_depth(depth_file)
    stored = stored[stored > 0]
    return stored.size == 0 or float(np.mean((stored & 7) > 1)) < 0.25
