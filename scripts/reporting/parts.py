"""Sections of the report as HTML: explanation, table, control, curves, pictures, facts.

Every function returns a string of HTML in which all text from files is escaped.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2

from common.data.ground_truth import LOUD_BELOW
from scripts.demo_renderer.scale_pairs import MINIATURE_DIVISOR as SCALE
from scripts.demo_renderer.scale_pairs import PIXELS_ONLY_BOUND
from scripts.reporting.charts import (
    NUM_COLORS,
    Series,
    bar_chart,
    is_drawable,
    line_chart,
    ratio_chart,
    wants_log,
)

METRICS = {  # key: (heading as HTML, whether higher is better)
    "abs_rel": ("AbsRel", False),
    "sq_rel": ("SqRel", False),
    "rmse": ("RMSE", False),
    "rmse_log": ("RMSE log", False),
    "log10": ("log10", False),
    "d1": ("δ<sub>1</sub>", True),
    "d2": ("δ<sub>2</sub>", True),
    "d3": ("δ<sub>3</sub>", True),
    "silog": ("SILog", False),
}
CONTROL_MARKS = {1.0 / SCALE: "÷4: the miniature", 1.0: "the truth", SCALE: "×4: the full size"}
MAX_PNG_BYTES = 400_000  # a larger image is inlined as JPEG

EXPLANATION = f"""
<p class="lead">The test split holds every scene twice: once at full size, and once as a miniature
{SCALE:g} times smaller, seen from {SCALE:g} times nearer. The two images are the same, pixel for
pixel; only the sentence that comes with them, and the true meters, differ. A model that sees only
pixels has to give both the same answer, and the best it can do is to always answer for the
miniature: no error there, and a relative error of 3/4 on the full-size twin. Its mean AbsRel
cannot get below <strong>{PIXELS_ONLY_BOUND:g}</strong>, whatever the network and however long the
training. What is below that line was read from the words.</p>
"""


def summary_cards(rows: Sequence[Mapping[str, Any]]) -> str:
    """Show the best AbsRel beside the limit that holds without words."""
    scored = [row for row in rows if math.isfinite(metric(row, "abs_rel"))]
    cards = [("limit", f"{PIXELS_ONLY_BOUND:g}", "the lowest AbsRel that pixels alone allow")]
    if scored:
        best = min(scored, key=lambda row: metric(row, "abs_rel"))
        value = metric(best, "abs_rel")
        good = "good" if value < PIXELS_ONLY_BOUND else ""
        cards.insert(0, (good, f"{value:.3f}", f"AbsRel of {best['name']}, the best row"))
        below = sum(metric(row, "abs_rel") < PIXELS_ONLY_BOUND for row in scored)
        cards.append(("", f"{below} of {len(rows)}", "rows are below the limit"))
    return '<div class="cards">{}</div>'.format(
        "".join(
            f'<div class="card {css}"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
            for css, value, text in cards
        )
    )


def results_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Show the nine metrics of every row, grouped by split and protocol; the best are bold."""
    with_ratio = any("mean_ratio" in row for row in rows)
    headings = "".join(
        f"<th>{heading}<small>{'↑ higher' if higher else '↓ lower'}</small></th>"
        for heading, higher in METRICS.values()
    )
    ratio_heading = "<th>pred / gt<small>→ 1</small></th>" if with_ratio else ""
    columns = 1 + len(METRICS) + with_ratio
    bodies = [
        f'<tr class="group"><th colspan="{columns}">{escape(group)}</th></tr>'
        + "".join(_table_row(row, members, with_ratio) for row in members)
        for group, members in _grouped(rows)
    ]
    blanks = "<td></td>" * (columns - 2)
    return (
        '<div class="scroll"><table><thead><tr><th></th>'
        f"{headings}{ratio_heading}</tr></thead><tbody>{''.join(bodies)}"
        '<tr class="bound"><th>limit of every model that sees only pixels</th>'
        f"<td>{PIXELS_ONLY_BOUND:g}</td>{blanks}</tr></tbody></table></div>"
        '<p class="faint">SqRel and RMSE in meters; δ<sub>k</sub>: share of pixels within a factor '
        "of 1.25<sup>k</sup>; SILog times 100. Per image, then the mean over images. Bold: best of "
        "its split. Green: below the limit.</p>"
    )


def bound_chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw the AbsRel of every row against the pixels-only limit."""
    names = [row["name"] for row in rows]
    chart = bar_chart(
        names,
        [metric(row, "abs_rel") for row in rows],
        PIXELS_ONLY_BOUND,
        f"{PIXELS_ONLY_BOUND:g}: limit without words",
    )
    return f'<figure class="wide">{chart}<figcaption>AbsRel, lower is better.</figcaption></figure>'


def control_section(ratios: Mapping[str, Any]) -> str:
    """Show what happens to the predicted meters when each image gets its twin's caption."""
    labels = [_spoken(key).capitalize() for key in ratios]
    chart = ratio_chart(labels, [number(value) for value in ratios.values()], CONTROL_MARKS)
    return (
        "<h2>The control: the wrong words</h2>"
        "<p>Same checkpoint, same images, but every image comes with its twin's caption. A "
        "model that listens gives the meters of the caption: a quarter of the truth for a full-size"
        " scene described as a miniature, four times the truth for the reverse. A model that does "
        "not listen stays where it was.</p>"
        f'<figure class="wide">{chart}<figcaption>Predicted over true depth, log scale.'
        "</figcaption></figure>"
    )


def curves_section(stage: str, train: Sequence[Mapping[str, Any]], val: Sequence[Any]) -> str:
    """Draw one stage's loss terms and its validation AbsRel."""
    figures = []
    terms = sorted({key for record in train for key in record if key.startswith("loss/")})
    if terms:
        losses = [_series(key.removeprefix("loss/"), key, train) for key in terms]
        total = next((one for one in losses if one.label == "total"), losses[0])
        log_y = wants_log(total.values)
        figures.append(curve_figure(_merged(losses), "loss", log_y=log_y, dots=False))
    abs_rel = _series("validation AbsRel", "abs_rel", val)
    if abs_rel.values:
        figures.append(curve_figure([abs_rel], "AbsRel", log_y=False, dots=True))
    return f'<h3>{escape(_spoken(stage))}</h3><div class="pair">{"".join(figures)}</div>'


def image_figure(path: Path, caption: str) -> str:
    """Inline one image with its caption."""
    return (
        f'<figure class="panels"><img alt="{escape(caption)}" src="{data_uri(path)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def facts_section(
    facts: Mapping[str, Any], command: str, configs: Mapping[str, str], notes: Sequence[str]
) -> str:
    """Tell how the numbers were made: facts of the run, commands, resolved configs."""
    entries = "".join(
        f"<dt>{escape(_spoken(key))}</dt><dd>{escape(_fact_text(key, value))}</dd>"
        for key, value in facts.items()
        if key != "commands"
    )
    listed = facts.get("commands", [])
    commands = [listed] if isinstance(listed, str) else [str(each) for each in listed]
    details = "".join(
        f"<details><summary>config of {escape(_spoken(stage))}</summary>"
        f"<pre>{escape(text)}</pre></details>"
        for stage, text in configs.items()
    )
    remarks = "".join(f'<p class="faint">{escape(note)}</p>' for note in notes)
    return (
        f"<h2>How it was made</h2>{f'<dl>{entries}</dl>' if entries else ''}"
        f"<pre>{escape(chr(10).join([*commands, command]))}</pre>{details}{remarks}"
    )


def page(title: str, css: str, body: str) -> str:
    """Wrap the sections into one self-contained document."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{css}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def data_uri(path: Path) -> str:
    """Return a PNG as a data URI; a large one is encoded again as JPEG."""
    data, kind = path.read_bytes(), "png"
    if len(data) > MAX_PNG_BYTES and (image := cv2.imread(str(path))) is not None:
        data, kind = (
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes(),
            "jpeg",
        )
    return encoded_uri(data, kind)


def encoded_uri(data: bytes, kind: str) -> str:
    """The data URI of an image file's content."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def metric(row: Mapping[str, Any], key: str) -> float:
    """Return one metric of a row; NaN where the row has none."""
    return number(row["metrics"].get(key))


def number(value: Any) -> float:
    """Return a JSON number as float and anything else as NaN."""
    return float(value) if isinstance(value, int | float) else math.nan


def _grouped(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    def group(row: Mapping[str, Any]) -> str:
        return f"split {row.get('split', '?')}, protocol {row.get('protocol', '?')}"

    order = {name: position for position, name in enumerate(dict.fromkeys(map(group, rows)))}
    ordered = sorted(rows, key=lambda row: order[group(row)])
    return [(name, list(members)) for name, members in groupby(ordered, key=group)]


def _table_row(row: Mapping[str, Any], group: Sequence[Mapping[str, Any]], with_ratio: bool) -> str:
    images = f"{row.get('num_images', '?')} images"
    skipped = f"{row['num_skipped']} skipped" if row.get("num_skipped") else ""
    used = number(row.get("gt_used"))
    left_out = f"only {used:.0%} of the ground truth scored" if used < LOUD_BELOW else ""
    texts = [str(row.get(key) or "") for key in ("note", "checkpoint")]
    details = [images, skipped, left_out, *texts]
    cells = "".join(_metric_cell(row, key, group) for key in METRICS)
    ratio = f"<td>{_short(number(row.get('mean_ratio')))}</td>" if with_ratio else ""
    return (
        f"<tr><th>{escape(row['name'])}"
        f"<small>{escape(' · '.join(text for text in details if text))}</small></th>"
        f"{cells}{ratio}</tr>"
    )


def _metric_cell(row: Mapping[str, Any], key: str, group: Sequence[Mapping[str, Any]]) -> str:
    value = metric(row, key)
    finite = [each for each in (metric(other, key) for other in group) if math.isfinite(each)]
    best = max(finite, default=None) if METRICS[key][1] else min(finite, default=None)
    classes = ["best"] if value == best and len(group) > 1 else []
    if key == "abs_rel" and value < PIXELS_ONLY_BOUND:
        classes.append("under")
    return f'<td class="{" ".join(classes)}">{_short(value)}</td>'


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


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


def curve_figure(series: Sequence[Series], y_label: str, *, log_y: bool, dots: bool) -> str:
    """A line chart with its legend, which says where each line ends."""
    legend = "".join(
        f'<li><i class="c{index % NUM_COLORS}"></i>{escape(one.label + _ending(one, log_y))}</li>'
        for index, one in enumerate(series)
    )
    chart = line_chart(series, y_label, log_y=log_y, dots=dots)
    return f'<figure>{chart}<ul class="legend">{legend}</ul></figure>'


def _ending(series: Series, log_y: bool) -> str:
    hidden = not any(is_drawable(value, log_y) for value in series.values)
    return f": {series.values[-1]:.4g} at the end{' (not on the log axis)' if hidden else ''}"


def _fact_text(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{_spoken(str(name))} {_plain(each)}" for name, each in value.items())
        total = sum(number(each) for each in value.values())
        return f"{text}, together {total:.3g}" if key == "minutes" and total == total else text
    return _plain(value)


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _spoken(name: str) -> str:
    return name.replace("_", " ")
