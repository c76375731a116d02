"""In which unit were depth maps stored, when they come out too near or too far?

guess_unit(stored_median=666, typical=2.6)      -> meters * 256
"""

import math
from dataclasses import dataclass

from common.data.data_config import DataConfig
from common.data.data_set import DepthRange
from common.data.sets.kitti import DATA_SET as KITTI


@dataclass(frozen=True)
class Unit:
    """A way in which depth is stored as 16-bit numbers."""

    scale: float  # stored value of one meter
    name: str


# Anybody's images: only what is far off is wrong.
NEAR = DepthRange(2.5, 0.3, 12.0, 0.05, 30.0, "rooms (data.max_depth is 20 m or less)")
FAR = DepthRange(13.0, 2.0, 60.0, 0.5, 200.0, "outdoor scenes (data.max_depth is above 20 m)")

UNITS = (
    Unit(1, "meters"),
    Unit(10, "decimeters"),
    Unit(25.5, "0 to 10 m spread over 0 to 255"),
    Unit(100, "centimeters"),
    Unit(256, "meters * 256, as KITTI stores it"),
    Unit(1000, "millimeters, as NYU stores it"),
    Unit(5000, "meters * 5000, as TUM RGB-D stores it"),
    Unit(10000, "tenths of a millimeter"),
)
ROTATED = Unit(8000, "millimeters with the bits rotated by 3, as SUN RGB-D stores it")


def range_of(data: DataConfig, size: tuple[int, int] | None) -> DepthRange:
    """The depths to expect in the configured data set, whose images have this (height, width)."""
    known = data.data_set.depth_range
    if known is None and size is not None and 370 <= size[0] <= 376 and 1224 <= size[1] <= 1242:
        known = KITTI.depth_range  # the sizes of its rectified frames
    if known is not None:
        return known
    return NEAR if data.max_depth <= 20 else FAR


def guess_unit(stored_median: float, typical: float, bits_are_rotated: bool = False) -> Unit:
    """The unit in which `stored_median` is nearest to `typical` meters."""
    if bits_are_rotated:
        return ROTATED
    return min(UNITS, key=lambda unit: abs(math.log(stored_median / unit.scale / typical)))


def unit_of(scale: float) -> str:
    """The name of the unit of which `scale` make a meter."""
    names = [unit.name for unit in UNITS if unit.scale == scale]
    return names[0] if names else f"meters * {scale:g}"
