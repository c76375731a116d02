"""Known distances make predictions metric: a fit of ln depth to a few points, in closed form.

    calibrated = factor * depth^exponent        ln d = exponent ln p + ln factor

    scale         exponent 1; factor = exp(mean(ln d - ln p)), one point or more
    scale_shift   both by least squares of ln d on ln p (scale and shift of ln depth), two or more

d: measured, p: predicted, both depths along the optical axis, in meters. Errors in ln are relative
ones: 0.1 is about 10 %.

A calibration belongs to depth as it was fitted: with the focal rule of those predictions, and to
none that is calibrated already. It says its rule, and `check_rule` compares.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from common.errors import UserError
from common.evaluation.results import align_columns
from common.text_files import write_json

Fit = Literal["scale", "scale_shift"]
FocalRule = Literal["none", "scale"]  # scale: depth grows with the focal length
Depth = TypeVar("Depth", bound=Any)  # a numpy array or a tensor
FEWEST: dict[Fit, int] = {"scale": 1, "scale_shift": 2}
_KNOWN = re.compile(r"(?P<place>-?\d+(?:,-?\d+)*)=(?P<meters>[^=]+)")


@dataclass(frozen=True)
class DistanceCalibration:
    """What to do to predictions in meters.

    num_points: that it was fitted to. focal_rule: of the predictions it was fitted to; None: not
    known, as in files of earlier versions and for maps of other programs.
    """

    fit: Fit
    factor: float
    exponent: float = 1.0
    num_points: int = 1
    focal_rule: FocalRule | None = None

    def apply(self, depth: Depth) -> Depth:
        """Depth of any shape, numpy or torch, meters -> meters; nan stays nan."""
        if self.exponent == 1.0:
            return depth * self.factor
        return self.factor * depth.clip(min=0) ** self.exponent

    def describe(self) -> str:
        """In a few words, for tables and files."""
        power = "" if self.exponent == 1.0 else f"^{self.exponent:.4g}"
        points = f"{self.num_points} known distance{'s' if self.num_points > 1 else ''}"
        return f"{self.factor:.4g} * depth{power}, from {points}"


@dataclass(frozen=True)
class KnownDistance:
    """The depth of a pixel, or the median depth of a box: columns x0 to x1, rows y0 to y1."""

    x0: int
    y0: int
    x1: int  # these two belong to it
    y1: int
    meters: float

    def describe(self) -> str:
        """As it is typed."""
        corners = [self.x0, self.y0]
        corners += [] if (self.x1, self.y1) == (self.x0, self.y0) else [self.x1, self.y1]
        return f"{','.join(map(str, corners))}={self.meters:g}"

    def predicted(self, depth: np.ndarray) -> float:
        """What a map [H, W] has there, meters. A `UserError` where it has nothing."""
        height, width = depth.shape
        if not (0 <= self.x0 <= self.x1 < width and 0 <= self.y0 <= self.y1 < height):
            raise UserError(
                f"{self.describe()}: not inside the picture of {height}x{width}; x (the column) is "
                f"0 to {width - 1}, y (the row) 0 to {height - 1}"
            )
        values = depth[self.y0 : self.y1 + 1, self.x0 : self.x1 + 1]
        usable = values[np.isfinite(values) & (values > 0)]
        if not usable.size:
            raise UserError(
                f"{self.describe()}: no depth was predicted there; choose another place"
            )
        return float(np.median(usable))


def is_known_distance(text: str) -> bool:
    """Whether it looks like `x,y=2.0` or `x0,y0,x1,y1=2.0`."""
    return _KNOWN.fullmatch(text) is not None


def read_known_distance(text: str) -> KnownDistance:
    """`x,y=2.0` (pixel: column, row, from 0; meters) or `x0,y0,x1,y1=2.0`, a box."""
    found = _KNOWN.fullmatch(text)
    place = [int(number) for number in found["place"].split(",")] if found else []
    try:
        meters = float(found["meters"]) if found else math.nan
    except ValueError:
        meters = math.nan
    if len(place) not in (2, 4) or not 0 < meters < math.inf:
        raise UserError(
            f"'{text}' is no known distance; write x,y=METERS for a pixel (column, row), as "
            "320,240=2.0, or x0,y0,x1,y1=METERS for a box"
        )
    x, y = sorted(place[0::2]), sorted(place[1::2])
    return KnownDistance(x[0], y[0], x[-1], y[-1], meters)


@dataclass(frozen=True)
class Fitted:
    """A calibration and how well it does. All errors: root mean square of ln pred - ln known.

    residuals: of each point after the fit, in ln. error_before, error_after: of the points that
    were fitted. held_out: of points that were each left out of the fit, for none and for every fit
    that has more points left than numbers to fit: three for the scale, four for both.
    """

    calibration: DistanceCalibration
    residuals: tuple[float, ...]
    error_before: float
    error_after: float
    held_out: dict[str, float]

    @property
    def helps(self) -> bool:
        """Whether held-out points say so; where there are too few, nothing speaks against it."""
        fit = self.calibration.fit
        if fit in self.held_out:
            return self.held_out[fit] < self.held_out["none"]
        return not _can_leave_one_out(self.calibration.num_points, fit)


def calibrate(
    predicted: Sequence[float],
    known: Sequence[float],
    fit: Fit | None = None,
    focal_rule: FocalRule | None = None,
) -> Fitted:
    """Fit N predicted depths to N known ones, all in meters and above 0.

    fit: None: the one that does better at points that were left out; the scale where there are too
    few to leave one out. focal_rule: of the predictions, None: not known. A `UserError` where the
    points do not allow it.
    """
    p, d = np.log(np.asarray(predicted, float)), np.log(np.asarray(known, float))
    held_out = _held_out(p, d)
    kinds: list[Fit] = [kind for kind in get_args(Fit) if kind in held_out] or ["scale"]
    best = min(kinds, key=lambda kind: held_out.get(kind, 0.0))
    chosen = best if fit is None else fit
    exponent, shift = _fit(p, d, chosen)
    residuals = exponent * p + shift - d
    calibration = DistanceCalibration(chosen, math.exp(shift), exponent, len(p), focal_rule)
    told = tuple(residuals.tolist())
    return Fitted(calibration, told, _rms(p - d), _rms(residuals), held_out)


def describe_fit(fitted: Fitted) -> list[str]:
    """What was fitted and how far off it is, one line each."""
    calibration = fitted.calibration
    text = [
        f"{calibration.fit}: {calibration.describe()}; rms error of ln depth at these places "
        f"{fitted.error_before:.4f} before, {fitted.error_after:.4f} after"
    ]
    if not fitted.held_out:
        return [*text, "too few places to leave one out: whether it helps elsewhere is not known"]
    parts = [f"{error:.4f} with {name}" for name, error in fitted.held_out.items()]
    parts += [
        f"no {fit} for some of the others"
        for fit in get_args(Fit)
        if fit not in fitted.held_out and _can_leave_one_out(calibration.num_points, fit)
    ]
    return [*text, f"at places left out of the fit: {', '.join(parts)}"]


def describe_places(
    fitted: Fitted, names: Sequence[str], known: Sequence[float], predicted: Sequence[float]
) -> str:
    """A table of each place before and after, and what `describe_fit` says; all in meters."""
    lines = [["place", "known m", "predicted m", "calibrated m", "error"]]
    for name, real, meters, residual in zip(names, known, predicted, fitted.residuals, strict=True):
        calibrated = f"{fitted.calibration.apply(np.array(meters)):.3f}"
        error = f"{100 * math.expm1(residual):+.1f} %"
        lines.append([name, f"{real:.3f}", f"{meters:.3f}", calibrated, error])
    return "\n".join((align_columns(lines), *describe_fit(fitted)))


def _fit(p: np.ndarray, d: np.ndarray, fit: Fit) -> tuple[float, float]:
    """Exponent and shift of ln depth. A `UserError` where the points do not allow it."""
    if len(p) < FEWEST[fit]:
        raise UserError(f"{fit} needs {FEWEST[fit]} known distances or more, not {len(p)}")
    if fit == "scale":
        return 1.0, float((d - p).mean())
    centered = p - p.mean()
    spread = float(centered @ centered)
    exponent = float(centered @ (d - d.mean())) / spread if spread > 1e-12 else 0.0
    if not exponent > 0:
        raise UserError(
            "scale_shift: among these places the known distances do not grow with the predicted "
            "ones; fit the scale alone (--fit scale), or measure nearer and farther places"
        )
    return exponent, float(d.mean()) - exponent * float(p.mean())


def _held_out(p: np.ndarray, d: np.ndarray) -> dict[str, float]:
    """Leave-one-out errors; a fit that some of the points do not allow is not among them."""
    judged = [fit for fit in get_args(Fit) if _can_leave_one_out(len(p), fit)]
    errors = {"none": _rms(p - d)} if judged else {}
    for fit in judged:
        try:
            errors[fit] = _rms(np.array([_error_of(row, p, d, fit) for row in range(len(p))]))
        except UserError:
            continue
    return errors


def _can_leave_one_out(num_points: int, fit: Fit) -> bool:
    """Whether the others are more than the numbers to fit."""
    return num_points - 1 > FEWEST[fit]


def _error_of(row: int, p: np.ndarray, d: np.ndarray, fit: Fit) -> float:
    """Of one point, by a fit of the others."""
    exponent, shift = _fit(np.delete(p, row), np.delete(d, row), fit)
    return float(exponent * p[row] + shift - d[row])


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))


def save_calibration(path: Path, fitted: Fitted) -> None:
    """As JSON for people and `read_calibration`."""
    errors = {
        "error_before": fitted.error_before,
        "error_after": fitted.error_after,
        "held_out": fitted.held_out,
    }
    write_json(path, {"calibration": asdict(fitted.calibration), "rms_error_of_ln_depth": errors})


def read_calibration(path: Path) -> DistanceCalibration:
    """Of `save_calibration`; a `UserError` if it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["calibration"]
        calibration = DistanceCalibration(**content)
        numbers = [calibration.factor, calibration.exponent, calibration.num_points]
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            raise TypeError("no numbers")
        numbers = list(map(float, numbers))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is no calibration; write one with scripts/calibrate.py") from error
    if calibration.fit not in get_args(Fit) or not all(0 < n < math.inf for n in numbers):
        raise UserError(
            f"{path}: fit must be one of {', '.join(get_args(Fit))}, and factor, exponent and "
            "num_points above 0; write it with scripts/calibrate.py"
        )
    if calibration.focal_rule not in (None, *get_args(FocalRule)):
        raise UserError(f"{path}: focal_rule must be one of {', '.join(get_args(FocalRule))}; "
                        "write it with scripts/calibrate.py")  # fmt: skip
    return calibration


def check_rule(calibration: DistanceCalibration, rule: FocalRule, fix: str) -> None:
    """A `UserError`, with what to do, where depth with this focal rule is not what it was made for.

    A calibration that does not say its rule is taken as it is.
    """
    if calibration.focal_rule not in (None, rule):
        raise UserError(
            f"the calibration was made for depth with focal rule {calibration.focal_rule}, this is "
            f"with {rule}; {fix}"
        )


def read_raw_calibration(path: Path) -> DistanceCalibration:
    """`read_calibration` for depth as a network gives it, which is what `eval.py` scores."""
    calibration = read_calibration(path)
    fix = f"make {path} from maps of --focal-rule none: eval.py never scales by the focal length"
    check_rule(calibration, "none", fix)
    return calibration
