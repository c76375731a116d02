"""What the page shows after an event: a state drawn, in the order of `Components.found`.

An event that fails changes nothing but the line of the mistake; a new picture that cannot be read
leaves the page empty, so that no old depth stands beside it.
"""

from collections.abc import Callable
from typing import Any

import gradio as gr

from scripts.page import texts
from scripts.page.attempts import attempt
from scripts.page.desk import Desk
from scripts.page.drawings import draw_comparison, draw_picture, draw_scene, draw_spread
from scripts.page.state import PageState
from scripts.prediction.outputs import draw_depth

NUM_FOUND = 16  # of `Components.found`


def respond(desk: Desk, own: PageState, work: Callable[[], PageState]) -> list[Any]:
    """What the page shows after some work; after a mistake, that alone is new."""
    shown, message = attempt(lambda: show(desk, work(), own))
    if shown is None:
        return [own, texts.describe_error(message), *[gr.skip()] * (NUM_FOUND - 2)]
    return shown


def respond_anew(desk: Desk, work: Callable[[], PageState]) -> list[Any]:
    """What the page shows of another picture; after a mistake, nothing else."""
    shown, message = attempt(lambda: show(desk, work(), None))
    return shown or show(desk, PageState(), None, message)


def show(desk: Desk, state: PageState, before: PageState | None, message: str = "") -> list[Any]:
    """A state, for `Components.found`; what shows the same as before is left as it is."""
    own, other, drawn = (state.shown(p) for p in (state.own, state.other, state.drawn))
    is_new = before is None or not (before.own is state.own and before.fitted is state.fitted)
    cloud = _cloud(desk, state) if is_new else gr.skip()
    picture = state.picture and draw_picture(state.picture.rgb, state.points)
    count = 1 if drawn is None or drawn.scenes is None else len(drawn.scenes)
    scenes = gr.Slider(maximum=max(count, 2), value=1, visible=drawn is not None)
    return [
        state,
        texts.describe_error(message),
        picture,
        own and draw_depth(own.depth, own.caption),
        texts.describe_prediction(own),
        cloud,
        draw_comparison(own, other) if own and other else None,
        texts.describe_comparison(state),
        scenes,
        drawn and draw_scene(drawn, 0),
        drawn and draw_spread(drawn),
        texts.describe_scenes(state),
        texts.describe_points(state),
        state.scored and state.scored.panel,
        texts.describe_scores(state),
        gr.Files([str(file) for file in state.files] or None, visible=bool(state.files)),
    ]


def _cloud(desk: Desk, state: PageState) -> str:
    if state.own is None:
        return ""
    drawn, message = attempt(lambda: desk.draw_points(state))
    return drawn or texts.describe_error(message)
