"""In which unit were depth maps stored? What the values allow, and what they leave open.

    fitting_units(Stored(median=666, largest=1300), typical=2.6)     -> [meters * 256]
    fitting_units(Stored(median=17000, largest=40000), typical=2.6)  -> 6553.5, 5000, 10000, 4000

Rooms have depth of about 2.6 m and streets of about 10 m, but only about: units that differ by less
than the scenes do cannot be told apart by it, and the doctor must not pretend to.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from common.data.data_config import DataConfig
from common.data.data_set import DepthRange
from common.data.sets.kitti import DATA_SET as KITTI

FITS_WELL = 2.0  # a median fits that is off the usual one by less than this factor
ON_GRID = 0.98  # share of the values from which on they count as whole millimeters
_ENOUGH_VALUES = 50  # distinct ones: fewer are on some grid by chance


@dataclass(frozen=True)
class Unit:
    """A way in which depth is stored as numbers."""

    scale: float  # stored value of one meter
    name: str
    largest: float = math.inf  # stored value that there can be


@dataclass(frozen=True)
class Stored:
    """What the depth maps of a list hold, as stored.

    common_factor: of all values. bits_are_rotated: the lowest three are those of turned values.
    millimeter_shares: scale -> share of the distinct values that whole millimeters have in it.
    """

    median: float
    largest: float
    is_float: bool = False
    common_factor: int = 1
    bits_are_rotated: bool = False
    millimeter_shares: Mapping[float, float] = field(default_factory=dict)


# Anybody's images: only what is far off is wrong.
NEAR = DepthRange(2.5, 0.3, 12.0, 0.05, 30.0, "rooms (data.max_depth is 20 m or less)")
FAR = DepthRange(13.0, 2.0, 60.0, 0.5, 200.0, "outdoor scenes (data.max_depth is above 20 m)")

UNITS = (
    Unit(1, "meters"),
    Unit(10, "decimeters"),
    Unit(25.5, "0 to 10 m spread over 0 to 255", 255),
    Unit(39.37, "inches"),
    Unit(100, "centimeters"),
    Unit(256, "meters * 256, as KITTI stores it"),
    Unit(1000, "millimeters, as NYU stores it"),
    Unit(1310.7, "0 to 50 m spread over 16 bits"),
    Unit(4000, "quarters of a millimeter"),
    Unit(5000, "meters * 5000, as TUM RGB-D stores it"),
    Unit(6553.5, "0 to 10 m spread over 16 bits"),
    Unit(10000, "tenths of a millimeter"),
)
FLOAT_UNITS = (
    Unit(1 / 80, "0 to 80 m spread over 0 to 1", 1),
    Unit(0.1, "0 to 10 m spread over 0 to 1", 1),
    *UNITS,
)
# Near depth is eight times the millimeters then; what is beyond 8 m starts again from 0.
ROTATED = Unit(8000, "millimeters with the bits rotated by 3, as SUN RGB-D stores it")


def range_of(data: DataConfig, size: tuple[int, int] | None) -> DepthRange:
    """The depths to expect in the configured data set, whose images have this (height, width)."""
    known = data.data_set.depth_range
    if known is None and size is not None and 370 <= size[0] <= 376 and 1224 <= size[1] <= 1242:
        known = KITTI.depth_range  # the sizes of its rectified frames
    if known is not None:
        return known
    return NEAR if data.max_depth <= 20 else FAR


def fitting_units(stored: Stored, typical: float) -> list[Unit]:
    """The units in which the median is near `typical` meters, the nearest first.

    Where the values are whole millimeters in some of them, only these: the chance of that in a
    wrong unit is nil unless depth was rounded to several millimeters.
    """
    units = FLOAT_UNITS if stored.is_float else UNITS
    near = [
        unit
        for unit in units
        if stored.largest <= unit.largest and _distance(unit, stored, typical) <= FITS_WELL
    ]
    near.sort(key=lambda unit: _distance(unit, stored, typical))
    exact = [unit for unit in near if is_on_grid(unit.scale, stored)]
    if stored.bits_are_rotated:  # turned millimeters are multiples of 8, and so of 4 (quarters)
        return [ROTATED] if stored.common_factor in (1, 8) else [ROTATED, *exact]
    return exact or near


def _distance(unit: Unit, stored: Stored, typical: float) -> float:
    """The factor, 1 or more, between the median and the usual one."""
    ratio = stored.median / unit.scale / typical
    return max(ratio, 1 / ratio)


def is_usual(median: float, expected: DepthRange) -> bool:
    """Whether a median, in meters, is about what such scenes have."""
    return expected.typical / FITS_WELL <= median <= expected.typical * FITS_WELL


def is_on_grid(scale: float, stored: Stored) -> bool:
    """Whether the stored values are whole millimeters in this unit, which is finer than these."""
    return stored.millimeter_shares.get(scale, 0.0) >= ON_GRID


def millimeter_shares(values: np.ndarray) -> dict[float, float]:
    """Scale -> share of the distinct stored values that whole millimeters have in that unit.

    For the units that are finer than a millimeter; a value may have been rounded or cut off.
    """
    if len(values) < _ENOUGH_VALUES:
        return {}
    return {unit.scale: _share_on_grid(values, unit.scale) for unit in UNITS if unit.scale > 1000}


def _share_on_grid(values: np.ndarray, scale: float) -> float:
    step = scale / 1000
    rounded = np.abs(np.round(values / step) * step - values) <= 0.5
    cut_off = np.ceil(values / step) * step < values + 1
    return float(max(rounded.mean(), cut_off.mean()))


def unit_of(scale: float) -> str:
    """The name of the unit of which `scale` make a meter."""
    names = [unit.name for unit in UNITS if unit.scale == scale]
    return names[0] if names else f"meters * {scale:g}"
