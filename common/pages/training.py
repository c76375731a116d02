"""What the log of a run folder tells: records of its training, and their curves."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from common.pages.axes import Series, is_drawable
from common.pages.charts import NUM_COLORS, line_chart, wants_log
from common.pages.page import number, spoken

ABOUT_CURVES = "<p>Bold: running mean. Faint: as logged. Dots: validation.</p>"


@dataclass(frozen=True)
class StageRecord:
    """What one stage's run folder tells: logged records in order of step, picture, config."""

    name: str
    train: list[dict[str, Any]]
    val: list[dict[str, Any]]
    num_unreadable: int
    latest_panel: Path | None
    config: str


def read_stage(folder: Path) -> StageRecord:
    """Read one stage's run folder; files that do not exist count as empty."""
    metrics, config = folder / "metrics.jsonl", folder / "config.yaml"
    records, num_unreadable = read_records(_lines(metrics))
    panels = sorted((folder / "panels").glob("*.png"), key=natural_order)
    return StageRecord(
        name=folder.name,
        train=records["train"],
        val=records["val"],
        num_unreadable=num_unreadable,
        latest_panel=panels[-1] if panels else None,
        config="\n".join(_lines(config)),
    )


def read_records(lines: Iterable[str]) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Sort metrics.jsonl lines by kind and step; of a step logged twice (a resume) the last counts.

    Returns {"train": [...], "val": [...]} and the number of lines that are no such record.
    """
    by_step: dict[str, dict[int, dict[str, Any]]] = {"train": {}, "val": {}}
    num_unreadable = 0
    for line in lines:
        try:
            record = json.loads(line)
            by_step[record["kind"]][int(record["step"])] = record
        except (ValueError, KeyError, TypeError):
            num_unreadable += 1
    return {kind: [found[step] for step in sorted(found)] for kind, found in by_step.items()}, (
        num_unreadable
    )


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts step_200 before step_1000."""
    return [
        (int(piece), "") if piece.isdigit() else (-1, piece)
        for piece in re.split(r"([0-9]+)", path.name)
    ]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def curves_section(stage: str, train: Sequence[Mapping[str, Any]], val: Sequence[Any]) -> str:
    """Draw one stage's loss terms and its validation AbsRel."""
    figures = []
    terms = sorted({key for record in train for key in record if key.startswith("loss/")})
    if terms:
        losses = [_series(key.removeprefix("loss/"), key, train) for key in terms]
        total = next((one for one in losses if one.label == "total"), losses[0])
        log_y = wants_log(total.values)
        figures.append(curve_figure(_merged(losses), "loss", log_y=log_y, with_dots=False))
    abs_rel = _series("validation AbsRel", "abs_rel", val)
    if abs_rel.values:
        figures.append(curve_figure([abs_rel], "AbsRel", log_y=False, with_dots=True))
    return f'<h3>{escape(spoken(stage))}</h3><div class="pair">{"".join(figures)}</div>'


def curve_figure(series: Sequence[Series], y_label: str, *, log_y: bool, with_dots: bool) -> str:
    """A line chart with its legend, which says where each line ends."""
    legend = "".join(
        f'<li><i class="c{index % NUM_COLORS}"></i>{escape(one.label + _ending(one, log_y))}</li>'
        for index, one in enumerate(series)
    )
    chart = line_chart(series, y_label, log_y=log_y, with_dots=with_dots)
    return f'<figure>{chart}<ul class="legend">{legend}</ul></figure>'


def _series(label: str, key: str, records: Sequence[Mapping[str, Any]]) -> Series:
    present = [record for record in records if key in record]
    return Series(
        label,
        [number(record["step"]) for record in present],
        [number(record[key]) for record in present],
    )


def _merged(series: Sequence[Series]) -> list[Series]:
    """Make one line of the terms whose values are the same, as the total of a single term is."""
    labels: dict[tuple[float, ...], list[str]] = {}
    for one in series:
        labels.setdefault((*one.steps, *one.values), []).append(one.label)
    first = {group[0]: " = ".join(group) for group in labels.values()}
    return [replace(one, label=first[one.label]) for one in series if one.label in first]


def _ending(series: Series, log_y: bool) -> str:
    hidden = not any(is_drawable(value, log_y) for value in series.values)
    return f": {series.values[-1]:.4g} at the end{' (not on the log axis)' if hidden else ''}"
