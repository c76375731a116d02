"""Predicted maps in the place of a network."""

import numpy as np
import torch
from torch import Tensor

from common.data.batch import Batch
from common.errors import UserError
from common.evaluation.known_distance import DistanceCalibration
from scripts.scoring.predicted_maps import PredictedMaps, read_facts

ASPECT_TOLERANCE = 0.02  # network sizes are multiples of 32: a little stretched is usual


class MapReader:
    """Stands in for a network: gives the map of a batch's one image."""

    def __init__(
        self,
        maps: PredictedMaps,
        crop_size: tuple[int, int] | None,
        calibration: DistanceCalibration | None = None,
    ) -> None:
        """crop_size: of the data set's images, if a network is given crops."""
        self.maps, self.crop_size, self.calibration = maps, crop_size, calibration
        self.stretched: list[str] = []
        self.num_without, self.without_values, self.num_calibrated = 0, 0, 0

    def predict(self, batch: Batch) -> Tensor:
        """[1, 1, H, W], meters. A `UserError` if the image's map is unusable."""
        (key,), (gt,) = batch.key, batch.gt_depth
        depth = self.maps.read(key)
        self.num_calibrated += read_facts(self.maps.files[key]).is_calibrated
        self._check_size(key, (depth.shape[0], depth.shape[1]), (gt.shape[-2], gt.shape[-1]))
        num_without = int((~torch.isfinite(depth)).sum())
        self.num_without += num_without > 0
        self.without_values += num_without
        return (self.calibration.apply(depth) if self.calibration else depth)[None, None]

    def _check_size(self, key: str, own: tuple[int, int], gt: tuple[int, int]) -> None:
        if own == gt or own == self.crop_size:
            return
        if self.crop_size is not None:
            raise UserError(
                f"{self.maps.files[key]} is {own[0]}x{own[1]}; predictions of this data set must "
                f"be of the whole frame, {gt[0]}x{gt[1]}, or of its crop, "
                f"{self.crop_size[0]}x{self.crop_size[1]} (bottom, centered): resize them first"
            )
        if abs(np.log(own[0] / own[1] * gt[1] / gt[0])) > ASPECT_TOLERANCE:
            self.stretched.append(f"{key} ({own[0]}x{own[1]}, ground truth {gt[0]}x{gt[1]})")

    def notes(self) -> list[str]:
        """What a reader of the numbers should know of the maps."""
        notes = []
        if self.stretched:
            notes.append(
                f"warning: {len(self.stretched)} predictions have another shape than their ground "
                f"truth and are stretched to it, first {self.stretched[0]}; crops would be "
                "compared with other places"
            )
        if self.num_without:
            notes.append(
                f"warning: {self.num_without} predictions have {self.without_values:,} values that "
                "are not finite (or 0 or 65535 in whole numbers, no value); they are scored as "
                "the least depth, 0.001 m, infinite ones as the largest"
            )
        return notes
