"""Read the labeled part of NYU Depth V2 as its authors publish it: two MATLAB files.

    with open_labeled(Path("nyu_depth_v2_labeled.mat")) as labeled:
        split = read_official_split(Path("splits.mat"), labeled.num_frames)
        for frame in labeled.read(split.test, depth="raw"):
            frame.index, frame.scene_type, frame.image, frame.depth

The first file (2.8 GB) is HDF5 with every array transposed. It is read a few images at a time.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import scipy.io

from common.errors import UserError
from common.files import retried
from scripts.preparation.hdf5 import HDF5_ERRORS, is_hdf5, open_hdf5, trouble_of_disk

HEIGHT, WIDTH = 480, 640
DepthKind = Literal["raw", "filled"]
_DEPTH_ARRAYS = {"raw": "rawDepths", "filled": "depths"}
_IMAGES_AT_ONCE = 8
_MOST_AT_ONCE = 64  # 140 MB


@dataclass(frozen=True)
class LabeledFrame:
    """One labeled frame. `index` counts from 0, as in the file names of the published split."""

    index: int
    scene_type: str  # "bathroom"
    image: np.ndarray  # RGB, uint8 [480, 640, 3]
    depth: np.ndarray  # float32 [480, 640], meters, 0 = no measurement


@dataclass(frozen=True)
class OfficialSplit:
    """Which frames are for training and which for testing, counted from 0, in rising order."""

    train: tuple[int, ...]
    test: tuple[int, ...]


class LabeledFile:
    """The open `nyu_depth_v2_labeled.mat`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path = path
        self._images = _array(file, "images", (3, WIDTH, HEIGHT), path)
        self._depths = {
            kind: _array(file, name, (WIDTH, HEIGHT), path) for kind, name in _DEPTH_ARRAYS.items()
        }
        self.num_frames = len(self._images)
        for depths in self._depths.values():
            if len(depths) != self.num_frames:
                raise UserError(f"{path}: {self.num_frames} images but {len(depths)} depth maps")
        self.scene_types = _read_scene_types(file, self.num_frames, path)

    def read(self, indices: Sequence[int], depth: DepthKind = "raw") -> Iterator[LabeledFrame]:
        """The frames `indices`, in rising order.

        `depth="raw"` is what the sensor measured, "filled" has the holes painted in.
        """
        wanted = set(indices)
        step = self._step(depth)
        for start in range(0, self.num_frames, step):
            batch = [index for index in range(start, start + step) if index in wanted]
            if batch:
                yield from self._read_batch(batch, depth)

    def _step(self, depth: DepthKind) -> int:
        """Images read at once: whole storage blocks of the file, so that none is unpacked twice."""
        blocks = [array.chunks[0] for array in (self._images, self._depths[depth]) if array.chunks]
        return min(max([_IMAGES_AT_ONCE, *blocks]), _MOST_AT_ONCE)

    def _read_batch(self, batch: list[int], kind: DepthKind) -> Iterator[LabeledFrame]:
        first, end = batch[0], batch[-1] + 1
        try:
            images = retried(lambda: self._images[first:end])  # [n, 3, 640, 480]
            depths = retried(lambda: self._depths[kind][first:end])  # [n, 640, 480]
        except HDF5_ERRORS as error:
            raise UserError(
                trouble_of_disk(self._path, error)
                or f"{self._path}: frames {first} to {end - 1} cannot be read, the file is damaged "
                "or cut off; download it again"
            ) from error
        for index in batch:
            yield LabeledFrame(
                index,
                self.scene_types[index],
                images[index - first].transpose(2, 1, 0),  # [480, 640, 3]
                depths[index - first].T.astype(np.float32),  # [480, 640]
            )


@contextmanager
def open_labeled(path: Path) -> Iterator[LabeledFile]:
    """Open `nyu_depth_v2_labeled.mat`; a `UserError` if it is not that file, whole."""
    with open_hdf5(path) as file:
        try:
            labeled = LabeledFile(path, file)
        except HDF5_ERRORS as error:
            damaged = f"{path} is damaged ({_line(error)}); download it again"
            raise UserError(trouble_of_disk(path, error) or damaged) from error
        yield labeled


def read_official_split(path: Path, num_frames: int) -> OfficialSplit:
    """Read `splits.mat` (`trainNdxs`, `testNdxs`, counted from 1) in either MATLAB format.

    A `UserError` unless every one of `num_frames` frames is in exactly one part.
    """
    arrays = _read_split_arrays(path)
    if not all(np.asarray(array).dtype.kind in "iuf" for array in arrays):
        raise UserError(f"{path}: trainNdxs and testNdxs hold no numbers; is it splits.mat?")
    numbers = (np.nan_to_num(np.ravel(array), posinf=0, neginf=0) for array in arrays)
    train, test = (sorted(int(i) - 1 for i in array) for array in numbers)
    if sorted(train + test) != list(range(num_frames)):
        raise UserError(
            f"{path}: its {len(train)} training and {len(test)} test frames do not split the "
            f"{num_frames} labeled frames; use the splits.mat of the official split"
        )
    return OfficialSplit(tuple(train), tuple(test))


def _read_split_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        if is_hdf5(path):
            with open_hdf5(path) as file:
                return file["trainNdxs"][()], file["testNdxs"][()]
        content = scipy.io.loadmat(path)
        return content["trainNdxs"], content["testNdxs"]
    except KeyError as error:
        raise UserError(f"{path}: it has no trainNdxs and testNdxs; is it splits.mat?") from error
    except FileNotFoundError as error:
        raise UserError(f"no file {path}") from error
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the disk") from error
    except Exception as error:  # scipy has no common error for files that are damaged
        raise UserError(f"{path} is not a readable MATLAB file; download it again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _array(file: h5py.File, name: str, shape: tuple[int, ...], path: Path) -> h5py.Dataset:
    array = file.get(name)
    if not isinstance(array, h5py.Dataset):
        raise UserError(f"{path}: no array '{name}'; is it nyu_depth_v2_labeled.mat?")
    if array.shape[1:] != shape:
        raise UserError(f"{path}: '{name}' is {array.shape}, expected (N, {str(shape)[1:]}")
    return array


def _read_scene_types(file: h5py.File, num_frames: int, path: Path) -> tuple[str, ...]:
    """A MATLAB cell array: references to arrays of character codes."""
    if "sceneTypes" not in file:
        raise UserError(f"{path}: no array 'sceneTypes'; is it nyu_depth_v2_labeled.mat?")
    references = np.ravel(file["sceneTypes"][()])
    names = tuple("".join(map(chr, np.ravel(file[ref][()]))) for ref in references)
    odd = [name for name in names if not re.fullmatch(r"\w+", name, re.ASCII)]
    if odd or len(names) != num_frames:
        what = f"the scene type {odd[0]!r}" if odd else f"{len(names)} scene types"
        raise UserError(f"{path}: {what} does not fit its {num_frames} frames; download it again")
    return names
