"""Who is shown the predictions of an evaluation while it goes on: none of it is kept for later."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from common.data.batch import Failure
from common.errors import UserError


@dataclass(frozen=True)
class ScoredImage:
    """One image as it was scored, in the protocol's frame.

    row: its scores. image: [3, H, W], as the network saw it. caption: the words it was given.
    pred_depth: [h, w], meters, any value; gt_depth: [h, w], meters, 0 = no measurement. valid:
    bool [h, w], True = scored. max_depth: meters. pred_size: height and width before the protocol
    brought the prediction into its frame. into_frame: does that with any map of this size.
    """

    row: dict[str, Any]
    image: Tensor
    caption: str
    pred_depth: Tensor
    gt_depth: Tensor
    valid: Tensor
    max_depth: float
    pred_size: tuple[int, int]
    into_frame: Callable[[Tensor], Tensor]

    def image_in_frame(self) -> Tensor:
        """The image where the prediction is in the frame: [3, h, w]."""
        image = self.image.float().to(self.pred_depth.device)
        if tuple(image.shape[-2:]) != self.pred_size:
            image = F.interpolate(image[None], self.pred_size, mode="area")[0]
        return torch.stack([self.into_frame(channel) for channel in image])


OnPrediction = Callable[[str, Tensor], None]
OnScored = Callable[[ScoredImage], None]


@dataclass(frozen=True)
class Watchers:
    """on_prediction: called with each image's key and the prediction [H, W], meters, that is
    scored, as it comes from the network. on_scored: called with each image that has a scored pixel.
    """

    on_prediction: OnPrediction | None = None
    on_scored: OnScored | None = None

    def hand_on(self, names: Sequence[str], pred_depth: Tensor) -> tuple["Watchers", list[Failure]]:
        """Hand a batch's predictions [B, 1, H, W] on; those to whom the next ones are handed."""
        if self.on_prediction is None:
            return self, []
        for name, pred in zip(names, pred_depth[:, 0], strict=True):
            try:
                self.on_prediction(name, pred)
            except UserError as error:  # a full disk is as full for the next image
                return replace(self, on_prediction=None), [Failure(name, error)]
        return self, []


NOBODY = Watchers()
