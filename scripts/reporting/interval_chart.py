"""A chart of differences with their intervals, as inline SVG."""

import math
from collections.abc import Sequence
from html import escape

from common.evaluation.comparison import Estimate
from common.pages.axes import Axis, shortened, svg

WIDTH, ROW_HEIGHT, TOP, BOTTOM = 640, 44, 26, 40


def interval_chart(
    names: Sequence[str], found: Sequence[Estimate], zero_label: str, x_label: str
) -> str:
    """Draw each mean as a dot on its interval, beside a line at 0; below 0 is better.

    Intervals that leave out 0 stand out. zero_label: what 0 is.
    """
    ends = [0.0, *(end for each in found for end in (each.mean, each.low, each.high))]
    finite = [end for end in ends if math.isfinite(end)]
    padding = max(0.08 * (max(finite) - min(finite)), 1e-4)
    axis = Axis(min(finite) - padding, max(finite) + padding, 0.0, WIDTH)
    bottom = TOP + ROW_HEIGHT * len(names)
    zero = axis.position(0.0)
    anchor = "end" if zero > 0.7 * WIDTH else "start" if zero < 0.3 * WIDTH else "middle"
    parts = [
        *(_tick(axis, tick, bottom) for tick in axis.ticks() if _has_room(axis, tick)),
        f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="18" y2="{bottom}" class="bound"/>'
        f'<text x="{zero:.1f}" y="12" text-anchor="{anchor}" class="bound-text">'
        f"{escape(zero_label)}</text>",
        *(
            _row(axis, TOP + ROW_HEIGHT * number, name, each)
            for number, (name, each) in enumerate(zip(names, found, strict=True))
        ),
        f'<text x="{WIDTH / 2}" y="{bottom + BOTTOM - 5}" text-anchor="middle" class="tick">'
        f"← better · {escape(x_label)} · worse →</text>",
    ]
    return svg(WIDTH, bottom + BOTTOM, f"{x_label}: {', '.join(names)}", parts)


def signed(value: float, digits: int = 3) -> str:
    """With a true minus sign; `0.000` has none."""
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _has_room(axis: Axis, tick: float) -> bool:
    return 20 <= axis.position(tick) <= WIDTH - 20


def _tick(axis: Axis, tick: float, bottom: float) -> str:
    x = axis.position(tick)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom}" class="grid"/>'
        f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle" class="tick">'
        f"{tick:+g}</text>".replace(">-", ">−").replace(">+0<", ">0<")
    )


def _row(axis: Axis, y: float, name: str, found: Estimate) -> str:
    color = "plain" if not found.differs else "good" if found.mean < 0 else "bad"
    x, value = axis.position(found.mean), signed(found.mean)
    line = ""
    if found.has_interval:
        low, high = axis.position(found.low), axis.position(found.high)
        value += f" [{signed(found.low)}, {signed(found.high)}]"
        line = f'<path d="M{low:.1f} {y + 29}H{high:.1f}" class="span {color}"/>'
    return (
        f'<text x="0" y="{y + 14}" class="name halo">{escape(shortened(name, 58))}</text>'
        f'<text x="{WIDTH}" y="{y + 14}" text-anchor="end" class="value halo">{value}</text>{line}'
        f'<circle cx="{x:.1f}" cy="{y + 29}" r="5" class="span {color}">'
        f"<title>{escape(name)}: {value}</title></circle>"
    )
