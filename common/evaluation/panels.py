"""Draw depth: the comparison panels that runs and reports show; `canvas.py` has what they are of.

Pictures are uint8 RGB arrays [H, W, 3]; OpenCV draws them and no window is opened.

    image, ground truth, prediction -> panel -> stack_panels -> write_png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from common.evaluation.canvas import (
    DEPTH_COLORS,
    FAINT_INK,
    GAP,
    BoolMap,
    FloatMap,
    Rgb,
    colorize,
    depth_to_color,
    draw_color_bar,
    fit,
    pad,
    side_by_side,
    text_strip,
    with_margin,
    wrap_text,
)
from common.files import whole_file
from common.images.transforms import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from torch import Tensor


ERROR_COLORS = cv2.COLORMAP_INFERNO

PANEL_MAX_ERROR = 0.5  # fixed, so that the error maps of two panels can be compared
MIN_TILE_WIDTH, MIN_TILE_HEIGHT = 320, 160  # px
MAX_STRETCH = 5.0  # a prediction farther than this many times the ground truth is cut off
SPARSE_SHARE = 0.4  # ground truth with fewer valid pixels is drawn with thicker points


def relative_error(pred: FloatMap, gt: FloatMap, valid: BoolMap) -> FloatMap:
    """Return |pred - gt| / gt, [h, w]: 0 where not valid, infinite where pred is not finite.

    pred, gt: [h, w], meters. valid: [h, w], True = scored.
    """
    finite = valid & np.isfinite(pred)
    error = np.where(finite, pred, 0.0) - np.where(finite, gt, 0.0)
    relative = np.abs(error) / np.where(finite, gt, 1.0)
    return np.where(valid & ~finite, np.inf, relative)


def denormalize(image: Tensor) -> Rgb:
    """Undo the ImageNet normalization. image: [3, H, W]. Returns [H, W, 3]."""
    normalized = image.detach().float().cpu().numpy().transpose(1, 2, 0)  # [H, W, 3]
    unit = normalized * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)
    return (np.clip(unit, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def panel(
    image: Rgb, gt_depth: FloatMap, pred_depth: FloatMap, caption: str, *, title: str = ""
) -> Rgb:
    """Draw picture, ground truth, prediction and error side by side, with color bars and caption.

    image: [H, W, 3]. gt_depth: [h, w], meters, 0 = no measurement. pred_depth: meters, of any size:
    it covers the same view as gt_depth and is resized to it. Both depths share one color range
    that holds both. AbsRel is over every measured pixel, without crop or depth cap.
    """
    gt = np.asarray(gt_depth, dtype=np.float64)
    pred = resize_depth(np.asarray(pred_depth, dtype=np.float64), gt.shape)
    valid = np.isfinite(gt) & (gt > 0)
    compared = np.isfinite(pred) & (valid if valid.any() else True)
    vmin, vmax = shared_range(gt, valid, pred, compared)
    tiles = comparison_tiles(image, gt, pred, valid, vmin, vmax)
    headings = [
        "image",
        f"ground truth{_median_text(gt, valid)}",
        f"prediction{_median_text(pred, compared)}",
        "relative error",
    ]
    rows = strip(headings, tiles, _score_text(pred, gt, valid), (vmin, vmax))
    width = rows[0].shape[1]
    if title:
        rows.insert(0, text_strip(wrap_text(title, width, max_lines=2), width))
    rows.append(text_strip(wrap_text(caption, width) or ["(no caption)"], width))
    return with_margin(np.vstack(rows))


def strip(
    headings: Sequence[str], tiles: Sequence[Rgb], note: str, depths: tuple[float, float]
) -> list[Rgb]:
    """Four tiles between their headings and a row of a note and two bars, as rows of one width.

    tiles: picture, two depths, relative error. depths: the range of colors of both, in meters.
    """
    width = tiles[0].shape[1]
    bars = [
        text_strip([note], width),
        draw_color_bar(2 * width + GAP, *depths, DEPTH_COLORS, " m"),
        draw_color_bar(width, 0.0, 100.0 * PANEL_MAX_ERROR, ERROR_COLORS, "%"),
    ]
    return [
        side_by_side([text_strip([heading], width, FAINT_INK) for heading in headings]),
        side_by_side(tiles),
        side_by_side(bars),
    ]


def stack_panels(panels: Sequence[Rgb]) -> Rgb:
    """Put panels [H_i, W_i, 3] below each other, padded with white to the widest one."""
    if not panels:
        raise ValueError("stack_panels needs at least one panel")
    width = max(each.shape[1] for each in panels)
    return np.vstack([pad(each, each.shape[0], width) for each in panels])


def write_png(path: Path, rgb: Rgb) -> None:
    """Write an image [H, W, 3] as PNG, whole or not at all; makes the folder."""
    encoded, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise ValueError(f"cannot encode an image of shape {rgb.shape} as PNG")
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def depth_range(depth: FloatMap, valid: BoolMap) -> tuple[float, float]:
    """Return the color range in meters: the 1st and 99th percentile, never an empty interval."""
    if not valid.any():
        return 0.0, 1.0
    low, high = np.percentile(depth[valid], (1, 99))
    widening = max(0.0, 0.05 * abs(high) + 1e-3 - (high - low))
    return float(low - widening / 2), float(high + widening / 2)


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Return the (width, height) of a panel's tile: the shape kept, both sides at least minimal."""
    scale = max(MIN_TILE_WIDTH / width, MIN_TILE_HEIGHT / height)
    return round(width * scale), round(height * scale)


def shared_range(
    gt: FloatMap, valid: BoolMap, pred: FloatMap, compared: BoolMap
) -> tuple[float, float]:
    """A color range in meters that holds two depths, but no prediction that is far beyond.

    valid, compared: where ground truth and prediction count.
    """
    if not valid.any() or not compared.any():
        return depth_range(gt, valid) if valid.any() else depth_range(pred, compared)
    gt_low, gt_high = depth_range(gt, valid)
    low, high = depth_range(pred, compared)
    return max(0.0, min(low, gt_low)), max(gt_high, min(high, MAX_STRETCH * gt_high))


def comparison_tiles(
    image: Rgb,
    gt: FloatMap,
    pred: FloatMap,
    measured: BoolMap,
    vmin: float,
    vmax: float,
    scored: BoolMap | None = None,
) -> list[Rgb]:
    """Image, ground truth, prediction and relative error, as tiles of one size.

    measured: where there is ground truth. scored: where errors are drawn; None: there, too.
    """
    size = tile_size(*image.shape[:2])
    return [
        picture_tile(image, size),
        depth_tile(gt, vmin, vmax, size, measured),
        depth_tile(pred, vmin, vmax, size),
        error_tile(pred, gt, measured if scored is None else scored, size),
    ]


def picture_tile(image: Rgb, size: tuple[int, int]) -> Rgb:
    """The image [H, W, 3] as large as a tile of (width, height)."""
    return fit(image, size, cv2.INTER_CUBIC)


def depth_tile(
    depth: FloatMap, vmin: float, vmax: float, size: tuple[int, int], valid: BoolMap | None = None
) -> Rgb:
    """`depth_to_color` as large as a tile of (width, height); sparse pixels are drawn thicker."""
    if valid is not None:
        depth, valid = _thicken(depth, valid, size)
    return fit(depth_to_color(depth, vmin, vmax, valid), size)


def error_tile(pred: FloatMap, gt: FloatMap, valid: BoolMap, size: tuple[int, int]) -> Rgb:
    """`relative_error` in colors, black for none, as large as a tile of (width, height)."""
    error, drawn = _thicken(relative_error(pred, gt, valid), valid, size)
    return fit(colorize(error / PANEL_MAX_ERROR, drawn, ERROR_COLORS), size)


def _score_text(pred: FloatMap, gt: FloatMap, valid: BoolMap) -> str:
    error = relative_error(pred, gt, valid)[valid]
    finite = np.isfinite(error)
    if not finite.any():
        return "AbsRel: no valid pixel"
    broken = f" ({(~finite).sum()} px not finite)" if not finite.all() else ""
    return f"AbsRel {error[finite].mean():.3f}{broken}"


def _median_text(depth: FloatMap, valid: BoolMap) -> str:
    return f", median {np.median(depth[valid]):.3g} m" if valid.any() else ", none"


def _thicken(values: FloatMap, valid: BoolMap, size: tuple[int, int]) -> tuple[FloatMap, BoolMap]:
    """Spread sparse valid pixels to their neighbors, so that they survive the fit to a tile.

    Returns values and valid, [h, w]; maps that are dense or empty come back unchanged.
    """
    if not valid.any() or valid.mean() >= SPARSE_SHARE:
        return values, valid
    radius = max(1.5, 1.2 * values.shape[1] / size[0])
    distance, labels = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(labels.max() + 1, dtype=np.float64)
    nearest[labels[valid]] = values[valid]
    return nearest[labels], distance <= radius


def resize_depth(depth: FloatMap, shape: tuple[int, ...]) -> FloatMap:
    if depth.shape == shape:
        return depth
    return np.asarray(cv2.resize(depth, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))
