"""Charts of the reports as inline SVG: lines over steps, means with spreads, bars, ratios.

Every function returns a string of SVG; hovering a mark shows its exact value without any script.
`distributions.py` has those of many images or pixels.
"""

import math
from collections.abc import Sequence
from html import escape

from common.pages.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Series,
    dots,
    error_bars,
    frame,
    is_drawable,
    padded_range,
    polyline,
    shortened,
    svg,
)

NUM_COLORS = 8


def line_chart(
    series: Sequence[Series], y_label: str, *, log_y: bool = False, with_dots: bool = False
) -> str:
    """Draw one line per series over steps; with dots the logged values, else a smoothed line
    over the faint logged one."""
    drawable = [y for one in series for y in one.values if is_drawable(y, log_y)]
    steps = [step for one in series for step in one.steps]
    if not drawable:
        return '<p class="faint">Nothing to draw: no finite value was logged.</p>'
    x_axis = Axis(0.0, max(1.0, *steps), LEFT, WIDTH - RIGHT)
    y_axis = Axis(*padded_range(drawable, log_y), HEIGHT - BOTTOM, TOP, log_y)
    parts = [frame(x_axis, y_axis, y_label)]
    for number, one in enumerate(series):
        color = f"line c{number % NUM_COLORS}"
        if with_dots:
            parts.append(polyline(one.steps, one.values, x_axis, y_axis, color))
            parts.append(dots(one, x_axis, y_axis, color))
        else:
            smooth = smoothed(one.values, max(1, len(one.values) // 25), log_y)
            parts.append(polyline(one.steps, one.values, x_axis, y_axis, f"{color} raw"))
            parts.append(polyline(one.steps, smooth, x_axis, y_axis, color))
    label = f"{y_label} over steps: {', '.join(one.label for one in series)}"
    return svg(WIDTH, HEIGHT, label, parts)


def spread_chart(
    series: Sequence[Series], spreads: Sequence[Sequence[float]], x_label: str, y_label: str
) -> str:
    """Draw one line per series over a log axis, with a bar of +- spread at each of its values.

    series: the means, in the order of the axis (`steps`, positive). spreads[i][j]: of value j of
    series i; a non-finite one draws no bar. The legend stands below the chart.
    """
    rows = [
        (step, value, spread if math.isfinite(spread) else 0.0)
        for one, its_spreads in zip(series, spreads, strict=True)
        for step, value, spread in zip(one.steps, one.values, its_spreads, strict=True)
        if math.isfinite(value)
    ]
    ends = [end for _, value, spread in rows for end in (value - spread, value + spread)]
    x_axis = Axis(*padded_range([step for step, *_ in rows], True), LEFT, WIDTH - RIGHT, log=True)
    y_axis = Axis(*padded_range(ends, False), HEIGHT - BOTTOM, TOP)
    parts = [frame(x_axis, y_axis, y_label, x_label)]
    for number, (one, its_spreads) in enumerate(zip(series, spreads, strict=True)):
        color = f"c{number % NUM_COLORS}"
        parts += [polyline(one.steps, one.values, x_axis, y_axis, f"line {color}")]
        parts += [error_bars(one, its_spreads, x_axis, y_axis, f"line {color}")]
        parts += [dots(one, x_axis, y_axis, f"line {color}", x_label)]
        y = HEIGHT + 18 * number + 12
        parts.append(
            f'<circle cx="{LEFT + 6}" cy="{y - 4}" r="4" class="dot {color}"/>'
            f'<text x="{LEFT + 16}" y="{y}">{escape(one.label)}</text>'
        )
    label = f"{y_label} over {x_label}: {', '.join(one.label for one in series)}"
    return svg(WIDTH, HEIGHT + 18 * len(series) + 6, label, parts)


def bar_chart(names: Sequence[str], values: Sequence[float], bound: float, bound_label: str) -> str:
    """Draw horizontal bars with a dashed line at `bound`; bars that end before it stand out."""
    width, row_height, top = 640, 46, 26
    height = top + row_height * len(names) + 6
    longest = max([bound, *(value for value in values if math.isfinite(value))])
    axis = Axis(0.0, longest * 1.18, 0.0, width)
    bound_x = axis.position(bound)
    anchor = "end" if bound_x > width / 2 else "start"
    parts = []
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + row_height * number
        parts.append(f'<text x="0" y="{y + 14}" class="name">{escape(shortened(name, 72))}</text>')
        text = f"{value:.3f}" if math.isfinite(value) else "–"
        end = axis.position(value) if math.isfinite(value) else 0.0
        color = "good" if value < bound else "plain"
        parts.append(
            f'<rect x="0" y="{y + 20}" width="{max(end, 1):.1f}" height="16" rx="3"'
            f' class="bar {color}"><title>{escape(name)}: {value:.6g}</title></rect>'
            f'<text x="{end + 6:.1f}" y="{y + 33}" class="value">{text}</text>'
        )
    parts.append(
        f'<line x1="{bound_x:.1f}" x2="{bound_x:.1f}" y1="18" y2="{height}" class="bound"/>'
        f'<text x="{bound_x:.1f}" y="12" text-anchor="{anchor}" class="bound-text">'
        f"{escape(bound_label)}</text>"
    )
    return svg(width, height, "AbsRel of every row", parts)


def ratio_chart(labels: Sequence[str], ratios: Sequence[float], marks: dict[float, str]) -> str:
    """Draw positive ratios as dots on a log axis, with a labeled vertical line per mark."""
    width, row_height, top = 640, 46, 26
    height = top + row_height * len(labels) + 6
    shown = [ratio for ratio in [*ratios, *marks] if is_drawable(ratio, log=True)]
    axis = Axis(min(shown) / 2, max(shown) * 2, 0.0, width, log=True)
    parts = []
    for mark, text in marks.items():
        x = axis.position(mark)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{height}" class="bound"/>'
            f'<text x="{x:.1f}" y="12" text-anchor="middle" class="bound-text">'
            f"{escape(text)}</text>"
        )
    for number, (label, ratio) in enumerate(zip(labels, ratios, strict=True)):
        y = top + row_height * number
        parts.append(f'<text x="0" y="{y + 14}" class="name halo">{escape(label)}</text>')
        if not is_drawable(ratio, log=True):
            continue
        x, truth = axis.position(ratio), axis.position(1.0)
        text_x, anchor = (x - 11, "end") if ratio < 1 else (x + 11, "start")
        parts.append(
            f'<line x1="{truth:.1f}" x2="{x:.1f}" y1="{y + 30}" y2="{y + 30}" class="line c0"/>'
            f'<circle cx="{x:.1f}" cy="{y + 30}" r="6" class="dot c0"/>'
            f'<text x="{text_x:.1f}" y="{y + 35}" text-anchor="{anchor}" class="value halo">'
            f"{ratio:.3g}</text>"
        )
    return svg(width, height, "Predicted over true depth", parts)


def wants_log(values: Sequence[float]) -> bool:
    """Choose a log axis where every finite value is positive and they span more than a decade."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 10 * min(finite)


def smoothed(values: Sequence[float], half_window: int, log: bool) -> list[float]:
    """Return the centered running mean of the drawable values; the other values stay."""
    means = []
    for index, value in enumerate(values):
        near = values[max(0, index - half_window) : index + half_window + 1]
        drawable = [each for each in near if is_drawable(each, log)]
        means.append(sum(drawable) / len(drawable) if is_drawable(value, log) else value)
    return means
