"""What charts are made of, as inline SVG: axes with ticks, lines, dots, whole drawings.

Colors are CSS classes of `style.css`, so that drawings follow light and dark mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
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

    def ticks(self, num: int = 5) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high, num)


def nice_ticks(low: float, high: float, max_count: int) -> list[float]:
    """Return increasing round numbers inside [low, high], at most `max_count` + 1 of them."""
    if not high > low:
        raise ValueError(f"ticks need low < high, got {low} and {high}")
    raw_step = (high - low) / max_count
    magnitude = 10.0 ** math.floor(math.log10(raw_step))
    step = next((m * magnitude for m in (1, 2, 5) if m * magnitude >= raw_step), 10 * magnitude)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1-2-5 steps inside [low, high], or powers of ten where those would be too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 5)):
        values = [m * 10.0**power for power in decades if power % every == 0 for m in multiples]
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) <= 7:
            break
    return ticks if len(ticks) > 1 else nice_ticks(low, high, 5)


def padded_range(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        factor = max((high / low) ** 0.06, 1.05)
        return low / factor, high * factor
    padding = max(0.06 * (high - low), 0.02 * abs(high), 1e-6)
    return (0.0 if 0 <= low < 0.5 * high else low - padding), high + padding


def is_drawable(value: float, log: bool) -> bool:
    """Say whether a value has a place on the axis."""
    return math.isfinite(value) and (value > 0 or not log)


def shortened(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def frame(
    x_axis: Axis,
    y_axis: Axis,
    y_label: str,
    x_label: str = "step",
    *,
    num_ticks: int = 5,
    with_x: bool = True,
) -> str:
    """Grid, ticks and names of two axes; the vertical one starts at the bottom.

    num_ticks: at most, of the vertical axis. with_x: the horizontal axis has ticks and its name.
    """
    left, right, bottom, top = x_axis.start, x_axis.end, y_axis.start, y_axis.end
    parts = []
    for tick in y_axis.ticks(num_ticks):
        y = y_axis.position(tick)
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" class="tick">{tick:g}</text>'
        )
    x_note, y_note = (", log scale" if axis.log else "" for axis in (x_axis, y_axis))
    parts.append(
        f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" class="axis"/>'
        f'<text transform="translate(11 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle"'
        f' class="tick">{escape(y_label)}{y_note}</text>'
    )
    if with_x:
        parts += [_x_tick(x_axis.position(tick), tick, bottom) for tick in x_axis.ticks()]
        parts.append(
            f'<text x="{(left + right) / 2}" y="{bottom + 35}" text-anchor="middle" class="tick">'
            f"{escape(x_label)}{x_note}</text>"
        )
    return "".join(parts)


def _x_tick(x: float, tick: float, bottom: float) -> str:
    text = f"{tick / 1000:g}k" if tick >= 1000 else f"{tick:g}"
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}" class="axis"/>'
        f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle" class="tick">{text}</text>'
    )


def polyline(
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


def error_bars(
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


def dots(series: Series, x_axis: Axis, y_axis: Axis, css: str, unit: str = "step") -> str:
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
