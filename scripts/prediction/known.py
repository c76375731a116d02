"""A prediction made metric by known distances (`common/evaluation/known_distance.py`)."""

from collections.abc import Sequence
from dataclasses import replace

from common.errors import UserError
from common.evaluation.known_distance import DistanceCalibration, KnownDistance, calibrate
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
    )


def calibrated_by(prediction: Prediction, known: Sequence[KnownDistance]) -> Prediction:
    """By distances in this very picture; a `UserError` where they do not make it better."""
    if not known:
        return prediction
    predicted = [place.predicted(prediction.depth) for place in known]
    fitted = calibrate(predicted, [place.meters for place in known])
    if not fitted.helps:
        raise UserError(
            "--calibrate: at places that were left out of the fit, depth is better as it is; "
            "measure more places, or check the numbers"
        )
    return calibrated(prediction, fitted.calibration)
