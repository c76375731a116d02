"""Decode one image and its depth map and measure them: sizes, bits, valid share, spread of depth.

Shares and percentiles come from a histogram of 65,536 values; floats are rounded to so many.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from common.data.data_config import DataConfig
from common.data.samples import Sample
from common.errors import UserError
from common.images.reading import NO_MEASUREMENT, read_depth, read_image, read_orientation
from common.images.suffixes import has_suffix
from common.shards import read_stored
from scripts.doctor_checks.units import millimeter_shares

_AS_STORED = cv2.IMREAD_UNCHANGED
_NO_PICTURES = (".npy", ".npz", ".pfm", ".exr")
Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class DepthStatistics:
    """One depth map, in meters where nothing else is said."""

    valid_share: float
    units: float = 1000.0  # stored numbers per meter
    is_float: bool = False
    median: float = 0.0  # of the valid pixels, as are the next ones
    near: float = 0.0  # 5th percentile
    far: float = 0.0  # 95th percentile
    beyond_share: float = 0.0  # share of the valid pixels that lies beyond data.max_depth
    num_values: int = 0  # distinct stored values
    step: float = 0.0  # usual distance between neighboring values
    largest_share: float = 0.0  # share of all pixels that are 65535
    largest: float = 0.0  # measured depth as stored, as are the next ones
    common_factor: int = 1  # of all values
    rotated_share: float = 0.0  # of the valid pixels: the lowest three bits are 0 or 1
    millimeter_shares: Mapping[float, float] = field(default_factory=dict)  # see `units.Stored`
    placeholder: float = 0.0  # meters that stand for "no measurement", not counted above; 0: none
    is_far_at_top: bool | None = None  # the upper half is farther than the lowest third


@dataclass(frozen=True)
class ImageStatistics:
    """One image."""

    is_gray: bool
    is_one_color: bool
    is_depth_like: bool  # a 16-bit PNG with one channel


@dataclass(frozen=True)
class Probe:
    """What was found in one pair; None: the file is not readable as what it should be."""

    sample: Sample
    image_size: Size | None = None
    depth_size: Size | None = None
    image: ImageStatistics | None = None
    depth: DepthStatistics | None = None
    depth_kind: str = "16-bit with 1 channel"
    errors: tuple[str, ...] = ()  # one line per file that training cannot read
    orientation: int = 1  # EXIF's, of the image


def probe_pair(sample: Sample, data: DataConfig) -> Probe:
    """Read both files as training does, and measure them."""
    errors = []
    image = depth = None
    data_set, orientation = data.data_set, 1
    try:
        image = read_image(sample.image_file, data.exif_orientation)
        orientation = read_orientation(sample.image_file)
    except UserError as error:
        errors.append(str(error))
    try:
        depth = read_depth(sample.depth_file, data_set.rotated_bits)
    except UserError as error:
        errors.append(str(error))
    kind, stored = _as_stored(sample.depth_file)
    stored = depth if stored is None else stored
    measured = None
    if depth is not None and stored is not None:
        is_float = depth.dtype != np.uint16
        scale = data_set.float_depth_scale if is_float else data_set.depth_scale
        measured = measure_depth(depth, stored, scale, data.max_depth)
    return Probe(
        sample,
        _size(image),
        _size(depth if stored is None else stored),
        None if image is None else measure_image(image, sample.image_file),
        measured,
        kind,
        tuple(errors),
        orientation,
    )


def measure_image(image: np.ndarray, path: str) -> ImageStatistics:
    """image: uint8 RGB [H, W, 3]; the file is read again if it looks like a depth map."""
    few = image[::4, ::4]
    is_gray = bool((few == few[..., :1]).all())
    depth_like = is_gray and _as_stored(path)[0].startswith("16-bit with 1 ")
    return ImageStatistics(is_gray, bool((few == few[:1, :1]).all()), depth_like)


def measure_depth(
    depth: np.ndarray, stored: np.ndarray, scale: float, max_depth: float
) -> DepthStatistics:
    """depth: [H, W] as training reads it, uint16 or float; stored: as it is in the file.

    scale: stored numbers per meter.
    """
    is_float = depth.dtype != np.uint16
    placeholder = _placeholder(depth, max_depth * scale) if is_float else 0.0
    if placeholder:
        depth = np.where(depth == placeholder, 0, depth)
    codes, per_meter = _as_codes(depth / scale) if is_float else (depth, scale)
    counts = np.bincount(codes.ravel(), minlength=1 << 16)
    counts[0] = 0
    num_valid = int(counts.sum())
    largest_share = float((stored == NO_MEASUREMENT).mean())
    if num_valid == 0:
        return DepthStatistics(0.0, largest_share=largest_share)
    values = np.flatnonzero(counts)
    near, median, far = np.searchsorted(np.cumsum(counts) / num_valid, (0.05, 0.5, 0.95))
    beyond = counts[np.arange(1 << 16) >= max_depth * per_meter].sum()
    return DepthStatistics(
        valid_share=num_valid / depth.size,
        units=scale,
        is_float=is_float,
        median=median / per_meter,
        near=near / per_meter,
        far=far / per_meter,
        beyond_share=float(beyond / num_valid),
        num_values=len(values),
        step=float(np.median(np.diff(values))) / per_meter if len(values) > 1 else 0.0,
        largest_share=largest_share,
        placeholder=placeholder / scale,
        is_far_at_top=_is_far_at_top(depth),
        **({"largest": float(depth.max())} if is_float else _stored_values(stored)),
    )


def _placeholder(depth: np.ndarray, limit: float) -> float:
    """One number far beyond all others, as renderers write for the sky; 0: there is none."""
    largest = float(depth.max())
    below = depth[(depth > 0) & (depth < largest)]
    return largest if largest > limit and below.size and largest > 10 * below.max() else 0.0


def _as_codes(meters: np.ndarray) -> tuple[np.ndarray, float]:
    """Float meters as 16-bit numbers, and how many of them are a meter: millimeters if they fit."""
    per_meter = min(1000.0, 60000 / max(float(meters.max()), 1e-6))
    return np.ceil(meters * per_meter).astype(np.uint16), per_meter


def _stored_values(stored: np.ndarray) -> dict[str, Any]:
    """What 16-bit values tell of the unit they were written in."""
    counts = np.bincount(stored.ravel(), minlength=1 << 16)
    values = np.flatnonzero(counts[1:NO_MEASUREMENT]) + 1
    if not len(values):
        return {}
    low = counts[values[(values & 7) <= 1]].sum()
    return {
        "largest": float(values[-1]),
        "common_factor": int(np.gcd.reduce(values)),
        "rotated_share": float(low / counts[values].sum()),
        "millimeter_shares": millimeter_shares(values),
    }


def _is_far_at_top(depth: np.ndarray) -> bool | None:
    """None when too little is measured to say."""
    height = len(depth)
    top, bottom = depth[: height // 2], depth[2 * height // 3 :]
    top, bottom = top[top > 0], bottom[bottom > 0]
    if min(top.size, bottom.size) < 50:
        return None
    return bool(np.median(top) > np.median(bottom))


def _as_stored(path: str) -> tuple[str, np.ndarray | None]:
    """An image file's bits and channels, in text, and its pixels of 8 or 16 bits, if any."""
    if has_suffix(path, _NO_PICTURES):
        return "float", None
    try:
        data = np.frombuffer(read_stored(path), np.uint8)
    except OSError:
        return "unreadable", None
    array = cv2.imdecode(data, _AS_STORED) if data.size else None
    if array is None:
        return "unreadable", None
    channels = 1 if array.ndim == 2 else array.shape[2]
    plural = "" if channels == 1 else "s"
    kind = f"{8 * array.itemsize}-bit with {channels} channel{plural}"
    return kind, array if array.dtype in (np.uint8, np.uint16) else None


def _size(array: np.ndarray | None) -> Size | None:
    return None if array is None else (array.shape[0], array.shape[1])
