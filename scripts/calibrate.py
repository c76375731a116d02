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
`eval.py --calibration FILE` and `score.py --calibration FILE` take what --output writes.
"""

import argparse
import json
import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.errors import UserError, run_program
from common.evaluation.known_distance import (
    Fit,
    Fitted,
    KnownDistance,
    calibrate,
    describe_fit,
    is_known_distance,
    read_known_distance,
    save_calibration,
)
from common.evaluation.results import align_columns
from common.files import check_output
from scripts.scoring.predicted_maps import PredictedMaps, positive_number

KnownPlace = tuple[Path, KnownDistance]


def main() -> None:
    """Fit, show what is left of the errors, and save what helps."""
    arguments = _parse()
    output = Path(arguments.output) if arguments.output else None
    if output:
        check_output(output)
    places = read_places(arguments.words)
    maps = {path: read_map(path, arguments.scale) for path, _ in places}
    predicted = [known.predicted(maps[path]) for path, known in places]
    fitted = calibrate(predicted, [known.meters for _, known in places], arguments.fit)
    print(describe(fitted, places, predicted))
    if not fitted.helps:
        raise UserError(
            "not kept: at places that were left out, predictions are better as they are; measure "
            "more places, or check the numbers above"
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


def read_map(path: Path, scale: float | None) -> np.ndarray:
    """float32 [H, W], meters; a warning where predict.py noted that 16 bits did not hold all."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):  # any file of this name
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        num_far = facts.get("not_held_by_16_bits", {}).get("num_far", 0)
        if num_far and path.suffix == ".png":
            print(
                f"warning: {path}: {num_far:,} pixels are farther than its 16 bits can say; take "
                f"{path.with_suffix('.npy').name}",
                file=sys.stderr,
            )
    return PredictedMaps(path.parent, {"": path}, {}, [], [], scale).read("").numpy()


def describe(fitted: Fitted, places: list[KnownPlace], predicted: list[float]) -> str:
    """Each place before and after, and the errors."""
    calibration = fitted.calibration
    lines = [["place", "known m", "predicted m", "calibrated m", "error"]]
    for (path, known), meters, residual in zip(places, predicted, fitted.residuals, strict=True):
        calibrated = f"{calibration.apply(np.array(meters)):.3f}"
        error = f"{100 * math.expm1(residual):+.1f} %"
        name = f"{path} {known.describe()}"
        lines.append([name, f"{known.meters:.3f}", f"{meters:.3f}", calibrated, error])
    return "\n".join((align_columns(lines), *describe_fit(fitted)))


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
