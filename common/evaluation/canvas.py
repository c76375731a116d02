"""What pictures of depth are drawn from: colors, color bars, lines of text, rows of tiles.

Pictures are uint8 RGB arrays [H, W, 3]; OpenCV draws them and no window is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from common.pages.axes import nice_ticks

Rgb = NDArray[np.uint8]
FloatMap = NDArray[np.floating[Any]]
BoolMap = NDArray[np.bool_]

DEPTH_COLORS = cv2.COLORMAP_TURBO
FIRST_COLOR = 32  # of 256: skips the darkest colors, which look like INVALID_COLOR
INVALID_COLOR = (56, 56, 56)
INK, FAINT_INK, PAPER = (30, 30, 34), (120, 120, 128), (255, 255, 255)
MARGIN, GAP = 14, 10  # px
FONT, FONT_SCALE, LINE_HEIGHT = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 22
MAX_CAPTION_LINES = 6


def depth_to_color(depth: FloatMap, vmin: float, vmax: float, valid: BoolMap | None = None) -> Rgb:
    """Color a depth map, blue for `vmin` and red for `vmax`.

    depth: [h, w], meters. valid: [h, w], True = draw; non-finite pixels are never drawn.
    Returns [h, w, 3]; what is not drawn is dark gray.
    """
    finite = np.isfinite(depth)
    drawn = finite if valid is None else finite & valid
    fraction = (np.where(drawn, depth, vmin) - vmin) / (vmax - vmin)
    return colorize(fraction, drawn, DEPTH_COLORS)


def draw_color_bar(width: int, vmin: float, vmax: float, colormap: int, unit: str) -> Rgb:
    """Draw a horizontal color bar with a labeled tick at every round value. [44, width, 3]."""
    bar = blank(44, width)
    ramp = np.broadcast_to(np.linspace(0.0, 1.0, width), (12, width))
    bar[8:20] = colorize(ramp, np.ones(ramp.shape, dtype=bool), colormap)
    for tick in nice_ticks(vmin, vmax, max_count=width // 60):
        x = round((tick - vmin) / (vmax - vmin) * (width - 1))
        bar[20:25, x] = FAINT_INK
        label = f"{tick:g}{unit}"
        left = min(max(x - text_width(label) // 2, 0), width - text_width(label))
        put_text(bar, label, left, 40, FAINT_INK)
    return bar


def wrap_text(text: str, width: int, max_lines: int = MAX_CAPTION_LINES) -> list[str]:
    """Break text into lines of at most `width` px; what is beyond `max_lines` becomes "...".

    OpenCV's font has printable ASCII only: every other character becomes "?".
    """
    lines: list[str] = []
    for word in "".join(c if " " <= c <= "~" else "?" for c in " ".join(text.split())).split():
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.extend(_break_word(word, width))
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and text_width(f"{last} ...") > width:
        last = last[:-1]
    return [*lines[: max_lines - 1], f"{last} ..."]


def _break_word(word: str, width: int) -> list[str]:
    pieces = [""]
    for character in word:
        if pieces[-1] and text_width(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def colorize(fraction: FloatMap, valid: BoolMap, colormap: int) -> Rgb:
    """Map 0..1 to colors, [h, w] -> [h, w, 3]; values outside take the end colors."""
    index = FIRST_COLOR + np.clip(fraction, 0.0, 1.0) * (255 - FIRST_COLOR)
    bgr = cv2.applyColorMap(index.round().astype(np.uint8), colormap)
    return np.where(valid[..., None], bgr[..., ::-1], INVALID_COLOR).astype(np.uint8)


def fit(image: Rgb, size: tuple[int, int], enlarge: int = cv2.INTER_NEAREST) -> Rgb:
    """Resize an image to (width, height)."""
    interpolation = cv2.INTER_AREA if image.shape[1] > size[0] else enlarge
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)


def blank(height: int, width: int) -> Rgb:
    """White paper."""
    return np.full((height, width, 3), PAPER, dtype=np.uint8)


def pad(image: Rgb, height: int, width: int) -> Rgb:
    """Add paper below and to the right."""
    padded = blank(height, width)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def side_by_side(images: Sequence[Rgb]) -> Rgb:
    """Put images [H_i, W_i, 3] beside each other, their tops aligned."""
    height = max(image.shape[0] for image in images)
    columns = [pad(image, height, image.shape[1] + GAP) for image in images]
    return np.hstack(columns)[:, :-GAP]


def with_margin(image: Rgb) -> Rgb:
    """Paper all around."""
    framed = blank(image.shape[0] + 2 * MARGIN, image.shape[1] + 2 * MARGIN)
    framed[MARGIN:-MARGIN, MARGIN:-MARGIN] = image
    return framed


def text_strip(lines: Sequence[str], width: int, color: tuple[int, int, int] = INK) -> Rgb:
    """Lines of text below each other; see `wrap_text`."""
    strip = blank(LINE_HEIGHT * len(lines) + 4, width)
    for number, line in enumerate(lines):
        put_text(strip, line, 0, LINE_HEIGHT * number + 17, color)
    return strip


def text_width(text: str) -> int:
    """Of one line, px."""
    return cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0]


def put_text(image: Rgb, text: str, x: int, baseline: int, color: tuple[int, int, int]) -> None:
    """Write one line into the image."""
    cv2.putText(image, text, (x, baseline), FONT, FONT_SCALE, color, 1, cv2.LINE_AA)
