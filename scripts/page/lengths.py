"""What a visitor knows of a picture: how far a point is, or how long it is between two points.

    P = Z ((u - cx) / fx, (v - cy) / fy, 1)        length = |P - Q|

A factor of all depth is one of all lengths, too, so both kinds fit one scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from common.evaluation.known_distance import Fitted, KnownDistance, calibrate
from scripts.prediction.cameras import Intrinsics
from scripts.prediction.result import Prediction

Point = tuple[int, int]  # column and row, pixels of the picture


@dataclass(frozen=True)
class KnownSpan:
    """The depth of `first` along the optical axis, or its distance to `second`; meters."""

    meters: float
    first: Point
    second: Point | None = None

    def describe(self) -> str:
        """As it stands in the table of the page."""
        x, y = self.first
        if self.second is None:
            return f"depth at {x},{y}"
        return f"length from {x},{y} to {self.second[0]},{self.second[1]}"

    def predicted(self, prediction: Prediction) -> float:
        """What a prediction says of it, meters; a `UserError` where it says nothing."""
        if self.second is None:
            return depth_at(prediction.depth, self.first)
        if prediction.intrinsics is None:
            raise UserError(
                "no camera is known for this picture, so there are no lengths in it: give its "
                "focal length, or the depth of points"
            )
        ends = [
            point_at(prediction.depth, prediction.intrinsics, place)
            for place in (self.first, self.second)
        ]
        length = float(np.linalg.norm(ends[0] - ends[1]))
        if not length > 0:
            raise UserError(f"{self.describe()}: the two points are one; choose another")
        return length


def depth_at(depth: np.ndarray, point: Point) -> float:
    """Of a map [H, W], meters; a `UserError` where it has nothing."""
    x, y = point
    return KnownDistance(x, y, x, y, meters=1.0).predicted(depth)


def point_at(depth: np.ndarray, camera: Intrinsics, point: Point) -> np.ndarray:
    """Where the pixel is in space, float64 [3]: x right, y down, z ahead, meters."""
    z = depth_at(depth, point)
    x, y = point
    return z * np.array([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, 1.0])


def check_meters(meters: object) -> float:
    """A distance that was typed; a `UserError` unless it is one."""
    if not isinstance(meters, int | float) or not 0 < meters < math.inf:
        raise UserError("type the distance in meters, a number above 0, as 2.4")
    return float(meters)


def fit_places(prediction: Prediction, places: Sequence[KnownSpan]) -> Fitted:
    """The calibration of a prediction; with a length among the places it is a scale alone.

    A `UserError` where there are no places, or it would not help at those left out.
    """
    if not places:
        raise UserError(
            "no distance is known yet: click the picture, type the distance in meters, and add it"
        )
    predicted = [place.predicted(prediction) for place in places]
    has_length = any(place.second is not None for place in places)
    fitted = calibrate(
        predicted,
        [place.meters for place in places],
        "scale" if has_length else None,
        prediction.focal_rule,
    )
    if not fitted.helps:
        raise UserError(
            "not calibrated: at places that were left out of the fit, depth is better as it is; "
            "add more places, or check the numbers"
        )
    return fitted
