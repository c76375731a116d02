"""Charts of many images or pixels as inline SVG: histogram, values by bin, scatter, heat map.

Every function returns a string of SVG; hovering a mark shows its exact value without any script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

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
    frame,
    is_drawable,
    nice_ticks,
    polyline,
    svg,
)

MAX_DOTS = 1000
NUM_BARS = 40
# Colors from low to high, the same on white and on dark pages.
RISING = ("#f7f4ee", "#fddc9a", "#fba155", "#e5563f", "#a8214f", "#4d1139")
SIGNED = ("#1f4e9c", "#7fa9d8", "#f2f2f2", "#eda272", "#b3382c")


@dataclass(frozen=True)
class Bin:
    """One bar: [low, high) holds `share` of everything; `about` is told where one points at it."""

    low: float
    high: float
    share: float
    about: str = ""


def histogram(values: Sequence[float], x_label: str, marks: dict[str, float]) -> str:
    """Draw how many values lie where; those beyond the 99th percentile share the last bar.

    values: finite, at least one. marks: name -> value of vertical lines.
    """
    top = float(np.quantile(values, 0.99)) if len(values) >= 50 else max(values)
    edges = nice_ticks(0.0, max(top, 1e-9), NUM_BARS)
    edges.append(2 * edges[-1] - edges[-2])
    inside = np.minimum(values, np.nextafter(edges[-1], 0.0))
    counts = np.histogram(inside, edges)[0]
    num_beyond = int(np.sum(np.asarray(values) >= edges[-1]))
    x_axis = Axis(0.0, edges[-1], LEFT, WIDTH - RIGHT)
    y_axis = Axis(0.0, max(counts) * 1.12, HEIGHT - BOTTOM, TOP)
    label = f"{x_label} (last bar: {num_beyond} beyond)" if num_beyond else x_label
    parts = [frame(x_axis, y_axis, "images", label)]
    for low, high, count in zip(edges, edges[1:], counts.tolist(), strict=False):
        about = f"{low:.4g} to {high:.4g}: {count} images"
        parts.append(_bar(x_axis, y_axis, low, high, count, about))
    places = [x_axis.position(min(value, edges[-1])) for value in marks.values()]
    for number, ((name, value), x) in enumerate(zip(marks.items(), places, strict=True)):
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="bound"/>'
            f'<text x="{max(places) + 5:.1f}" y="{TOP + 10 + 14 * number}" class="mark halo">'
            f"{escape(name)} {value:.3g}</text>"
        )
    return svg(WIDTH, HEIGHT, f"Histogram of {x_label}", parts)


def binned_chart(
    bins: Sequence[Bin], lines: Sequence[Series], y_label: str, x_label: str, bar_label: str
) -> str:
    """Draw values by bin on a log axis, and below them the share of each bin as bars.

    bins: at least one, 0 < low < high. lines: a value for each bin; `steps` are the bins' middles.
    """
    height, split = 330, 215
    x_axis = Axis(bins[0].low, bins[-1].high, LEFT, WIDTH - RIGHT, log=True)
    values = [value for one in lines for value in one.values if math.isfinite(value)]
    low, high = min([0.0, *values]), max([0.0, *values])
    pad = max(0.08 * (high - low), 1e-3)
    y_axis = Axis(low - pad if low < 0 else 0.0, high + pad, split, TOP)
    share_axis = Axis(0.0, max(each.share for each in bins) * 1.1, height - BOTTOM, split + 20)
    parts = [
        frame(x_axis, share_axis, bar_label, x_label, num_ticks=2),
        frame(x_axis, y_axis, y_label, "", num_ticks=7, with_x=False),
        *(_bar(x_axis, share_axis, b.low, b.high, b.share, b.about) for b in bins),
    ]
    if low < 0:
        zero = y_axis.position(0.0)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}" class="axis"/>'
        )
    for number, one in enumerate(lines):
        parts.append(polyline(one.steps, one.values, x_axis, y_axis, f"line c{number}"))
        parts.append(dots(one, x_axis, y_axis, f"line c{number}", x_label))
    label = f"{y_label} by {x_label}: {', '.join(one.label for one in lines)}"
    return svg(WIDTH, height, label, parts)


def scale_scatter(points: Sequence[tuple[float, float, str]]) -> str:
    """Draw images by the error of their scale and by what is left without it.

    points: ln of the scale, spread of ln pred - ln gt about it, name; at least one. The lines are
    where both are equal. Of more than MAX_DOTS points some are drawn, evenly spaced.
    """
    drawn = points[:: -(-len(points) // MAX_DOTS)]
    widest = max(0.1, *(abs(x) for x, _, _ in drawn)) * 1.06
    x_axis = Axis(math.exp(-widest), math.exp(widest), LEFT, WIDTH - RIGHT, log=True)
    top = max(0.02, *(y for _, y, _ in drawn)) * 1.08
    y_axis = Axis(0.0, top, HEIGHT - BOTTOM, TOP)
    reach = min(top, widest)
    parts = [frame(x_axis, y_axis, "spread about it (std of ln pred/gt)", "predicted / true scale")]
    for sign in (-1, 1):
        steps = [1.0, math.exp(sign * reach)]
        parts.append(polyline(steps, [0.0, reach], x_axis, y_axis, "bound"))
    for x, y, name in drawn:
        scale = math.exp(x)
        parts.append(
            f'<circle cx="{x_axis.position(scale):.1f}" cy="{y_axis.position(y):.1f}" r="3"'
            f' class="dot c0 thin"><title>{escape(name)}: ×{scale:.3f}, {y:.3f}</title></circle>'
        )
    return svg(WIDTH, HEIGHT, "Images by error of scale and by the rest", parts)


def heat_map(
    values: NDArray[np.floating], aspect: float, name: str, *, signed: bool = False
) -> str:
    """Draw a grid [R, C] as colored cells, with a color bar in percent; nan is left empty.

    aspect: height of the drawing over its width. signed: 0 is in the middle of the colors.
    """
    finite = np.abs(values[np.isfinite(values)])
    top = float(np.quantile(finite, 0.98)) if finite.size else 1.0
    top = max(top, 1e-6)
    bottom = float(np.quantile(finite, 0.02)) if finite.size else 0.0
    low, colors = (-top, SIGNED) if signed else (min(bottom, 0.9 * top), RISING)
    num_rows, num_columns = values.shape
    width, height = WIDTH, round(WIDTH * aspect)
    cell_width, cell_height = width / num_columns, height / num_rows
    parts = [f'<rect x="0" y="0" width="{width}" height="{height}" class="empty"/>']
    parts.append('<g shape-rendering="crispEdges">')
    for row, column in np.ndindex(num_rows, num_columns):
        value = float(values[row, column])
        if not math.isfinite(value):
            continue
        color = mixed(colors, (value - low) / (top - low))
        parts.append(
            f'<rect x="{column * cell_width:.1f}" y="{row * cell_height:.1f}" '
            f'width="{cell_width + 0.3:.1f}" height="{cell_height + 0.3:.1f}" fill="{color}">'
            f"<title>{100 * value:.1f} %</title></rect>"
        )
    parts.append(f"{_color_bar(colors, low, top, height + 10, width)}</g>")
    return svg(width, height + 44, name, parts)


def mixed(colors: Sequence[str], fraction: float) -> str:
    """The color at 0 <= fraction <= 1 of the way through `colors`, `#rrggbb` each."""
    place = min(max(fraction, 0.0), 1.0) * (len(colors) - 1)
    first = min(int(place), len(colors) - 2)
    ends = [[int(colors[n][at : at + 2], 16) for at in (1, 3, 5)] for n in (first, first + 1)]
    rgb = [round(a + (b - a) * (place - first)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{value:02x}" for value in rgb)


def _color_bar(colors: Sequence[str], low: float, top: float, y: float, width: float) -> str:
    """Ends are cut off, so the bar says "and beyond" by its outer ticks."""
    steps, axis = 64, Axis(low, top, 0.0, width)
    parts = [
        f'<rect x="{width * n / steps:.1f}" y="{y}" width="{width / steps + 0.3:.1f}" height="10" '
        f'fill="{mixed(colors, n / (steps - 1))}"/>'
        for n in range(steps)
    ]
    for tick in axis.ticks():
        x = axis.position(tick)
        anchor = "start" if x < 16 else "end" if x > width - 16 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{y + 26}" text-anchor="{anchor}" class="tick">'
            f"{100 * tick:g} %</text>".replace(">-", ">−")
        )
    return "".join(parts)


def _bar(x_axis: Axis, y_axis: Axis, low: float, high: float, value: float, about: str) -> str:
    if not is_drawable(value, False):
        return ""
    left, right, top = x_axis.position(low), x_axis.position(high), y_axis.position(value)
    return (
        f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
        f'height="{max(y_axis.start - top, 0.0):.1f}" class="bar plain">'
        f"<title>{escape(about)}</title></rect>"
    )
