"""Make predictions metric with distances that are known: a tape measure, a door of 2 meters.

  python scripts/calibrate.py kitchen.npy 320,240=2.0
  python scripts/calibrate.py kitchen.npy 320,240=2.0 100,50,140,90=3.1 hall.npy 12,30=4.4
      --output calibration.json

Each predicted depth map (.npy in meters, or 16-bit PNG with its scale in the JSON beside it or as
--scale) is followed by the places in it whose depth is known: `x,y=METERS` for a pixel (column and
row from 0), `x0,y0,x1,y1=METERS` for the median of a box. Depth is along the optical axis.

Two fits of the logarithm of depth: `scale` multiplies, `scale_shift` is a power as well, for which
two places must be known. The error at places that were left out chooses the fit, and keeps it only
if it helps: the scale from three places on, the power from four; with fewer the scale is taken.
`predict.py`, `eval.py` and `score.py` take what --output writes as --calibration FILE. It says the
focal rule of the maps, and is refused for depth of another one; maps that are calibrated already
are refused here.
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.errors import UserError, run_program
from common.evaluation.known_distance import (
    Fit,
    FocalRule,
    KnownDistance,
    calibrate,
    describe_places,
    is_known_distance,
    read_known_distance,
    save_calibration,
)
from common.files import check_output
from scripts.scoring.predicted_maps import (
    MapFacts,
    PredictedMaps,
    positive_number,
    read_facts,
)

KnownPlace = tuple[Path, KnownDistance]


def main() -> None:
    """Fit, show what is left of the errors, and save what helps."""
    arguments = _parse()
    output = Path(arguments.output) if arguments.output else None
    if output:
        check_output(output)
    places = read_places(arguments.words)
    facts = {path: read_facts(path) for path, _ in places}
    rule = common_rule(facts)
    maps = {path: read_map(path, arguments.scale, facts[path]) for path in facts}
    predicted = [known.predicted(maps[path]) for path, known in places]
    meters = [known.meters for _, known in places]
    fitted = calibrate(predicted, meters, arguments.fit, rule)
    names = [f"{path} {known.describe()}" for path, known in places]
    print(describe_places(fitted, names, meters, predicted))
    if not fitted.helps:
        raise UserError(
            "not kept: at places that were left out, predictions are better as they are; measure "
            "more places, or check the numbers above"
        )
    if rule is None:
        print(
            "note: nothing says which --focal-rule the maps are of: it is taken to be the same "
            "wherever the calibration is used",
            file=sys.stderr,
        )
    if output:
        save_calibration(output, fitted)
        print(f"saved: {output}")


def read_places(words: list[str]) -> list[KnownPlace]:
    """Each known distance with the depth map that is named before it."""
    places: list[KnownPlace] = []
    path: Path | None = None
    for word in words:
        if not is_known_distance(word) and "=" not in word:
            path = Path(word)
        elif path is None:
            raise UserError(f"name a depth map before {word}, as kitchen.npy {word}")
        else:
            places.append((path, read_known_distance(word)))
    if not places:
        raise UserError("no known distance; write x,y=METERS behind a depth map")
    return places


def common_rule(facts: dict[Path, MapFacts]) -> FocalRule | None:
    """The focal rule of all maps; None: nothing says it. A `UserError` unless one fit is for all.

    Nor may they be calibrated: a calibration of that depth would be used on other depth.
    """
    for path, own in facts.items():
        if own.is_calibrated:
            raise UserError(
                f"{path} is calibrated already (the JSON beside it says so); predict it again "
                "without --calibrate and --calibration"
            )
    by_rule = {own.focal_rule: path for path, own in facts.items() if own.focal_rule is not None}
    if len(by_rule) > 1:
        told = ", ".join(f"{path} with {rule}" for rule, path in by_rule.items())
        raise UserError(f"depth of two focal rules: {told}; predict all with one --focal-rule")
    return next(iter(by_rule), None)


def read_map(path: Path, scale: float | None, facts: MapFacts) -> np.ndarray:
    """float32 [H, W], meters; a warning where predict.py noted that 16 bits did not hold all."""
    if facts.num_far and path.suffix == ".png":
        print(
            f"warning: {path}: {facts.num_far:,} pixels are farther than its 16 bits can say; take "
            f"{path.with_suffix('.npy').name}",
            file=sys.stderr,
        )
    return PredictedMaps(path.parent, {"": path}, {}, [], [], scale).read("").numpy()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("words", nargs="+", metavar="DEPTH x,y=METERS", help="depth maps, each with its places")
    add("--fit", choices=get_args(Fit), help="default: what held-out places say")
    add("--scale", type=positive_number, help="stored units of a meter in 16-bit PNG")
    add("--output", metavar="FILE.json", help="save the calibration")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    run_program(main)
