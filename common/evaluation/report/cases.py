"""The best and the worst images of an evaluation as pictures, drawn while it goes on.

Of each kind the NUM_KEPT most extreme so far are kept, as JPEG; the page shows NUM_SHOWN of them,
of different scenes where there are enough. Memory does not grow with the number of images.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from common.data.scenes import scene_labels
from common.evaluation.canvas import Rgb, with_margin
from common.evaluation.panels import comparison_tiles, denormalize, shared_range, strip
from common.evaluation.watchers import ScoredImage

NUM_SHOWN = 8
NUM_KEPT = 20  # of each kind; neighboring frames are nearly one picture, so more than are shown
JPEG_QUALITY = 88


@dataclass(frozen=True, order=True)
class ExtremeImage:
    """A picture. rank: the larger the more extreme; position: in the list, negative,
    which breaks ties."""

    rank: float
    position: int
    key: str
    jpeg: bytes


class Extremes:
    """The most extreme images so far by AbsRel. sign: 1 for the largest, -1 for the smallest."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.kept: list[ExtremeImage] = []  # a heap, the least extreme first

    def wants(self, scored: ScoredImage) -> bool:
        """Whether the image is among the most extreme so far."""
        rank, position = self._place(scored)
        return len(self.kept) < NUM_KEPT or (rank, position) > (
            self.kept[0].rank,
            self.kept[0].position,
        )

    def add(self, scored: ScoredImage, jpeg: bytes) -> None:
        """Keep a wanted image's picture."""
        self._keep(ExtremeImage(*self._place(scored), scored.row["image_path"], jpeg))

    def merge(self, others: Iterable[ExtremeImage]) -> None:
        """Keep the most extreme of both."""
        for case in others:
            self._keep(case)

    def shown(self, keys: Sequence[str]) -> list[ExtremeImage]:
        """The most extreme first, of different scenes before others. keys: of all images."""
        ordered = sorted(self.kept, reverse=True)
        scenes = dict(zip(keys, scene_labels(keys), strict=True))
        first: dict[str, ExtremeImage] = {}
        for case in ordered:
            first.setdefault(scenes[case.key], case)
        different = list(first.values())
        rest = [case for case in ordered if case not in different]
        return sorted((different + rest)[:NUM_SHOWN], reverse=True)

    def _place(self, scored: ScoredImage) -> tuple[float, int]:
        return self.sign * scored.row["abs_rel"], -scored.row["position"]

    def _keep(self, case: ExtremeImage) -> None:
        heapq.heappush(self.kept, case)
        if len(self.kept) > NUM_KEPT:
            heapq.heappop(self.kept)


def draw_case(scored: ScoredImage) -> bytes:
    """Input, prediction, ground truth and error of an image in one strip, as JPEG.

    Both depths share one range of colors, whose bar is in meters. The error is relative, drawn
    where pixels are scored.
    """
    image = denormalize(scored.image_in_frame())
    pred, gt = (depth.double().cpu().numpy() for depth in (scored.pred_depth, scored.gt_depth))
    valid = scored.valid.cpu().numpy()
    measured = np.isfinite(gt) & (gt > 0)
    low, high = shared_range(gt, valid, pred, valid & np.isfinite(pred))
    tiles = comparison_tiles(image, gt, pred, measured, low, high, scored=valid)
    picture, truth, predicted, error = tiles
    medians = [scored.row.get(key) for key in ("pred_median", "gt_median")]
    told = ["" if each is None else f", median {each:.3g} m" for each in medians]
    headings = ("input", f"prediction{told[0]}", f"ground truth{told[1]}", "relative error")
    rows = strip(headings, [picture, predicted, truth, error], "", (low, high))
    return _jpeg(with_margin(np.vstack(rows)))


def _jpeg(rgb: Rgb) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", rgb[..., ::-1], quality)[1].tobytes()
