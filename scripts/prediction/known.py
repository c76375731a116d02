"""A prediction made metric by known distances (`common/evaluation/known_distance.py`)."""

from collections.abc import Sequence
from dataclasses import replace

from common.evaluation.known_distance import (
    DistanceCalibration,
    Fit,
    Fitted,
    KnownDistance,
    calibrate,
    describe_places,
)
from scripts.prediction.result import Prediction


def calibrated(prediction: Prediction, calibration: DistanceCalibration | None) -> Prediction:
    """The same with calibrated depth, and a note; the spread of ln depth grows with the power."""
    if calibration is None:
        return prediction
    sampled, spread = prediction.sampled_depth, prediction.log_depth_std
    scenes = prediction.scenes
    return replace(
        prediction,
        depth=calibration.apply(prediction.depth),
        sampled_depth=None if sampled is None else calibration.apply(sampled),
        log_depth_std=None if spread is None else spread * calibration.exponent,
        scenes=None if scenes is None else calibration.apply(scenes),
        notes=(*prediction.notes, f"calibrated: {calibration.describe()}"),
        calibration=calibration,
    )


def calibrate_picture(
    prediction: Prediction, known: Sequence[KnownDistance], fit: Fit | None = None
) -> tuple[Fitted, str]:
    """By distances in this very picture, one or more; and what is left of the errors, in lines.

    fit: see `calibrate`. Whether it helps is to be asked of it.
    """
    predicted = [place.predicted(prediction.depth) for place in known]
    meters = [place.meters for place in known]
    fitted = calibrate(predicted, meters, fit, prediction.focal_rule)
    told = describe_places(fitted, [place.describe() for place in known], meters, predicted)
    return fitted, told
