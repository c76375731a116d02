"""Findings of a decoded sample that concern depth: range, valid share, resolution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median

from common.data.data_config import DataConfig
from common.data.data_set import DepthRange
from scripts.doctor_checks.findings import Finding, advice, fine, note, problem, settings
from scripts.doctor_checks.judge_unit import Measured, judge_unit
from scripts.doctor_checks.pixels import DepthStatistics, Probe
from scripts.doctor_checks.units import is_usual, range_of

FEW_VALID = 0.01  # a single LiDAR sweep still covers 3 % of a KITTI frame
SPARSE = 0.30
COARSE_METERS = 0.02
_MADE_AGAIN = "make these maps again, or take their lines off the list"


def judge_depth(name: str, probes: Sequence[Probe], data: DataConfig) -> list[Finding]:
    """Everything about the depth values of list `name`."""
    all_maps = [(p.sample.depth_file, p.depth) for p in probes if p.depth is not None]
    maps = [(file, depth) for file, depth in all_maps if depth.valid_share > 0]
    findings = _empty(name, all_maps)
    if not maps:
        return findings
    sizes = Counter(p.depth_size for p in probes if p.depth is not None)
    expected = range_of(data, sizes.most_common(1)[0][0])
    units = _not_rotated(name, maps) if data.data_set.rotated_bits else []
    units = units or judge_unit(name, maps, data, expected)
    findings += _flat(name, maps) + units
    if not any(f.level == "problem" for f in units):
        findings += _far_off(name, maps, expected) + _beyond(name, maps, data.max_depth, expected)
    findings += _upside_down(name, maps, is_known=data.data_set.depth_range is not None)
    findings += _few_valid(name, maps) + _notes(name, maps)
    if not any(f.level == "problem" for f in findings):
        findings.insert(0, _summary(name, maps))
    return findings


def _summary(name: str, maps: list[Measured]) -> Finding:
    middle, share = _middle(maps, "median"), _middle(maps, "valid_share")
    near, far = _middle(maps, "near"), _middle(maps, "far")
    return fine(
        "depth",
        f"{name}: median {middle:.2f} m, 5-95 % {near:.2f}-{far:.2f} m, {share:.0%} of the pixels",
    )


def _middle(maps: list[Measured], value: str) -> float:
    return median(float(vars(depth)[value]) for _, depth in maps)


def _cases(maps: list[Measured], is_case: Callable[[DepthStatistics], bool]) -> list[str]:
    return [file for file, depth in maps if is_case(depth)]


def _empty(name: str, maps: list[Measured]) -> list[Finding]:
    empty = _cases(maps, lambda depth: depth.valid_share == 0)
    if not empty:
        return []
    text = f"{name}: {len(empty)} of {len(maps)} depth maps have no measurement at all"
    cause = "a failed conversion, or maps of another frame; such an image teaches nothing"
    return [problem("empty_depth", text, empty, cause, advice(_MADE_AGAIN))]


def _flat(name: str, maps: list[Measured]) -> list[Finding]:
    flat = _cases(maps, lambda depth: depth.num_values == 1)
    if not flat:
        return []
    text = f"{name}: {len(flat)} of {len(maps)} depth maps hold one value only"
    cause = "placeholders, or a failed conversion"
    return [problem("constant_depth", text, flat, cause, advice(_MADE_AGAIN))]


def _not_rotated(name: str, maps: list[Measured]) -> list[Finding]:
    """Maps whose bits are to be turned back, and are not turned."""
    cases = _cases(maps, lambda depth: not depth.is_float and depth.rotated_share < 0.5)
    if not cases:
        return []
    text = f"{name}: {len(cases)} of {len(maps)} depth maps do not have SUN RGB-D's rotated bits"
    cause = "they were converted to plain millimeters, and would be rotated a second time"
    if len(cases) == len(maps):
        return [problem("wrong_unit", text, cases, cause, settings("data.rotated_bits=false"))]
    fix = advice("some are converted and some are not: take all of them from SUN RGB-D's archive")
    return [problem("wrong_unit", text, cases, cause, fix)]


def _far_off(name: str, maps: list[Measured], expected: DepthRange) -> list[Finding]:
    """Single maps that cannot have the unit of the others."""
    low, high = expected.file_low, expected.file_high
    cases = _cases(maps, lambda d: d.num_values > 1 and not low <= d.median <= high)
    if not cases:
        return []
    text = f"{name}: the median of {len(cases)} of {len(maps)} maps is outside {low:g}-{high:g} m"
    cause = "maps of another unit or another data set among the others"
    return [problem("wrong_unit", text, cases, cause, advice(_MADE_AGAIN))]


def _beyond(
    name: str, maps: list[Measured], max_depth: float, expected: DepthRange
) -> list[Finding]:
    share = sum(depth.beyond_share for _, depth in maps) / len(maps)
    if share < 0.05:
        return []
    cases = _cases(maps, lambda depth: depth.beyond_share > 0.05)
    text = f"{name}: {share:.0%} of the measured depth lies beyond data.max_depth {max_depth:g} m"
    cause = "data.max_depth is too small for these scenes, or the maps have another unit"
    make = problem if share > 0.25 else note
    far = max(depth.far for _, depth in maps)
    word = f"data.max_depth={10 * math.ceil(far / 10)}"
    is_clear = is_usual(_middle(maps, "median"), expected)
    fix = settings(word) if is_clear else advice(f"if the unit is right, set {word}")
    return [make("beyond_max_depth", text, cases, cause, fix)]


def _upside_down(name: str, maps: list[Measured], is_known: bool) -> list[Finding]:
    known = [depth.is_far_at_top for _, depth in maps if depth.is_far_at_top is not None]
    if len(known) < 8 or sum(known) > 0.25 * len(known):
        return []
    num_inverted = len(known) - sum(known)
    text = f"{name}: in {num_inverted} of {len(known)} maps the ground is farther than the top"
    cause = "disparity or inverse depth instead of depth, or maps stored upside down"
    make = problem if is_known else note
    return [make("inverted_depth", text, cause=cause, fix=advice("write the maps anew as depth"))]


def _few_valid(name: str, maps: list[Measured]) -> list[Finding]:
    few = _cases(maps, lambda depth: depth.valid_share < FEW_VALID)
    if not few:
        return []
    text = f"{name}: {len(few)} of {len(maps)} maps measure less than {FEW_VALID:.0%} of the pixels"
    cause = "almost empty maps: a failed projection, or a mask that was applied twice"
    make = problem if len(few) > 0.02 * len(maps) else note
    return [make("few_valid", text, few, cause, advice("make these maps again"))]


def _notes(name: str, maps: list[Measured]) -> list[Finding]:
    """What is special about good data."""
    share, step = _middle(maps, "valid_share"), _middle(maps, "step")
    findings = []
    if FEW_VALID <= share < SPARSE:
        text = f"{name}: {share:.1%} of the pixels are measured: sparse depth, as from a LiDAR"
        findings.append(note("sparse_depth", text))
    filled = _cases(maps, lambda depth: depth.valid_share == 1)
    if len(filled) > 0.5 * len(maps):
        text = f"{name}: every pixel has a value: filled-in or rendered maps, not raw sensor depth"
        findings.append(note("filled_depth", text))
    if step >= COARSE_METERS and _middle(maps, "num_values") <= 1024:
        text = f"{name}: depth was rounded to steps of {1000 * step:.0f} mm before it was stored"
        findings.append(note("coarse_depth", text))
    largest = _cases(maps, lambda depth: depth.largest_share > 0)
    if largest:
        text = f"{name}: {len(largest)} maps use 65535, which is read as 'no measurement'"
        findings.append(note("largest_value", text, largest))
    return findings + _placeholders(name, maps)


def _placeholders(name: str, maps: list[Measured]) -> list[Finding]:
    """Numbers of floats that are no depth; training leaves them out, as all beyond max_depth."""
    values = [depth.placeholder for _, depth in maps if depth.placeholder]
    if not values:
        return []
    text = f"{name}: {len(values)} of {len(maps)} maps hold {max(values):.4g} m for no measurement"
    cause = "the sky, or holes; it is beyond data.max_depth, and so is not used"
    fix = advice("nothing needs to be done; with 0 there, the share of used ground truth is true")
    cases = _cases(maps, lambda depth: depth.placeholder > 0)
    return [note("placeholder_depth", text, cases, cause, fix)]
