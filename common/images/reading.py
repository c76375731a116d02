"""Read RGB images and depth maps; every defect is a one-line error that names the file."""

import os
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError

# Training pairs share one pixel grid, so an EXIF rotation must not turn the image alone.
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
NO_MEASUREMENT = 65535  # some tools write the largest value instead of 0
_NO_EXR = "it is damaged, or this OpenCV cannot read EXR: save the depth as .npy instead"


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
            except OSError as error:
                raise UserError(
                    f"cannot list {folder}: {error.strerror}; check its permissions"
                ) from error
        return name in self._names[folder]


def read_image(path: str | Path) -> np.ndarray:
    """RGB, uint8 [H, W, 3]."""
    return cv2.cvtColor(_decode(path, _COLOR), cv2.COLOR_BGR2RGB)


def read_depth(path: str | Path, rotated_bits: bool = False) -> np.ndarray:
    """Depth [H, W], 0 = no measurement: uint16 as stored, or float32 meters (.npy, .exr).

    rotated_bits: the stored values are turned by three bits, as in SUN RGB-D.
    """
    suffix = Path(path).suffix.lower()
    depth = _load_npy(path) if suffix == ".npy" else _decode_depth(path, suffix)
    if depth.dtype != np.uint16:
        return np.where((depth > 0) & (depth < np.inf), depth, 0).astype(np.float32)
    depth[depth == NO_MEASUREMENT] = 0
    return (depth >> 3) | (depth << 13) if rotated_bits else depth


def read_pair(
    image_path: str, depth_path: str, rotated_bits: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] and depth [H, W] (see `read_depth`) of the same size."""
    image, depth = read_image(image_path), read_depth(depth_path, rotated_bits)
    if image.shape[:2] != depth.shape:
        raise UserError(
            f"{image_path} is {size_text(image)} but its depth {depth_path} is {size_text(depth)}; "
            "they must be of one size"
        )
    return image, depth


def _decode_depth(path: str | Path, suffix: str) -> np.ndarray:
    is_exr = suffix == ".exr"
    if is_exr:
        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # OpenCV looks at the first file
    depth = _decode(path, cv2.IMREAD_UNCHANGED, _NO_EXR if is_exr else "copy it again")
    if depth.dtype != (np.float32 if is_exr else np.uint16) or depth.ndim != 2:
        channels = 1 if depth.ndim == 2 else depth.shape[2]
        kind = "32-bit float EXR" if is_exr else "16-bit PNG"
        raise UserError(
            f"{path}: depth must be a {kind} with one channel, "
            f"this is {8 * depth.itemsize}-bit with {channels}; write it again from the source, "
            "as 16-bit (millimeters, say) and not as a picture"
        )
    return depth


def _load_npy(path: str | Path) -> np.ndarray:
    try:
        with Path(path).open("rb") as file:
            # Not np.load, which also opens archives of several arrays, whatever they are called.
            depth = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise UserError(
            f"{path}: not a readable .npy file; write it again with numpy.save"
        ) from error
    shape = depth.shape
    if depth.ndim == 3 and 1 in (shape[0], shape[2]):
        depth = depth[0] if shape[0] == 1 else depth[:, :, 0]
    if depth.ndim != 2 or not depth.size or (depth.dtype.kind != "f" and depth.dtype != np.uint16):
        raise UserError(
            f"{path}: depth must be [H, W] of float meters or uint16, this is "
            f"{list(shape)} of {depth.dtype}; convert it"
        )
    return depth


def size_text(array: np.ndarray) -> str:
    """`HEIGHTxWIDTH`, as everywhere in this project."""
    return f"{array.shape[0]}x{array.shape[1]}"


def _decode(path: str | Path, flags: int, remedy: str = "copy it again") -> np.ndarray:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if _is_cut_off(data):
        raise UserError(f"{path}: the file is cut off ({len(data)} bytes); copy it again")
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        array = None
    if array is None:
        raise UserError(f"{path}: not a readable image ({len(data)} bytes); {remedy}")
    return array


def _is_cut_off(data: bytes) -> bool:
    """Some decoders fill the missing part of a cut-off JPEG or PNG with gray instead of failing."""
    if data.startswith(b"\xff\xd8"):  # the last scan (FFDA) must be closed by an end marker (FFD9)
        return data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG") and b"IEND" not in data
