"""Text in pictures, in OpenCV's font, which has printable ASCII only."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]

INK, FAINT_INK, PAPER = (30, 30, 34), (120, 120, 128), (255, 255, 255)
FONT, FONT_SCALE, LINE_HEIGHT = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 22
MAX_LINES = 6


def wrap_text(text: str, width: int, max_lines: int = MAX_LINES) -> list[str]:
    """Break text into lines of at most `width` px; what is beyond `max_lines` becomes "...".

    Every character that the font lacks becomes "?".
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


def text_strip(lines: Sequence[str], width: int, color: tuple[int, int, int] = INK) -> Rgb:
    """Lines below each other on paper, [h, width, 3]."""
    strip = blank(LINE_HEIGHT * len(lines) + 4, width)
    for number, line in enumerate(lines):
        put_text(strip, line, 0, LINE_HEIGHT * number + 17, color)
    return strip


def text_width(text: str) -> int:
    """Pixels."""
    return cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0]


def put_text(image: Rgb, text: str, x: int, baseline: int, color: tuple[int, int, int]) -> None:
    """Draw into the image."""
    cv2.putText(image, text, (x, baseline), FONT, FONT_SCALE, color, 1, cv2.LINE_AA)


def blank(height: int, width: int) -> Rgb:
    """Paper, [height, width, 3]."""
    return np.full((height, width, 3), PAPER, dtype=np.uint8)
