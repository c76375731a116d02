"""States as pictures, uint8 RGB [h, w, 3]."""

from collections.abc import Sequence

import cv2
import numpy as np

from common.evaluation.canvas import (
    colorize,
    draw_color_bar,
    fit,
    side_by_side,
    text_strip,
    with_margin,
    wrap_text,
)
from common.evaluation.panels import ERROR_COLORS, depth_range, picture_tile
from scripts.page.lengths import Point
from scripts.prediction.outputs import draw_depth, drawn_height
from scripts.prediction.result import Prediction

_WIDTHS = (480, 960)  # px, of a picture on the page
_MARK, _PAPER = (255, 64, 64), (255, 255, 255)


def shown_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) on the page of a picture [H, W, ...]; see `drawn_height`."""
    width = int(np.clip(shape[1], *_WIDTHS))
    return width, drawn_height(shape, width)


def draw_picture(rgb: np.ndarray, points: Sequence[Point] = ()) -> np.ndarray:
    """A picture [H, W, 3] as large as on the page, with numbered points of it."""
    size = shown_size(rgb.shape)
    drawn = np.ascontiguousarray(picture_tile(rgb, size))
    for number, (x, y) in enumerate(points, 1):
        place = (
            int((x + 0.5) * size[0] / rgb.shape[1]),
            int((y + 0.5) * size[1] / rgb.shape[0]),
        )
        for color, extra in ((_PAPER, 2), (_MARK, 0)):
            cv2.circle(drawn, place, 6, color, 2 + extra, cv2.LINE_AA)
            corner = (place[0] + 10, place[1] - 8)
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(drawn, str(number), corner, font, 0.6, color, 2 + extra, cv2.LINE_AA)
    return drawn


def to_picture(shape: tuple[int, ...], column: float, row: float) -> Point:
    """The pixel of a picture [H, W, ...] that is drawn at a place on the page."""
    width, height = shown_size(shape)
    x, y = int((column + 0.5) * shape[1] / width), int((row + 0.5) * shape[0] / height)
    return min(max(x, 0), shape[1] - 1), min(max(y, 0), shape[0] - 1)


def draw_comparison(first: Prediction, second: Prediction) -> np.ndarray:
    """Both depths of one picture in the same colors."""
    both = np.stack([first.depth, second.depth])
    limits = depth_range(both, np.isfinite(both))
    return side_by_side([draw_depth(p.depth, p.caption, limits) for p in (first, second)])


def draw_scene(drawn: Prediction, number: int) -> np.ndarray:
    """One of the sampled scenes, in the colors of them all."""
    assert drawn.scenes is not None
    limits = depth_range(drawn.scenes, np.isfinite(drawn.scenes))
    scene = drawn.scenes[number]
    width, height = shown_size(drawn.depth.shape)
    smooth = cv2.resize(scene, (width, height), interpolation=cv2.INTER_LINEAR)
    return draw_depth(smooth, f"scene {number + 1} of {len(drawn.scenes)}", limits)


def draw_spread(drawn: Prediction) -> np.ndarray:
    """The standard deviation of ln depth over the scenes, with a bar in percent."""
    assert drawn.log_depth_std is not None
    spread = 100 * drawn.log_depth_std
    seen = np.isfinite(spread)
    high = max(float(np.percentile(spread[seen], 99)), 0.1) if seen.any() else 1.0
    size = shown_size(spread.shape)
    tile = fit(colorize(spread / high, seen, ERROR_COLORS), size)
    bar = draw_color_bar(size[0], 0.0, high, ERROR_COLORS, "%")
    words = "spread of the scenes: standard deviation of ln depth"
    return with_margin(np.vstack([tile, bar, text_strip(wrap_text(words, size[0]), size[0])]))
