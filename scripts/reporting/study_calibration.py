"""Rows whose result says how well a distribution from the words alone is calibrated.

`calibration` of a result is what `common/evaluation/calibration.py` describes: r2, nll, crps, and
coverage and width by level, of the log median depth.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from common.pages.page import number
from scripts.reporting.study_values import StudyRow

LEVELS = ("50", "80", "90", "95")
HEADING = ("R2", "NLL", "CRPS", *(f"in {level} %" for level in LEVELS), "width 90 %")
EXPLANATION = (
    "The log median depth of an image, as the words alone give it: a distribution. R2: of its "
    "mean. NLL and CRPS: lower is better, and least for the true distribution. In 50 %: how many "
    "of 100 images lie in the interval that should hold 50; width: of the 90 % interval, in ln "
    "meters."
)


def calibrated_rows(rows: Iterable[StudyRow]) -> list[tuple[StudyRow, list[str]]]:
    """The rows that have a calibration, with the cells below HEADING: mean ± spread over seeds."""
    found = []
    for row in rows:
        contents = [score.result.get("calibration") for score in row.scores]
        entries = [_numbers(content) for content in contents if isinstance(content, dict)]
        if entries:
            seeds = [score.seed for score, c in zip(row.scores, contents, strict=True) if c]
            found.append((row, _cells(np.array(entries), seeds)))
    return found


def _numbers(content: dict[str, Any]) -> list[float]:
    coverage, width = content.get("coverage") or {}, content.get("width") or {}
    plain = [number(content.get(key)) for key in ("r2", "nll", "crps")]
    return [*plain, *(100 * number(coverage.get(k)) for k in LEVELS), number(width.get("90"))]


def _cells(entries: np.ndarray, seeds: Sequence[int]) -> list[str]:
    """entries: [scores, columns]; the folds of a seed are averaged first."""
    groups = [entries[np.array(seeds) == seed].mean(0) for seed in dict.fromkeys(seeds)]
    means = np.mean(groups, axis=0)
    spreads = np.std(groups, axis=0, ddof=1) if len(groups) > 1 else np.full(len(means), np.nan)
    digits = [1 if name.startswith("in ") else 3 for name in HEADING]
    return [_cell(*each) for each in zip(means, spreads, digits, strict=True)]


def _cell(mean: float, spread: float, digits: int) -> str:
    if not math.isfinite(mean):
        return "-"
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if math.isfinite(spread) else "")


def calibration_lines(rows: Iterable[StudyRow]) -> list[list[str]]:
    """A table for text: heading and one line for each row; empty where no row has any."""
    found = calibrated_rows(rows)
    lines = [[f"{row.group.title}: {row.label}", *cells] for row, cells in found]
    return [["log median depth from words", *HEADING], *lines] if lines else []
