"""What a prediction is, and how it is asked for."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from common.errors import UserError
from common.evaluation.known_distance import DistanceCalibration, FocalRule, check_rule
from scripts.prediction.cameras import Intrinsics


@dataclass(frozen=True)
class Prediction:
    """Depth of one picture [H, W] of its own size, float32.

    depth: meters; nan where there is none. sampled_depth (meters) and log_depth_std (of ln depth):
    geometric mean and spread over sampled scenes; None: none were asked for. intrinsics: pixels of
    the picture; None: no camera is known. focal_factor: what depth was multiplied by, as focal_rule
    says. calibration: what was done to all depth after that; None: nothing. caption: what was read
    ("": no words), and caption_origin where it comes from. notes: one line each. scenes: [N, h, w]
    of the network's size, meters, each sampled scene; None: not to be kept.
    """

    depth: np.ndarray
    log_depth_std: np.ndarray | None
    intrinsics: Intrinsics | None
    notes: tuple[str, ...] = ()
    caption: str = ""
    caption_origin: str = ""
    focal_factor: float = 1.0
    sampled_depth: np.ndarray | None = None
    scenes: np.ndarray | None = None
    focal_rule: FocalRule = "none"
    calibration: DistanceCalibration | None = None

    def describe_scaling(self) -> dict[str, Any]:
        """What was done to the network's depth, as JSON files hold it."""
        return {
            "focal_rule": self.focal_rule,
            "focal_factor": self.focal_factor,
            "calibration": self.calibration and asdict(self.calibration),
        }


@dataclass(frozen=True)
class Asked:
    """How pictures are predicted.

    focal_rule: see `cameras.py`. samples: scenes to draw from what the words say; 0: none. seed: of
    their noise. calibration: by known distances, of all depth. keep_scenes: hand out each scene,
    not their mean and spread alone.
    """

    focal_rule: FocalRule = "none"
    samples: int = 0
    seed: int = 0
    calibration: DistanceCalibration | None = None
    keep_scenes: bool = False

    def __post_init__(self) -> None:
        if self.focal_rule not in ("none", "scale"):
            raise UserError(f"focal_rule must be none or scale, not {self.focal_rule!r}")
        if self.samples < 0 or self.samples == 1:
            raise UserError(f"samples: {self.samples} has no spread; ask for 2 or more, or for 0")
        if self.calibration is not None:
            rule = self.calibration.focal_rule
            check_rule(self.calibration, self.focal_rule, f"predict with --focal-rule {rule}")


PLAIN = Asked()
