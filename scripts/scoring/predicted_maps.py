"""Depth maps that any model has predicted, found in a folder by the keys of their images.

    kitchen/rgb_00045.jpg  ->  DIR/kitchen/rgb_00045.npy (meters) or .png (16 bits), ...

the name that `eval.py --save-predictions` gives them, with the suffix of any depth file.
"""

import argparse
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from common.data.batch import Failure
from common.errors import UserError
from common.evaluation.known_distance import DistanceCalibration, FocalRule, check_rule
from common.images.depth_files import SCALE_FILE, SCALE_KEY, depth_names, read_scale
from common.images.reading import NO_MEASUREMENT, read_numbers
from common.images.suffixes import DEPTH_SUFFIXES, has_suffix, without_suffix

# Where a map is there in several formats, the one that lost least is taken.
_ORDER = (".npy", ".npz", ".pfm", ".exr", ".tiff", ".tif", ".png")


@dataclass(frozen=True)
class PredictedMaps:
    """files: key -> its map's. missing: key -> where it would be. extra: depth files of no image.

    twins: files that are left for the same map in another format. given_scale: stored units of a
    meter in maps of whole numbers; None: JSON files say it.
    """

    folder: Path
    files: dict[str, Path]
    missing: dict[str, Path]
    extra: list[str]
    twins: list[str]
    given_scale: float | None = None

    def read(self, key: str) -> Tensor:
        """The map of an image, as it was predicted: float32 [H, W], meters, nan = no value.

        A `UserError` if it cannot be read, or nothing in it is a depth.
        """
        path = self.files[key]
        numbers = read_numbers(path)
        if numbers.dtype == np.uint16:
            is_value = (numbers != 0) & (numbers != NO_MEASUREMENT)
            meters = np.where(is_value, numbers / self.scale_of(path), np.nan)
        else:
            meters = numbers
        if not (np.isfinite(meters) & (meters > 0)).any():
            held = "0" if not numbers.any() else "0, below it or not finite"
            raise UserError(
                f"{path}: all {numbers.size:,} values are {held}; write this prediction again"
            )
        return torch.from_numpy(meters.astype(np.float32))

    def failure(self, key: str) -> Failure:
        """Of an image without a map."""
        return Failure(key, UserError(f"{key}: no prediction {self.missing[key]}.npy or .png"))

    def scale_of(self, path: Path) -> float:
        """Stored units of a meter: as given, else of the JSON beside the file, or of the folder."""
        if self.given_scale is not None:
            return self.given_scale
        beside = (path.with_suffix(".json"), self.folder / SCALE_FILE)
        found = (read_scale(file) for file in beside if file.is_file())
        scale = next((scale for scale in found if scale is not None), None)
        if scale is None:
            raise UserError(
                f"{path} holds whole numbers, and nothing says how many of them make a meter; give "
                f'--scale 1000 (millimeters), or write {{"{SCALE_KEY}": 1000}} to {beside[1]}'
            )
        return scale


@dataclass(frozen=True)
class MapFacts:
    """What the JSON of `predict.py` beside a map says of it, or `eval.py`'s for its folder.

    focal_rule: see `cameras.py`; None: not known. is_calibrated: by known distances. num_far:
    pixels that 16 bits did not hold.
    """

    focal_rule: FocalRule | None = None
    is_calibrated: bool = False
    num_far: int = 0


def read_facts(path: Path) -> MapFacts:
    """Of a map and its JSON; nothing is known where there is none, or another program's."""
    own = path.with_suffix(".json")
    beside = path.with_name(path.stem.removesuffix("_sampled") + ".json")
    places = (own, beside, *(folder / SCALE_FILE for folder in path.absolute().parents))
    try:
        found = next((place for place in places if place.is_file()), own)
        content = json.loads(found.read_text(encoding="utf-8"))
        factor, notes = content.get("focal_factor"), content.get("notes") or ()
        # Earlier versions wrote a note alone, and the page no rule.
        noted = any(str(note).startswith("calibrated: ") for note in notes)
        rule = content.get("focal_rule", factor and ("none" if factor == 1 else "scale"))
        far = (content.get("not_held_by_16_bits") or {}).get("num_far", 0)
        is_calibrated = noted or _is_by_distances(content.get("calibration"))
        return MapFacts(rule if rule in get_args(FocalRule) else None, is_calibrated, int(far))
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return MapFacts()  # any file's content


def _is_by_distances(calibration: object) -> bool:
    """Whether it is one of ours: files of other programs hold their camera's under that name."""
    return isinstance(calibration, dict) and {"fit", "factor"} <= set(calibration)


def check_maps(maps: PredictedMaps, calibration: DistanceCalibration) -> None:
    """Raise a `UserError` where a map is not of the kind that the calibration was made for."""
    for file in maps.files.values():
        facts = read_facts(file)
        if facts.is_calibrated:
            raise UserError(
                f"--calibration: {file} is calibrated already (the JSON beside it says so); leave "
                "it out, or predict without --calibrate and --calibration"
            )
        if facts.focal_rule is not None:
            rule = calibration.focal_rule
            check_rule(calibration, facts.focal_rule, f"predict {file} with --focal-rule {rule}")


def find_maps(folder: Path, keys: Iterable[str], given_scale: float | None = None) -> PredictedMaps:
    """A `UserError` if the folder has no map of any of these images."""
    if not folder.is_dir():
        raise UserError(f"--predictions: no folder {folder}")
    names = depth_names(keys)
    there = _depth_files(folder)
    files: dict[str, Path] = {}
    missing: dict[str, Path] = {}
    twins: list[str] = []
    for key, name in names.items():
        stem = name.removesuffix(".png")
        if stem not in there:
            missing[key] = folder / stem
            continue
        taken, *others = there[stem]
        files[key] = folder / taken
        twins += others
    if not files:
        raise UserError(_describe_none(folder, next(iter(names.values())), there))
    wanted = {name.removesuffix(".png") for name in names.values()}
    extra = [path for stem, found in there.items() if stem not in wanted for path in found]
    return PredictedMaps(folder, files, missing, extra, twins, given_scale)


def _depth_files(folder: Path) -> dict[str, list[str]]:
    """Path below the folder without suffix -> the files of this name, the best format first."""
    found: dict[str, list[str]] = {}
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            if has_suffix(name, DEPTH_SUFFIXES) and not name.startswith("."):
                path = (Path(place) / name).relative_to(folder).as_posix()
                found.setdefault(without_suffix(path), []).append(path)
    for files in found.values():
        files.sort(key=lambda path: _ORDER.index(Path(path).suffix.lower()))
    return dict(sorted(found.items()))


def _describe_none(folder: Path, expected: str, there: dict[str, list[str]]) -> str:
    stem = expected.removesuffix(".png")
    held = f"it holds {next(iter(there.values()))[0]}" if there else "it holds no depth files"
    return (
        f"{folder} has no prediction of any image of the split: expected {stem}.npy or {stem}.png, "
        f"as eval.py --save-predictions names them; {held}"
    )


def positive_number(text: str) -> float:
    """As `type` of an argument of argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value
