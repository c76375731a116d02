"""Read RGB images and 16-bit depth maps; every defect is a one-line error that names the file."""

import os
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError

# Training pairs share one pixel grid, so an EXIF rotation must not turn the image alone.
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_NO_MEASUREMENT = 65535  # some tools write the largest value instead of 0


class FolderIndex:
    """Answers "does this file exist?" from one listing per folder: fast for many files."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries)
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return name in self._names[folder]


def read_image(path: str | Path) -> np.ndarray:
    """RGB, uint8 [H, W, 3]."""
    return _decode(path, _RGB)


def read_depth(path: str | Path) -> np.ndarray:
    """Stored depth, uint16 [H, W], 0 = no measurement."""
    depth = _decode(path, cv2.IMREAD_UNCHANGED)
    if depth.dtype != np.uint16 or depth.ndim != 2:
        channels = 1 if depth.ndim == 2 else depth.shape[2]
        raise UserError(
            f"{path}: depth must be a 16-bit PNG with one channel, "
            f"this is {8 * depth.itemsize}-bit with {channels}"
        )
    depth[depth == _NO_MEASUREMENT] = 0
    return depth


def read_pair(image_path: str, depth_path: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] and uint16 [H, W] of the same size."""
    image, depth = read_image(image_path), read_depth(depth_path)
    if image.shape[:2] != depth.shape:
        raise UserError(
            f"{image_path} is {size_text(image)} but its depth {depth_path} is {size_text(depth)}; "
            "they must be of one size"
        )
    return image, depth


def size_text(array: np.ndarray) -> str:
    """`HEIGHTxWIDTH`, as everywhere in this project."""
    return f"{array.shape[0]}x{array.shape[1]}"


def _decode(path: str | Path, flags: int) -> np.ndarray:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if _is_cut_off(data):
        raise UserError(f"{path}: the file is cut off ({len(data)} bytes); copy it again")
    array = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if array is None:
        raise UserError(f"{path}: not a readable image ({len(data)} bytes); copy it again")
    return array


def _is_cut_off(data: bytes) -> bool:
    """Some decoders fill the missing part of a cut-off JPEG or PNG with grey instead of failing."""
    if data.startswith(b"\xff\xd8"):  # the last scan (FFDA) must be closed by an end marker (FFD9)
        return data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG") and b"IEND" not in data
