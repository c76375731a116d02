"""Mean and spread over seeds of few-shot results: results.json, a text table, and a chart."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.evaluation.metrics import METRIC_NAMES
from common.evaluation.results import align_columns
from common.pages.axes import Series
from common.pages.charts import spread_chart
from common.pages.page import STYLE_FILE
from common.text_files import write_json, write_text

ResultRow = dict[str, Any]
REPORT_FILES = ("results.json", "table.txt", "abs_rel.svg")
SHOWN = {"abs_rel": "AbsRel", "rmse": "RMSE", "log10": "log10", "d1": "d1"}


def write_few_shot_report(
    folder: Path, rows: Sequence[ResultRow], failures: Sequence[str], facts: dict[str, str]
) -> str:
    """Write results.json, table.txt and abs_rel.svg; returns the table.

    rows: `name`, `train_images`, `seed`, and under `result` what eval.py wrote.
    """
    table = summarize(rows)
    content = {"runs": list(rows), "table": table, "failed": list(failures), "facts": facts}
    results_file, table_file, chart_file = (folder / name for name in REPORT_FILES)
    write_json(results_file, content)
    text = format_summary(table)
    write_text(table_file, text + "\n")
    if any(math.isfinite(entry["mean"]["abs_rel"]) for entry in table):
        write_text(chart_file, draw_abs_rel(table))
    return text


def summarize(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """One entry per recipe and number of images: mean and standard deviation of every metric.

    The deviation is the sample's (n - 1); None for a single seed.
    """
    groups: dict[tuple[str, int], list[ResultRow]] = {}
    for row in rows:
        groups.setdefault((row["name"], row["train_images"]), []).append(row)
    return [_summarize_group(*key, members) for key, members in groups.items()]


def _summarize_group(name: str, images: int, rows: list[ResultRow]) -> ResultRow:
    values = {key: [row["result"]["metrics"][key] for row in rows] for key in METRIC_NAMES}
    return {
        "name": name,
        "train_images": images,
        "seeds": [row["seed"] for row in rows],
        "mean": {key: float(np.mean(each)) for key, each in values.items()},
        "std": {
            key: float(np.std(each, ddof=1)) if len(each) > 1 else None
            for key, each in values.items()
        },
    }


def format_summary(table: Sequence[ResultRow]) -> str:
    """An aligned text table, one line per recipe and number of images."""
    lines = [["recipe", "images", "seeds", *SHOWN.values()]]
    for entry in table:
        cells = [_cell(entry["mean"][key], entry["std"][key]) for key in SHOWN]
        lines.append([entry["name"], str(entry["train_images"]), str(len(entry["seeds"])), *cells])
    return align_columns(lines)


def _cell(mean: float, std: float | None) -> str:
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def draw_abs_rel(table: Sequence[ResultRow]) -> str:
    """AbsRel against the number of training images, one line per recipe, as an SVG file."""
    series, spreads = [], []
    for name in dict.fromkeys(entry["name"] for entry in table):
        entries = [entry for entry in table if entry["name"] == name]
        means = [entry["mean"]["abs_rel"] for entry in entries]
        series.append(Series(name, [entry["train_images"] for entry in entries], means))
        spreads.append([entry["std"]["abs_rel"] or 0.0 for entry in entries])
    return standalone(spread_chart(series, spreads, "training images", "AbsRel"))


def standalone(svg: str) -> str:
    """A chart of the report as a file of its own, with the report's light colors written in."""
    css = STYLE_FILE.read_text(encoding="utf-8")
    colors = dict(re.findall(r"--(\w+): (#\w+)", css.partition("}")[0]))
    rules = "\n".join(line for line in css.splitlines() if line.startswith("svg "))
    style = re.sub(r"var\(--(\w+)\)", lambda match: colors[match[1]], rules)
    head, _, rest = svg.partition(">")
    return (
        f'{head} xmlns="http://www.w3.org/2000/svg"><style>\n{style}\n</style>\n'
        f'<rect width="100%" height="100%" fill="{colors["paper"]}"/>{rest}\n'
    )
