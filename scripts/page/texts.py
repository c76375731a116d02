"""States as words: HTML, in which everything that is not ours is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from common.errors import UserError
from common.evaluation.known_distance import describe_fit
from scripts.page.attempts import writable
from scripts.page.desk import Desk
from scripts.page.lengths import depth_at
from scripts.page.state import PageState
from scripts.prediction.outputs import describe_depth
from scripts.prediction.result import Prediction
from scripts.prediction.trained import brief


def describe_model(desk: Desk) -> str:
    """Which model it is, and what the page cannot do with it and why."""
    trained = desk.model.trained
    place = trained.path.parent
    name = (place.parent if place.name == "checkpoints" else place).name
    experiment = trained.config.experiment
    lines = [
        f"{experiment}/{name}, recipe {trained.stage.recipe}, trained on {trained.config.data.name}"
        f", on {desk.model.device}",
        *wordless_reason(desk),
        *drawless_reason(desk),
    ]
    return _lines(lines)


def wordless_reason(desk: Desk) -> list[str]:
    """Why there is no caption to type; nothing where there is one."""
    if desk.reads_words:
        return []
    if not desk.model.trained.reads_words:
        return ["This model reads no words: captions are off."]
    control = desk.model.config.text.control
    return [
        f"This model was trained with the same words for every picture (text.control={control}): "
        "captions are off."
    ]


def drawless_reason(desk: Desk) -> list[str]:
    """Why there are no scenes to sample; nothing where there are."""
    if desk.can_draw:
        return []
    return [
        f"This model ({desk.model.trained.stage.recipe}) has no distribution of scenes to draw "
        "from: sampled scenes are off."
    ]


def describe_prediction(prediction: Prediction | None) -> str:
    """Least, median and largest depth, camera, notes."""
    if prediction is None:
        return ""
    camera = prediction.intrinsics
    lens = (
        "no camera is known"
        if camera is None
        else f"focal length {camera.fx:.0f} px ({camera.source})"
    )
    words = f"for “{brief(prediction.caption)}”" if prediction.caption else "without words"
    lines = [f"<b>{escape(describe_range(prediction))}</b>", escape(words), escape(writable(lens))]
    return _lines(lines, *prediction.notes, is_escaped=True)


def describe_range(prediction: Prediction) -> str:
    """In one line."""
    found = describe_depth(prediction.depth)
    if found["median"] is None:
        return "no depth"
    low, median, high = found["min"], found["median"], found["max"]
    return f"{low:.3g} to {high:.3g} m, median {median:.3g} m"


def describe_comparison(state: PageState) -> str:
    """Both medians, and how many times the first the second is."""
    first, second = state.shown(state.own), state.shown(state.other)
    if first is None or second is None:
        return ""
    both = np.isfinite(first.depth) & np.isfinite(second.depth) & (first.depth > 0)
    ratio = second.depth[both] / first.depth[both]
    middle = f"{np.median(ratio):.3g} times" if ratio.size else "not comparable with"
    return _lines(
        [
            f"caption: {describe_range(first)}",
            f"other words: {describe_range(second)}",
            f"With the other words depth is {middle} that of the caption (median over pixels).",
        ]
    )


def describe_scenes(state: PageState) -> str:
    """How far apart the sampled scenes are."""
    drawn = state.shown(state.drawn)
    if drawn is None or drawn.log_depth_std is None or drawn.scenes is None:
        return ""
    spread = float(np.nanmean(drawn.log_depth_std))
    return _lines(
        [
            f"{len(drawn.scenes)} scenes; the standard deviation of ln depth is {spread:.3g} on "
            f"average, about {100 * math.expm1(spread):.0f} % of the depth",
            "This is what the words leave open, and no error bar.",
        ]
    )


def describe_points(state: PageState) -> str:
    """The points, what is known of them, and what the calibration made of it."""
    rows = [_point_row(state, number) for number in range(len(state.points))]
    table = _table(["point", "x", "y", "depth"], rows) if rows else ""
    known = _table(["known", "meters", "predicted", "calibrated", "error"], _known_rows(state))
    told = describe_fit(state.fitted) if state.fitted else []
    return table + (known if state.known else "") + _lines(told)


def describe_scores(state: PageState) -> str:
    """The nine metrics."""
    if state.scored is None:
        return ""
    return _table(["metric", "value"], state.scored.rows) + _lines([state.scored.note])


def describe_error(message: str) -> str:
    """A line that says what went wrong; empty: nothing did."""
    return f'<div class="mistake" role="alert">{escape(message)}</div>' if message else ""


def _point_row(state: PageState, number: int) -> list[str]:
    x, y = state.points[number]
    return [str(number + 1), str(x), str(y), _meters_at(state.shown(state.own), (x, y))]


def _meters_at(prediction: Prediction | None, point: tuple[int, int]) -> str:
    if prediction is None:
        return "not predicted yet"
    try:
        return f"{depth_at(prediction.depth, point):.3f} m"
    except UserError:
        return "none"


def _known_rows(state: PageState) -> list[list[str]]:
    rows = []
    for number, place in enumerate(state.known):
        row = [place.describe(), f"{place.meters:g}"]
        if state.own is not None:
            predicted = place.predicted(state.own)
            row.append(f"{predicted:.3f}")
            if state.fitted is not None and number < len(state.fitted.residuals):
                residual = state.fitted.residuals[number]
                row += [
                    f"{place.meters * math.exp(residual):.3f}",
                    f"{100 * math.expm1(residual):+.1f} %",
                ]
        rows.append(row + [""] * (5 - len(row)))
    return rows


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(writable(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<table class="numbers"><tr>{top}</tr>{body}</table>'


def _lines(lines: Sequence[str], *more: str, is_escaped: bool = False) -> str:
    """Each in a paragraph; `more` is always escaped."""
    own = lines if is_escaped else [escape(writable(line)) for line in lines]
    return "".join(f"<p>{line}</p>" for line in (*own, *(escape(writable(m)) for m in more)))
