"""Sections of an evaluation's page as HTML: the table, errors by depth, place and type of scene.

Every function returns a string of HTML in which all text from files is escaped.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from common.data.scenes import count_scenes, scene_type
from common.evaluation.alignment import ABOUT, column
from common.evaluation.calibration import format_calibration
from common.evaluation.metrics import METRIC_NAMES, average_over_images
from common.evaluation.report.columns import ABOUT_METRICS, METRICS, metric_heads
from common.evaluation.report.pixel_errors import DepthBin, PixelErrors
from common.evaluation.results import EvalResult, describe_failures
from common.pages.axes import Series
from common.pages.charts import NUM_COLORS
from common.pages.distributions import Bin, binned_chart, heat_map, histogram, scale_scatter
from common.pages.page import cards, short, table

MAX_TYPES = 60  # rows of the table of scene types
Rows = Sequence[Mapping[str, Any]]


def head_section(result: EvalResult, labels: Mapping[str, str]) -> str:
    """What was scored, and the four numbers that are read first."""
    known = {
        **labels,
        "protocol": result.protocol,
        "flip averaging": "on" if result.flip else "off",
    }
    name = known.pop("stage")
    entries = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in known.items()
    )
    values = result.metrics
    scale = math.exp(mean_of(result.per_image, "log_ratio"))
    return f"<h1>{escape(name)} on {result.num_images} images</h1><dl>{entries}</dl>" + cards(
        [
            ("", f"{values['abs_rel']:.3f}", "AbsRel, mean over images"),
            ("", f"{values['rmse']:.3f} m", "RMSE"),
            ("", f"{values['d1']:.3f}", "δ1: share of pixels within 25 %"),
            ("", f"×{scale:.3f}", "predicted / true scale, geometric mean over images"),
        ]
    )


def warnings_section(result: EvalResult, labels: Mapping[str, str], max_depth: float) -> str:
    """What must not be overlooked beside the numbers; "" for nothing."""
    found = []
    if result.failures:
        found.append(
            f"Incomplete: the numbers are those of {result.num_images} images. "
            f"{describe_failures(result)}"
        )
    if result.gt_use.is_loud:
        found.append(result.gt_use.describe("scored", max_depth).removeprefix("warning: "))
    if result.num_nonfinite:
        found.append(
            f"{result.num_nonfinite:,} scored pixels have a prediction that is not finite; they "
            "are scored as the nearest or the farthest depth."
        )
    if "control" in labels:
        found.append(f"The words are those of the control “{labels['control']}”.")
    if "calibrated" in labels:
        found.append(f"The depth was calibrated before: {labels['calibrated']}.")
    items = "".join(f"<li>{escape(text)}</li>" for text in found)
    return f'<ul class="warnings">{items}</ul>' if items else ""


def metrics_section(result: EvalResult) -> str:
    """The metrics, as published and over pixels, and those after an alignment, set apart."""
    lines = [
        _metrics_row("mean over images", "as published", result.metrics),
        _metrics_row("over all pixels", "every pixel counts the same", result.micro),
    ]
    for alignment, metrics in result.aligned.items():
        values = {name: metrics[column(name, alignment)] for name in METRIC_NAMES}
        head = f"not metric: after {alignment} alignment {ABOUT[alignment]}"
        lines.append(
            f'<tr class="group"><th colspan="{1 + len(METRICS)}">{escape(head)}</th></tr>'
            + _metrics_row(f"aligned by {alignment}", "NOT METRIC", values)
        )
    counts = (
        f"{result.num_images} images, {result.num_skipped} without ground truth to score, "
        f"{result.num_missing} missing; {100 * result.gt_used:.3g} % of the measured pixels "
        f"scored; {result.num_clamped:,} predictions clamped."
    )
    more = ""
    if result.calibration is not None:
        text = escape(format_calibration(result.calibration))
        more = f"<h3>How far to trust the words alone</h3><pre>{text}</pre>"
    return (
        f"<h2>Metrics</h2>{table(f'<tr><th></th>{metric_heads()}</tr>', lines)}"
        f'<p class="faint">{ABOUT_METRICS} {counts}</p>{more}'
    )


def spread_section(rows: Rows) -> str:
    """How AbsRel is spread over images, and how much of the error is one of scale."""
    values = [row["abs_rel"] for row in rows]
    marks = {"median": median(values), "mean": math.fsum(values) / len(values)}
    points = [(row["log_ratio"], row["silog"] / 100, row["image_path"]) for row in rows]
    square = mean_of([{"of": row["rmse_log"] ** 2} for row in rows], "of")
    share = mean_of([{"of": row["log_ratio"] ** 2} for row in rows], "of") / square if square else 0
    return (
        '<h2>Image by image</h2><div class="pair">'
        f"<figure>{histogram(values, 'AbsRel of an image', marks)}"
        "<figcaption>How many images have which AbsRel.</figcaption></figure>"
        f"<figure>{scale_scatter(points)}<figcaption>One dot for each image. Across: the factor "
        "by which its depth is too large or too small as a whole. Up: what is wrong beside that, "
        "the shape. Below the dashed lines the scale is the larger error.</figcaption></figure>"
        f"</div><p>Of the squared log error <b>{share:.0%}</b> is one of scale: it would be gone "
        "if every image were multiplied by one right factor.</p>"
    )


def depth_section(pixels: PixelErrors) -> str:
    """AbsRel and bias by true depth, with the share of pixels."""
    bins = pixels.depth_bins()
    top = max(each.low for each in bins) * 1.25 if bins else 1.0
    low = min(each.high for each in bins) * 0.8 if bins else 0.1
    bars = [Bin(max(each.low, low), min(each.high, top), each.share, _about(each)) for each in bins]
    middles = [math.sqrt(bar.low * bar.high) for bar in bars]
    lines = [
        Series("AbsRel", middles, [each.abs_rel for each in bins]),
        Series("bias", middles, [each.bias for each in bins]),
    ]
    chart = binned_chart(bars, lines, "relative error", "true depth, m", "share")
    return (
        f'<h2>By true depth</h2><div class="pair"><figure>{chart}'
        f"{_legend([one.label for one in lines])}"
        "<figcaption>AbsRel is the mean of |pred − gt| / gt, bias that of (pred − gt) / gt: above "
        "0 too far, below 0 too near. Bars: share of the scored pixels. Every pixel counts the "
        "same.</figcaption></figure>"
        f"{_depth_table(bins)}</div>"
    )


def _depth_table(bins: Sequence[DepthBin]) -> str:
    lines = [
        f'<tr><th data-sort="{each.low:g}">{_range_text(each)}</th>'
        f"<td>{100 * each.share:.2f} %</td><td>{each.num_images}</td>"
        f"<td>{short(each.abs_rel)}</td>"
        f"<td>{_signed(each.bias)}</td><td>{_signed(each.bias_m)} m</td></tr>"
        for each in bins
    ]
    heads = "".join(
        f"<th>{name}</th>"
        for name in ("true depth", "share", "images", "AbsRel", "bias", "bias in m")
    )
    return table(f"<tr>{heads}</tr>", lines)


def place_section(pixels: PixelErrors) -> str:
    """AbsRel and bias by place in the image."""
    places, aspect = pixels.places(), pixels.aspect
    maps = (
        ("AbsRel", heat_map(places.abs_rel, aspect, "AbsRel by place in the image")),
        ("bias", heat_map(places.bias, aspect, "bias by place in the image", signed=True)),
    )
    texts = ("AbsRel: light is good.", "Bias: red is too far, blue is too near.")
    figures = "".join(
        f"<figure>{drawing}<figcaption>{text}</figcaption></figure>"
        for (_, drawing), text in zip(maps, texts, strict=True)
    )
    return (
        f'<h2>By place in the image</h2><div class="pair">{figures}</div>'
        '<p class="faint">The frame of the protocol in 24 × 32 cells, over all images; every pixel '
        "counts the same, and cells without a scored pixel are empty (outside the crop). Colors "
        "end at the 2nd and 98th percentile of the cells.</p>"
    )


def types_section(rows: Rows) -> str:
    """The metrics of each type of scene, as the folders name it; "" where there is one type."""
    types: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        types[scene_type(row["image_path"])].append(row)
    if len(types) < 2:
        return ""
    largest = sorted(types, key=lambda name: (-len(types[name]), name))
    lines = []
    for name in largest[:MAX_TYPES]:
        own = types[name]
        values = average_over_images(own)
        cells = "".join(f"<td>{short(values[key])}</td>" for key in METRICS)
        num_scenes = count_scenes([row["image_path"] for row in own])
        lines.append(
            f"<tr><th>{escape(name)}</th><td>{len(own)}</td><td>{num_scenes}</td>{cells}"
            f"<td>×{math.exp(mean_of(own, 'log_ratio')):.3f}</td></tr>"
        )
    heads = (
        f"<tr><th>type</th><th>images</th><th>scenes</th>{metric_heads()}"
        "<th>scale<small>→ 1</small></th></tr>"
    )
    rest = len(types) - MAX_TYPES
    note = f" {rest} types with fewer images are left out." if rest > 0 else ""
    return (
        f"<h2>By type of scene</h2>{table(heads, lines)}"
        '<p class="faint">Mean over images. The type is the name of the image’s folder. Images of '
        "one scene are nearly one picture: a type with few scenes says little. Scale: predicted "
        f"over true, geometric mean.{note}</p>"
    )


def mean_of(rows: Rows, key: str) -> float:
    """Over rows, at least one."""
    return math.fsum(row[key] for row in rows) / len(rows)


def _metrics_row(name: str, note: str, values: Mapping[str, float]) -> str:
    cells = "".join(f"<td>{values[key]:.4f}</td>" for key in METRICS)
    return f"<tr><th>{escape(name)}<small>{escape(note)}</small></th>{cells}</tr>"


def _legend(labels: Sequence[str]) -> str:
    items = "".join(
        f'<li><i class="c{number % NUM_COLORS}"></i>{escape(label)}</li>'
        for number, label in enumerate(labels)
    )
    return f'<ul class="legend">{items}</ul>'


def _range_text(each: DepthBin) -> str:
    if each.high == math.inf:
        return f"from {each.low:g} m"
    return f"{each.low:g} – {each.high:g} m"


def _about(each: DepthBin) -> str:
    return f"{_range_text(each)}: {100 * each.share:.2f} % of the pixels"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")
