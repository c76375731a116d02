"""Sections of the quickstart's report as HTML: explanation, table, limit, control.

Every function returns a string of HTML in which all text from files is escaped.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from common.data.ground_truth import LOUD_BELOW
from common.evaluation.report.columns import ABOUT_METRICS, METRICS, metric_heads
from common.pages.charts import bar_chart, ratio_chart
from common.pages.page import cards, number, short, spoken, table
from scripts.demo_renderer.scale_pairs import MINIATURE_DIVISOR as SCALE
from scripts.demo_renderer.scale_pairs import PIXELS_ONLY_BOUND

CONTROL_MARKS = {1.0 / SCALE: "÷4: the miniature", 1.0: "the truth", SCALE: "×4: the full size"}

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
    entries = [("limit", f"{PIXELS_ONLY_BOUND:g}", "the lowest AbsRel that pixels alone allow")]
    if scored:
        best = min(scored, key=lambda row: metric(row, "abs_rel"))
        value = metric(best, "abs_rel")
        good = "good" if value < PIXELS_ONLY_BOUND else ""
        entries.insert(0, (good, f"{value:.3f}", f"AbsRel of {best['name']}, the best row"))
        below = sum(metric(row, "abs_rel") < PIXELS_ONLY_BOUND for row in scored)
        entries.append(("", f"{below} of {len(rows)}", "rows are below the limit"))
    return cards(entries)


def results_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Show the nine metrics of every row, grouped by split and protocol; the best are bold."""
    with_ratio = any("mean_ratio" in row for row in rows)
    ratio_heading = "<th>pred / gt<small>→ 1</small></th>" if with_ratio else ""
    columns = 1 + len(METRICS) + with_ratio
    bodies = [
        f'<tr class="group"><th colspan="{columns}">{escape(group)}</th></tr>'
        + "".join(_table_row(row, members, with_ratio) for row in members)
        for group, members in _grouped(rows)
    ]
    bodies.append(
        '<tr class="bound"><th>limit of every model that sees only pixels</th>'
        f"<td>{PIXELS_ONLY_BOUND:g}</td>{'<td></td>' * (columns - 2)}</tr>"
    )
    return (
        f"{table(f'<tr><th></th>{metric_heads()}{ratio_heading}</tr>', bodies)}"
        f'<p class="faint">{ABOUT_METRICS} Per image, then the mean over images. Bold: best of its '
        "split. Green: below the limit.</p>"
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


def pages_line(pages: Mapping[str, Any]) -> str:
    """Links to other pages beside this one: name -> path from here; "" for none."""
    links = [f'<a href="{escape(str(path))}">{escape(name)}</a>' for name, path in pages.items()]
    return f"<p>More: {', '.join(links)}.</p>" if links else ""


def control_section(ratios: Mapping[str, Any]) -> str:
    """Show what happens to the predicted meters when each image gets its twin's caption."""
    labels = [spoken(key).capitalize() for key in ratios]
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


def metric(row: Mapping[str, Any], key: str) -> float:
    """Return one metric of a row; NaN where the row has none."""
    return number(row["metrics"].get(key))


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
    ratio = f"<td>{short(number(row.get('mean_ratio')))}</td>" if with_ratio else ""
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
    return f'<td class="{" ".join(classes)}">{short(value)}</td>'
