"""Where pixels are wrong: by true depth and by place in the image, summed image by image.

Every scored pixel counts the same here, whatever its image; the published metrics are means over
images. Predictions are kept within [1e-3, max_depth] first, as for the metrics. With
r = (pred - gt) / gt, AbsRel is the mean of |r| and the bias is the mean of r.

Memory does not grow with the number of images: there are a few thousand sums.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.evaluation.metrics import MIN_DEPTH, positions_of, sanitize

# Ten bins per decade at the preferred numbers R10 (ISO 3), meters; their width grows with depth.
_STEPS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
EDGES = (
    MIN_DEPTH,
    *(round(step * 10.0**power, 6) for power in (-1, 0, 1, 2) for step in _STEPS),
    float("inf"),
)
ROWS, COLUMNS = 24, 32  # of the grid over the protocol's frame, whatever its size
_INNER = torch.tensor(EDGES[1:-1], dtype=torch.float64)


class DepthBin(NamedTuple):
    """Pixels whose true depth is in [low, high), meters.

    share: of all scored pixels. num_images: that have one of them. abs_rel, bias: see above; nan
    for no pixel. bias_m: mean of pred - gt, meters.
    """

    low: float
    high: float
    share: float
    num_pixels: int
    num_images: int
    abs_rel: float
    bias: float
    bias_m: float


@dataclass(frozen=True)
class PlaceErrors:
    """Errors by place, [ROWS, COLUMNS] each, the upper left corner first; nan for no pixel."""

    abs_rel: NDArray[np.float64]
    bias: NDArray[np.float64]
    share: NDArray[np.float64]


class PixelErrors:
    """Sums over scored pixels."""

    def __init__(self) -> None:
        # pixels, |r|, r, pred - gt, and images: by bin of true depth
        self.by_depth = np.zeros((5, len(EDGES) - 1))
        self.by_place = np.zeros((3, ROWS * COLUMNS))  # pixels, |r|, r
        self.frames = np.zeros(3)  # images, their heights and widths, px

    def add(self, pred_depth: Tensor, gt_depth: Tensor, valid: Tensor, max_depth: float) -> None:
        """Add one image: maps [h, w] in the protocol's frame; depth and max_depth in meters."""
        where = positions_of(valid)
        pred = sanitize(pred_depth.take(where), max_depth)[0].double()
        gt = gt_depth.take(where).double()
        error = pred - gt
        relative = error / gt
        height, width = valid.shape
        bins = torch.bucketize(gt, _INNER.to(gt.device), right=True)
        rows, columns = where // width * ROWS // height, where % width * COLUMNS // width
        ones = torch.ones_like(gt)
        by_depth = _sums(bins, (ones, relative.abs(), relative, error), len(EDGES) - 1)
        self.by_depth[:4] += by_depth
        self.by_depth[4] += by_depth[0] > 0
        places = rows * COLUMNS + columns
        self.by_place += _sums(places, (ones, relative.abs(), relative), ROWS * COLUMNS)
        self.frames += (1, height, width)

    def merge(self, other: "PixelErrors") -> None:
        """Add what another process has summed."""
        self.by_depth += other.by_depth
        self.by_place += other.by_place
        self.frames += other.frames

    @property
    def aspect(self) -> float:
        """Height of the frames over their width, on average."""
        return float(self.frames[1] / self.frames[2]) if self.frames[0] else ROWS / COLUMNS

    def depth_bins(self) -> list[DepthBin]:
        """From the first bin that has a pixel to the last."""
        pixels = self.by_depth[0]
        filled = np.flatnonzero(pixels)
        return [
            DepthBin(
                EDGES[k],
                EDGES[k + 1],
                pixels[k] / pixels.sum(),
                int(pixels[k]),
                int(self.by_depth[4, k]),
                *(float(total / pixels[k]) if pixels[k] else float("nan") for total in sums[1:4]),
            )
            for k in range(filled[0], filled[-1] + 1)
            for sums in [self.by_depth[:, k]]
        ]

    def places(self) -> PlaceErrors:
        """Errors by place in the image."""
        pixels, absolute, signed = self.by_place.reshape(3, ROWS, COLUMNS)
        count = np.where(pixels > 0, pixels, np.nan)
        return PlaceErrors(absolute / count, signed / count, pixels / max(pixels.sum(), 1.0))


def _sums(index: Tensor, values: tuple[Tensor, ...], num_bins: int) -> NDArray[np.float64]:
    """Of each of `values` [n] by bin: [V, num_bins]. index: int64 [n]."""
    sums = [torch.bincount(index, weights=each, minlength=num_bins) for each in values]
    return torch.stack(sums).cpu().numpy()
