"""What the programs about words draw: a strip of answers, and rows of sampled scenes."""

from collections.abc import Sequence

import cv2
import numpy as np

from common.evaluation.canvas import (
    DEPTH_COLORS,
    FAINT_INK,
    GAP,
    INK,
    LINE_HEIGHT,
    FloatMap,
    Rgb,
    blank,
    depth_to_color,
    draw_color_bar,
    fit,
    put_text,
    side_by_side,
    text_strip,
    text_width,
    with_margin,
    wrap_text,
)
from common.evaluation.panels import depth_range
from common.pages.axes import nice_ticks

TILE_WIDTH = 240  # px
BAR_COLOR = (70, 110, 170)
_LINES = 8  # of a sentence below its tile
_BINS = 40


def draw_strip(image: Rgb, depths: Sequence[FloatMap], sentences: Sequence[str]) -> Rgb:
    """A picture, and beside it the depth map of each sentence, which stands below it.

    image: [H, W, 3]. depths: [h, w] each, meters. All maps have one color range, whose bar is at
    the bottom.
    """
    size = _tile_size(image.shape[0], image.shape[1])
    values = np.concatenate([depth.ravel() for depth in depths])
    low, high = depth_range(values, np.isfinite(values))
    lines = [wrap_text(sentence, size[0], _LINES) or ["(no words)"] for sentence in sentences]
    longest = max(map(len, lines))
    heads = ["picture", *(f"median {np.median(depth):.3g} m" for depth in depths)]
    tiles = [fit(image, size, cv2.INTER_CUBIC)]
    tiles += [fit(depth_to_color(depth, low, high), size) for depth in depths]
    columns = [
        np.vstack(
            [
                text_strip([head], size[0], FAINT_INK),
                tile,
                text_strip([*text, *[""] * (longest - len(text))], size[0]),
            ]
        )
        for head, tile, text in zip(heads, tiles, [[""], *lines], strict=True)
    ]
    row = side_by_side(columns)
    left = blank(44, size[0] + GAP)
    bar = draw_color_bar(row.shape[1] - left.shape[1], low, high, DEPTH_COLORS, " m")
    return with_margin(np.vstack([row, np.hstack([left, bar])]))


def draw_samples(sentences: Sequence[str], samples: Sequence[FloatMap], num_shown: int = 4) -> Rgb:
    """A row for each sentence: mean depth, a few of its sampled scenes, histogram of their medians.

    samples: [N, h, w] each, meters. Colors and the histograms' axis are shared by all rows.
    """
    size = _tile_size(*samples[0].shape[1:])
    means = [scenes.mean(0) for scenes in samples]
    shown = [scenes[:num_shown] for scenes in samples]
    values = np.concatenate([maps.ravel() for maps in (*means, *shown)])
    low, high = depth_range(values, np.isfinite(values))
    medians = [np.median(scenes, axis=(1, 2)) for scenes in samples]
    axis = _axis(np.concatenate(medians))
    rows = []
    for sentence, mean, scenes, own in zip(sentences, means, shown, medians, strict=True):
        tiles = [fit(depth_to_color(depth, low, high), size) for depth in (mean, *scenes)]
        row = side_by_side([*tiles, draw_histogram(own, axis, size)])
        rows += [text_strip(wrap_text(sentence, row.shape[1], 2) or [""], row.shape[1]), row]
    heads = ["mean", *("a scene" for _ in shown[0]), "median depth of the scenes, m"]
    head = side_by_side([text_strip([text], size[0], FAINT_INK) for text in heads])
    bar_width = head.shape[1] - size[0] - GAP
    bar = draw_color_bar(bar_width, low, high, DEPTH_COLORS, " m")
    foot = np.hstack([bar, blank(len(bar), head.shape[1] - bar_width)])
    return with_margin(np.vstack([head, *rows, blank(GAP, head.shape[1]), foot]))


def draw_histogram(values: np.ndarray, ends: tuple[float, float], size: tuple[int, int]) -> Rgb:
    """Bars over an axis of meters from `ends`; size: (width, height) px."""
    width, height = size
    picture = blank(height, width)
    base = height - LINE_HEIGHT
    low, high = ends
    counts, edges = np.histogram(np.clip(values, low, high), _BINS, ends)
    places = np.round((edges - low) / (high - low) * (width - 1)).astype(int)
    for count, start, end in zip(counts, places[:-1], places[1:], strict=True):
        top = base - round(count / max(counts.max(), 1) * (base - 4))
        picture[top:base, start : max(end - 1, start + 1)] = BAR_COLOR
    picture[base, :] = INK
    for tick in nice_ticks(low, high, max_count=max(width // 60, 1)):
        x = round((tick - low) / (high - low) * (width - 1))
        picture[base : base + 4, x] = INK
        label = f"{tick:g}"
        left = min(max(x - text_width(label) // 2, 0), width - text_width(label))
        put_text(picture, label, left, height - 5, FAINT_INK)
    return picture


def _axis(values: np.ndarray) -> tuple[float, float]:
    """Around all values, never empty."""
    margin = 0.04 * (values.max() - values.min()) + 0.01 * abs(values.max()) + 1e-3
    return float(max(values.min() - margin, 0.0)), float(values.max() + margin)


def _tile_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) px."""
    return TILE_WIDTH, max(round(TILE_WIDTH * height / width), 2 * LINE_HEIGHT)
