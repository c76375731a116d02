"""Findings about the unit of depth maps: it is wrong, or the values alone do not tell it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from common.data.data_config import DataConfig
from common.data.data_set import DepthRange
from common.data.sets import DATA_SETS
from common.data.sets.sun_rgbd import DATA_SET as SUN_RGBD
from scripts.doctor_checks.findings import Finding, Fix, advice, note, problem, settings
from scripts.doctor_checks.pixels import DepthStatistics
from scripts.doctor_checks.units import (
    ROTATED,
    Stored,
    Unit,
    fitting_units,
    is_on_grid,
    is_usual,
    unit_of,
)

Measured = tuple[str, DepthStatistics]  # depth file and its statistics

_ROTATED_SHARE = 0.98  # of the pixels, from which on the bits count as turned


def judge_unit(
    name: str, maps: Sequence[Measured], data: DataConfig, expected: DepthRange
) -> list[Finding]:
    """`wrong_unit` or `depth_unit` of list `name`; 16-bit and float maps are judged apart."""
    groups = [[m for m in maps if m[1].is_float == is_float] for is_float in (False, True)]
    return [f for group in groups if group for f in _judge(name, group, data, expected)]


def _judge(
    name: str, maps: list[Measured], data: DataConfig, expected: DepthRange
) -> list[Finding]:
    scale, stored = maps[0][1].units, _stored(maps, data.data_set.rotated_bits)
    middle = stored.median / scale
    others = [unit for unit in fitting_units(stored, expected.typical) if unit.scale != scale]
    is_plausible = expected.low <= middle <= expected.high
    # Plain depth has every value in its lowest bits, or none; turned depth beyond 8 m has a 1.
    is_surely_rotated = stored.bits_are_rotated and stored.common_factor == 1
    if not is_plausible or is_surely_rotated:
        text = (
            f"{name}: the median depth is {middle:.3g} m; {expected.about} have "
            f"{expected.low:g}-{expected.high:g} m"
        )
        cause, fix = _wrong(stored, scale, others)
        return [problem("wrong_unit", text, [file for file, _ in maps], cause, fix)]
    if is_on_grid(scale, stored) or _is_known(data, stored.is_float, bool(others)):
        return []
    text = f"{name}: depth is read as {unit_of(scale)}, which makes a median of {middle:.3g} m"
    if not others:
        cause = "no other usual unit fits, but the values alone prove none"
        return [note("depth_unit", text, cause=cause, fix=advice("look at a distance you know"))]
    doubt = "the values alone do not prove it; they also fit"
    if is_on_grid(others[0].scale, stored):
        doubt = "the values are whole millimeters in"
    elif not is_usual(middle, expected):
        doubt = f"{expected.about} usually have about {expected.typical:g} m; that fits"
    cause = f"{doubt} {_listed(others, stored)}"
    fix = advice(f"if a distance you know comes out wrong, set {_keys(others, stored)}")
    return [note("depth_unit", text, cause=cause, fix=fix)]


def _wrong(stored: Stored, scale: float, others: list[Unit]) -> tuple[str, Fix]:
    """The likely cause, and what to do; settings only where one unit fits."""
    if not others:
        key = "data.float_depth_scale" if stored.is_float else "data.depth_scale"
        cause = f"depth is read as {unit_of(scale)}; no usual unit gives a plausible median"
        return cause, advice(f"find out how many stored units a meter has and set {key} to it")
    if len(others) == 1:
        cause = f"depth looks like it is stored as {others[0].name}, and is read as "
        return cause + unit_of(scale), settings(_setting(others[0], stored))
    cause = f"depth is read as {unit_of(scale)}; several units fit: {_listed(others, stored)}"
    return cause, advice(
        "find out which one it is, from the data's description or a distance you know, and set "
        f"{_keys(others, stored)}"
    )


def _is_known(data: DataConfig, is_float: bool, others_fit: bool) -> bool:
    """Whether nobody had to guess: the unit is the data set's own, or the only one for these."""
    own = DATA_SETS[data.name]
    key = "float_depth_scale" if is_float else "depth_scale"
    is_own = getattr(data, key) in (None, getattr(own, key))
    return is_own and (own.depth_range is not None or not others_fit)


def _stored(maps: list[Measured], bits_are_turned_back: bool) -> Stored:
    """The maps of a list as one."""
    all_of = [depth for _, depth in maps]
    middle = median(depth.median * depth.units for depth in all_of)
    shares = [depth.millimeter_shares for depth in all_of if depth.millimeter_shares]
    rotated = median(depth.rotated_share for depth in all_of) >= _ROTATED_SHARE
    rooms = SUN_RGBD.depth_range
    assert rooms is not None
    is_room = rooms.low <= middle / ROTATED.scale <= rooms.high
    return Stored(
        middle,
        max(depth.largest for depth in all_of),
        all_of[0].is_float,
        math.gcd(*(depth.common_factor for depth in all_of)),
        rotated and is_room and not bits_are_turned_back,
        {scale: median(s[scale] for s in shares) for scale in (shares[0] if shares else ())},
    )


def _setting(unit: Unit, stored: Stored) -> str:
    if unit is ROTATED:
        return "data.rotated_bits=true"
    return f"data.{'float_' if stored.is_float else ''}depth_scale={unit.scale:g}"


def _keys(units: list[Unit], stored: Stored) -> str:
    return " or ".join(_setting(unit, stored) for unit in units)


def _listed(units: list[Unit], stored: Stored) -> str:
    return ", ".join(f"{unit.name} ({stored.median / unit.scale:.3g} m)" for unit in units)
