"""Read RGB images and depth maps; every defect is a one-line error that names the file."""

import errno
import os
from pathlib import Path

import cv2
import numpy as np

from common.errors import BadFileError, UserError
from common.images.containers import (
    DEPTH_MAP,
    PICTURE,
    exif_orientation,
    foreign_remedy,
    is_cut_off,
    is_unknown,
    turn_back,
    turn_upright,
    turns_itself,
)
from common.images.depth_formats import load_npy, load_npz, load_pfm
from common.shards import read_stored
from common.shortages import as_shortage

# Which way is up is our own affair: versions of OpenCV differ in the formats that they turn.
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
NO_MEASUREMENT = 65535  # some tools write the largest value instead of 0
_NO_EXR = "it is damaged, or this OpenCV cannot read EXR: save the depth as .npy instead"
_NO_TIFF = (
    "it is damaged, or a kind of TIFF that OpenCV cannot read (16-bit floats): copy it again, or "
    "save the depth as .npy instead"
)
_NOT_BY_OPENCV = {".exr": _NO_EXR, ".tif": _NO_TIFF, ".tiff": _NO_TIFF}
_LIKE_NAME = (b"II", b"MM", b"v/1\x01")  # how TIFF and EXR begin
_OF_THE_FILE = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}
_ARRAY_FILES = {".npy": load_npy, ".npz": load_npz, ".pfm": load_pfm}
# One line of ours says what is wrong with a file, and not several of OpenCV's before it.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # 4.x, 5.0
_set_log_level(0)


def read_image(path: str | Path, upright: bool = True) -> np.ndarray:
    """RGB, uint8 [H, W, 3], turned as its EXIF orientation says; upright=False: as stored."""
    return decode_image(read_file(path), path, upright)


def decode_image(data: bytes, path: str | Path, upright: bool = True) -> np.ndarray:
    """`read_image` of a file whose contents are known; its path is for the message of an error."""
    image = cv2.cvtColor(_decode(data, path, _COLOR), cv2.COLOR_BGR2RGB)
    if turns_itself(data) == upright:
        return image
    turn = turn_upright if upright else turn_back
    return turn(image, exif_orientation(data))


def read_depth(path: str | Path, rotated_bits: bool = False) -> np.ndarray:
    """Depth [H, W], 0 = no measurement: uint16 as stored, or float32 meters.

    One rule for every kind of file: floats are meters, whole numbers of 16 bits or more are stored
    units (`data.depth_scale` of them a meter). rotated_bits: the stored values are turned by three
    bits, as in SUN RGB-D.
    """
    depth = read_numbers(path)
    if depth.dtype != np.uint16:
        return np.where((depth > 0) & (depth < np.inf), depth, 0).astype(np.float32)
    depth[depth == NO_MEASUREMENT] = 0
    return (depth >> 3) | (depth << 13) if rotated_bits else depth


def read_numbers(path: str | Path) -> np.ndarray:
    """A depth file's numbers [H, W] as they are: uint16, or floats of any value (meters)."""
    suffix = Path(path).suffix.lower()
    is_array = suffix in _ARRAY_FILES
    return _as_depth(_load_array(path, suffix) if is_array else _decode_depth(path, suffix), path)


def read_pair(
    image_path: str, depth_path: str, rotated_bits: bool = False, upright: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] and depth [H, W] of the same size; see `read_image` and `read_depth`."""
    image, depth = read_image(image_path, upright), read_depth(depth_path, rotated_bits)
    if image.shape[:2] != depth.shape:
        mismatch = _size_mismatch(image_path, image, depth_path, depth, upright)
        raise BadFileError(mismatch, image_path)
    return image, depth


def read_orientation(path: str | Path) -> int:
    """EXIF's, 1 to 8; 1 where the file says nothing."""
    return exif_orientation(read_file(path))


def _size_mismatch(
    image_path: str, image: np.ndarray, depth_path: str, depth: np.ndarray, upright: bool
) -> str:
    orientation = read_orientation(image_path)
    other = read_image(image_path, not upright) if orientation > 1 else image
    if other.shape[:2] != depth.shape:
        return (
            f"{image_path} is {size_text(image)} but its depth {depth_path} is {size_text(depth)}; "
            "they must be of one size"
        )
    turned, stored = f"turned upright (EXIF orientation {orientation})", "as stored"
    mine, fitting = (turned, stored) if upright else (stored, turned)
    return (
        f"{image_path} is {size_text(image)} {mine}, its depth {depth_path} is {size_text(depth)} "
        f"like the picture {fitting}; set data.exif_orientation={str(not upright).lower()} if all "
        "depth was made so, or write this depth map anew to fit the picture"
    )


def _decode_depth(path: str | Path, suffix: str) -> np.ndarray:
    if suffix == ".exr":
        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # OpenCV looks at the first file
    by_name = _NOT_BY_OPENCV.get(suffix)
    return _decode(read_file(path), path, cv2.IMREAD_UNCHANGED, DEPTH_MAP, by_name)


def _load_array(path: str | Path, suffix: str) -> np.ndarray:
    try:
        return _ARRAY_FILES[suffix](read_file(path))
    except ValueError as error:
        raise BadFileError(f"{path}: {error}", path) from error


def _as_depth(array: np.ndarray, path: str | Path) -> np.ndarray:
    """[H, W], uint16 or floats; whole numbers of other types become uint16."""
    shape = array.shape
    if array.ndim == 3 and 1 in (shape[0], shape[2]):
        array = array[0] if shape[0] == 1 else array[:, :, 0]
    kind, bits = array.dtype.kind, 8 * array.itemsize
    if array.ndim != 2 or not array.size or kind not in "fiu" or bits < 16:
        raise BadFileError(
            f"{path}: depth must have one channel, [H, W], of floats (meters) or of whole numbers "
            f"with 16 bits or more (millimeters, say), this is {list(shape)} of {array.dtype}; "
            "write it again from the source, and not as a picture",
            path,
        )
    if kind == "f" or array.dtype == np.uint16:
        return array
    largest = int(array.max())
    if largest > NO_MEASUREMENT:
        raise BadFileError(
            f"{path}: its {array.dtype} numbers go up to {largest}, above {NO_MEASUREMENT}; "
            "divide them by what makes a meter and save them as floats",
            path,
        )
    return array.clip(0).astype(np.uint16)


def size_text(array: np.ndarray) -> str:
    """`HEIGHTxWIDTH`, as everywhere in this project."""
    return f"{array.shape[0]}x{array.shape[1]}"


def read_file(path: str | Path) -> bytes:
    """All of a file; a `UserError` where it cannot be read."""
    try:
        return read_stored(path)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        if _is_of_the_file(error, path):
            raise BadFileError(message, path) from error
        raise UserError(message) from error


def _is_of_the_file(error: OSError, path: str | Path) -> bool:
    """Whether the file alone cannot be read; where its folder is gone or empty, a disk may be."""
    if error.errno not in _OF_THE_FILE:
        return False
    try:
        with os.scandir(Path(path).parent) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _remedy(data: bytes, wanted: str, by_name: str | None) -> str:
    """wanted: what it can be converted to. by_name: what helps where it is what its name says."""
    known = foreign_remedy(data, wanted)
    if by_name is not None and (known is None or data.startswith(_LIKE_NAME)):
        return by_name
    if known is None and is_unknown(data):
        return f"its kind is not known: copy it again, or convert it to {wanted}"
    return known or "copy it again"


def _decode(
    data: bytes, path: str | Path, flags: int, wanted: str = PICTURE, by_name: str | None = None
) -> np.ndarray:
    if is_cut_off(data):
        raise BadFileError(f"{path}: the file is cut off ({len(data)} bytes); copy it again", path)
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        told = as_shortage(error, {})
        if told is not error:
            raise told from error
        array = None
    if array is None:
        raise BadFileError(
            f"{path}: not a readable image ({len(data)} bytes); {_remedy(data, wanted, by_name)}",
            path,
        )
    return array
