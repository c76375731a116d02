"""What the page knows of one visitor."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.evaluation.known_distance import DistanceCalibration, Fitted
from scripts.page.lengths import KnownSpan, Point
from scripts.prediction.known import calibrated
from scripts.prediction.pictures import Picture
from scripts.prediction.result import Prediction


@dataclass(frozen=True)
class Scored:
    """A prediction against ground truth. rows: name and number of each metric, as text.

    panel: uint8 [h, w, 3]: picture, ground truth, prediction, error. note: how it was scored.
    """

    rows: tuple[tuple[str, str], ...]
    panel: np.ndarray
    note: str


@dataclass(frozen=True)
class PageState:
    """Of the picture that is shown: what was asked of it and found, None or empty before that.

    own, other, drawn: predictions as the network gives them, without calibration: for the caption,
    for the other words, with sampled scenes. points: pixels of the picture, (column, row). fitted:
    how the calibration was found. files: made to be downloaded.
    """

    picture: Picture | None = None
    own: Prediction | None = None
    other: Prediction | None = None
    drawn: Prediction | None = None
    points: tuple[Point, ...] = ()
    known: tuple[KnownSpan, ...] = ()
    fitted: Fitted | None = None
    scored: Scored | None = None
    files: tuple[Path, ...] = ()

    @property
    def calibration(self) -> DistanceCalibration | None:
        return self.fitted and self.fitted.calibration

    def shown(self, prediction: Prediction | None) -> Prediction | None:
        """One of the predictions after the calibration, if there is one."""
        return None if prediction is None else calibrated(prediction, self.calibration)
