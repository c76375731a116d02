"""Which of the desk's functions an event of the page calls, and with what."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from common.errors import UserError
from scripts.page.answers import respond, respond_anew, show
from scripts.page.components import Components
from scripts.page.desk import Desk, View
from scripts.page.drawings import draw_scene
from scripts.page.examples import Example
from scripts.page.state import PageState

PRIVATE: dict[str, Any] = {"api_visibility": "private", "api_name": None}


def connect(desk: Desk, parts: Components, buttons: dict[str, gr.Button]) -> None:
    """Each event: what the desk does with the state and the inputs."""
    state, view = parts.state, parts.view

    def on(
        event: Callable[..., Any], inputs: Sequence[Any], work: Callable[..., PageState]
    ) -> None:
        def answer(own: PageState, *values: Any) -> list[Any]:
            return respond(desk, own, lambda: work(own, *values))

        event(answer, [state, *inputs], parts.found, **PRIVATE)

    def predict(own: PageState, *typed: Any) -> PageState:
        return desk.predict(own, as_view(*typed))

    on(buttons["predict"].click, view, predict)
    on(parts.caption.submit, view, predict)
    on(
        buttons["compare"].click,
        [*view, parts.other],
        lambda own, *typed: desk.compare(own, as_view(*typed[:3]), typed[3] or ""),
    )
    on(
        buttons["draw"].click,
        [*view, parts.count, parts.seed],
        lambda own, *typed: desk.draw_scenes(own, as_view(*typed[:3]), *map(as_count, typed[3:])),
    )
    on(
        buttons["know"].click,
        [parts.meters, parts.kind],
        lambda own, meters, kind: desk.know(own, meters, str(kind).startswith("length")),
    )
    on(buttons["calibrate"].click, [], desk.calibrate)
    on(buttons["forget"].click, [], desk.forget)
    on(
        buttons["score"].click,
        [parts.truth, parts.depth_scale],
        lambda own, file, scale: desk.score(own, as_path(file), scale),
    )
    on(buttons["files"].click, [], desk.write_files)
    _connect_picture(desk, parts)


def _connect_picture(desk: Desk, parts: Components) -> None:
    def opened(file: str | None) -> list[Any]:
        if file is None:  # removed
            return show(desk, PageState(), None)
        return respond_anew(desk, lambda: desk.open_picture(as_path(file)))

    def clicked(own: PageState, event: gr.SelectData) -> list[Any]:
        return respond(desk, own, lambda: desk.click(own, *map(float, event.index[:2])))

    def slid(own: PageState, number: float) -> Any:
        drawn = own.shown(own.drawn)
        if drawn is None or drawn.scenes is None:
            return None
        return draw_scene(drawn, min(max(int(number), 1), len(drawn.scenes)) - 1)

    parts.upload.change(opened, parts.upload, parts.found, **PRIVATE)
    parts.picture.select(clicked, parts.state, parts.found, **PRIVATE)
    slider = [parts.state, parts.scene_number]
    parts.scene_number.input(slid, slider, parts.scene, show_progress="hidden", **PRIVATE)


def connect_examples(
    desk: Desk, parts: Components, gallery: gr.Gallery, examples: Sequence[Example]
) -> None:
    """A click shows an example's depth and fills in all that is known of it."""

    def chosen(event: gr.SelectData) -> list[Any]:
        one = examples[int(event.index)]
        typed = [one.caption, one.other, str(one.depth), one.depth_scale]
        view = View(one.caption)
        work = lambda: desk.predict(desk.open_picture(one.picture), view)  # noqa: E731
        return [*respond_anew(desk, work), *typed]

    filled = [parts.caption, parts.other, parts.truth, parts.depth_scale]
    gallery.select(chosen, None, [*parts.found, *filled], **PRIVATE)


def as_view(caption: str | None, focal: float | None, focal_rule: Any) -> View:
    """What was typed; an empty focal length is none."""
    return View(caption or "", focal or None, focal_rule)


def as_count(number: float | None) -> int:
    """A number that was typed; nothing is 0."""
    return int(number or 0)


def as_path(file: str | None) -> Path:
    """Of an uploaded file; a `UserError` where there is none."""
    if file is None:
        raise UserError("there is no file yet: upload one")
    return Path(file)
