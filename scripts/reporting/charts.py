"""Charts of the reports as inline SVG: lines over steps, means with spreads, bars, ratios.

Every function returns a string of SVG. Colors are CSS classes of report_parts.CSS, so the charts
follow light and dark mode; hovering a mark shows its exact value without any script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from common.evaluation.canvas import nice_ticks

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
NUM_COLORS = 8
MAX_POINTS = 600


@dataclass(frozen=True)
class Series:
    """One named line: values[i] was logged at steps[i]; a non-finite value breaks the line."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """A scale from data [low, high] to pixels [start, end], linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def position(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high, 5)


def line_chart(
    series: Sequence[Series], y_label: str, *, log_y: bool = False, dots: bool = False
) -> str:
    """Draw one line per series over steps; with `dots` the logged values, else a smoothed line
    over the faint logged one."""
    drawable = [y for one in series for y in one.values if is_drawable(y, log_y)]
    steps = [step for one in series for step in one.steps]
    if not drawable:
        return '<p class="faint">Nothing to draw: no finite value was logged.</p>'
    x_axis = Axis(0.0, max(1.0, *steps), LEFT, WIDTH - RIGHT)
    y_axis = Axis(*_padded_range(drawable, log_y), HEIGHT - BOTTOM, TOP, log_y)
    parts = [_frame(x_axis, y_axis, y_label)]
    for number, one in enumerate(series):
        color = f"line c{number % NUM_COLORS}"
        if dots:
            parts.append(_polyline(one.steps, one.values, x_axis, y_axis, color))
            parts.append(_dots(one, x_axis, y_axis, color))
        else:
            smooth = smoothed(one.values, max(1, len(one.values) // 25), log_y)
            parts.append(_polyline(one.steps, one.values, x_axis, y_axis, f"{color} raw"))
            parts.append(_polyline(one.steps, smooth, x_axis, y_axis, color))
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
    x_axis = Axis(*_padded_range([step for step, *_ in rows], True), LEFT, WIDTH - RIGHT, log=True)
    y_axis = Axis(*_padded_range(ends, False), HEIGHT - BOTTOM, TOP)
    parts = [_frame(x_axis, y_axis, y_label, x_label)]
    for number, (one, its_spreads) in enumerate(zip(series, spreads, strict=True)):
        color = f"c{number % NUM_COLORS}"
        parts += [_polyline(one.steps, one.values, x_axis, y_axis, f"line {color}")]
        parts += [_error_bars(one, its_spreads, x_axis, y_axis, f"line {color}")]
        parts += [_dots(one, x_axis, y_axis, f"line {color}", x_label)]
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
        end = axis.position(value) if math.isfinite(value) else 0.0
        color = "good" if value < bound else "plain"
        parts.append(
            f'<rect x="0" y="{y + 20}" width="{max(end, 1):.1f}" height="16" rx="3"'
            f' class="bar {color}"><title>{escape(name)}: {value:.6g}</title></rect>'
            f'<text x="{end + 6:.1f}" y="{y + 33}" class="value">{value:.3f}</text>'
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


def is_drawable(value: float, log: bool) -> bool:
    """Say whether a value has a place on the axis."""
    return math.isfinite(value) and (value > 0 or not log)


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


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1-2-5 steps inside [low, high], or powers of ten where those would be too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 5)):
        values = [m * 10.0**power for power in decades if power % every == 0 for m in multiples]
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) <= 7:
            break
    return ticks if len(ticks) > 1 else nice_ticks(low, high, 5)


def shortened(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def _padded_range(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        factor = max((high / low) ** 0.06, 1.05)
        return low / factor, high * factor
    padding = max(0.06 * (high - low), 0.02 * abs(high), 1e-6)
    return (0.0 if 0 <= low < 0.5 * high else low - padding), high + padding


def _frame(x_axis: Axis, y_axis: Axis, y_label: str, x_label: str = "step") -> str:
    parts = []
    for tick in y_axis.ticks():
        y = y_axis.position(tick)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="tick">{tick:g}</text>'
        )
    for tick in x_axis.ticks():
        x = x_axis.position(tick)
        text = f"{tick / 1000:g}k" if tick >= 1000 else f"{tick:g}"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 4}"'
            f' class="axis"/><text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle"'
            f' class="tick">{text}</text>'
        )
    x_note, y_note = (", log scale" if axis.log else "" for axis in (x_axis, y_axis))
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"'
        f' class="axis"/><text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}"'
        f' text-anchor="middle" class="tick">{escape(x_label)}{x_note}</text>'
        f'<text transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"'
        f' text-anchor="middle" class="tick">{escape(y_label)}{y_note}</text>'
    )
    return "".join(parts)


def _polyline(
    steps: Sequence[float], values: Sequence[float], x_axis: Axis, y_axis: Axis, css: str
) -> str:
    stride = max(1, math.ceil(len(values) / MAX_POINTS))
    commands, pen = [], "M"
    for step, value in list(zip(steps, values, strict=True))[::stride]:
        if not is_drawable(value, y_axis.log):
            pen = "M"
            continue
        commands.append(f"{pen}{x_axis.position(step):.1f} {y_axis.position(value):.1f}")
        pen = "L"
    return f'<path d="{"".join(commands)}" class="{css}"/>' if commands else ""


def _error_bars(
    series: Series, spreads: Sequence[float], x_axis: Axis, y_axis: Axis, css: str
) -> str:
    bars = []
    for step, value, spread in zip(series.steps, series.values, spreads, strict=True):
        if math.isfinite(value) and math.isfinite(spread):
            x, low, high = (
                x_axis.position(step),
                y_axis.position(value - spread),
                y_axis.position(value + spread),
            )
            caps = "".join(f"M{x - 4:.1f} {y:.1f}h8" for y in (low, high))
            bars.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}{caps}" class="{css}"/>')
    return "".join(bars)


def _dots(series: Series, x_axis: Axis, y_axis: Axis, css: str, unit: str = "step") -> str:
    return "".join(
        f'<circle cx="{x_axis.position(step):.1f}" cy="{y_axis.position(value):.1f}" r="3"'
        f' class="{css.replace("line", "dot")}">'
        f"<title>{escape(unit)} {step:g}: {value:.6g}</title></circle>"
        for step, value in zip(series.steps, series.values, strict=True)
        if is_drawable(value, y_axis.log)
    )


def svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    """A whole drawing. label: what it shows, for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
