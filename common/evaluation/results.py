"""What an evaluation found, and how it is written: table, JSON content and CSV file."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.data.batch import Failure
from common.data.ground_truth import GroundTruthUse
from common.evaluation.alignment import ABOUT, Alignment, aligned_rows, column
from common.evaluation.metrics import METRIC_NAMES
from common.text_files import write_text

Row = dict[str, Any]
SUMMARY_KEYS = (
    "protocol",
    "flip",
    "num_images",
    "num_skipped",
    "num_missing",
    "num_clamped",
    "num_nonfinite",
    "gt_used",
)


@dataclass(frozen=True)
class EvalResult:
    """Metrics of a data set.

    metrics: mean over images of each metric, as published. micro: the same metrics with every
    scored pixel counting the same. num_skipped: images without any valid pixel, and those the data
    set had left out already. num_missing: images of the list whose files are missing. num_clamped,
    num_nonfinite: scored pixels whose prediction was finite but outside [1e-3, max_depth], and
    those where it was nan or infinite. gt_use: how much of the measured ground truth in the crop is
    scored, images without any scored pixel included. per_image: one row for each scored image, in
    the order of the list: `image_path`, the nine metrics, `log_ratio` (mean of ln pred - ln gt),
    `pred_median` and `gt_median` where they are asked for (meters, over the scored pixels),
    `num_pixels`, `num_clamped`, `num_nonfinite`, `num_measured` (of which `num_pixels` are scored);
    where all captions are evaluated also `num_captions` and `caption_spread` (`all_captions.py`).
    aligned: the means after each alignment, under names of their own, which the rows have as well
    (`alignment.py`), but for images that could not be aligned. calibration: what scenes drawn from
    the words alone are worth, where they are asked for (`common/programs/draws.py`).
    failures: what could not be read, scored or handed on; the numbers above are those of the other
    images.
    """

    protocol: str
    flip: bool
    num_images: int
    num_skipped: int
    num_missing: int
    num_clamped: int
    num_nonfinite: int
    gt_use: GroundTruthUse
    metrics: dict[str, float]
    micro: dict[str, float]
    per_image: list[Row]
    aligned: dict[Alignment, dict[str, float]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    calibration: dict[str, Any] | None = None

    @property
    def gt_used(self) -> float:
        """Share of the measured ground truth that is scored."""
        return self.gt_use.share

    @property
    def caption_spread(self) -> dict[str, float] | None:
        """Mean and largest of the images; None: of each image one caption is evaluated."""
        spreads = [row["caption_spread"] for row in self.per_image if "caption_spread" in row]
        if not spreads:
            return None
        return {"mean": math.fsum(spreads) / len(spreads), "largest": max(spreads)}


def describe_failures(result: EvalResult) -> str:
    """What failed, in one line. The result has failures."""
    first, *others = result.failures
    more = f" ({len(others)} more images failed)" if others else ""
    return f"{first.error}{more}"


def result_dict(result: EvalResult, **labels: str) -> dict[str, Any]:
    """Return what a result file holds: the labels (checkpoint, split, ...), counts and metrics.

    Where images failed, `complete` is false and `failed` names them; else neither key is there.
    """
    counts = {key: getattr(result, key) for key in SUMMARY_KEYS}
    spread = result.caption_spread
    words = {} if spread is None else {"caption_spread": spread}
    content = {**labels, **counts, **words, "metrics": dict(result.metrics)}
    if result.calibration is not None:
        content["calibration"] = result.calibration
    if result.aligned:
        content["aligned"] = {
            alignment: {
                "is_metric": False,
                "about": ABOUT[alignment],
                "num_images": len(aligned_rows(result.per_image, alignment)),
                "metrics": dict(metrics),
            }
            for alignment, metrics in result.aligned.items()
        }
    if not result.failures:
        return content
    failed = [{"image": f.image, "reason": str(f.error)} for f in result.failures]
    return {"complete": False, **content, "failed": failed}


def format_table(rows: Sequence[tuple[str, EvalResult | dict[str, Any]]]) -> str:
    """Return an aligned text table, one line for each (name, result or `result_dict`)."""
    header = ["name", *METRIC_NAMES, *(key.removeprefix("num_") for key in SUMMARY_KEYS)]
    lines = [header]
    for name, result in rows:
        entry = result_dict(result) if isinstance(result, EvalResult) else result
        metrics = [f"{entry['metrics'][key]:.4f}" for key in METRIC_NAMES]
        lines.append([name, *metrics, *(_cell(entry.get(key)) for key in SUMMARY_KEYS)])
    return align_columns(lines)


def format_aligned(result: EvalResult) -> str:
    """What the numbers after each alignment are, and are not, and the numbers."""
    parts = []
    for alignment, metrics in result.aligned.items():
        rows = aligned_rows(result.per_image, alignment)
        factors = sorted(row[column("scale", alignment)] for row in rows)
        median = factors[len(factors) // 2]
        scales = f"scale: median {median:.4g}, {factors[0]:.4g} to {factors[-1]:.4g}"
        head = f"NOT METRIC, aligned by {alignment}: {ABOUT[alignment]} ({scales})"
        lines = [[name, f"{value:.4f}"] for name, value in metrics.items()]
        parts.append(f"{head}\n{align_columns(lines)}")
    return "\n\n".join(parts)


def align_columns(lines: Sequence[Sequence[str]]) -> str:
    """A text table of lines with as many cells each: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_join(line, widths) for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _join(line: Sequence[str], widths: Sequence[int]) -> str:
    name, *cells = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([name, *cells])


def write_csv(path: Path, result: EvalResult) -> None:
    """Write one line for each scored image; the file appears whole or not at all.

    An image that could not be scored has a line, too: its name and no numbers; so has one that
    could not be aligned, with no numbers of that.
    """
    names = list(dict.fromkeys(name for row in result.per_image for name in row))
    scored = {row["image_path"] for row in result.per_image}
    failed = [f.image for f in result.failures if f.image not in scored]
    write_rows(path, names, [*result.per_image, *({"image_path": image} for image in failed)])


def write_rows(path: Path, names: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a CSV file with a column for each of `names`, whole or not at all."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())
