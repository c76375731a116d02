"""The page: Gradio's components, and which of the desk's functions they call.

An event hands a visitor's state to one function of the desk and draws what that gives. One that
fails changes nothing but the line of the mistake; a new picture that cannot be read leaves the page
empty, so that no old depth stands beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from scripts.page import texts
from scripts.page.attempts import attempt
from scripts.page.desk import MOST_SCENES, Desk, View
from scripts.page.drawings import draw_comparison, draw_picture, draw_scene, draw_spread
from scripts.page.examples import Example
from scripts.page.state import PageState
from scripts.prediction.outputs import draw_depth

TITLE = "LangDepth: metric depth from one picture and a caption"
IDLE = 1800  # seconds until a visitor's state is dropped
CSS = """
.mistake {background: #fdecea; border: 1px solid #d93025; color: #8c1d18; border-radius: 6px;
          padding: 8px 12px; font-weight: 600; overflow-wrap: anywhere}
.told p {margin: 2px 0; overflow-wrap: anywhere}
.numbers td, .numbers th {padding: 2px 12px 2px 0; text-align: left}
footer {display: none !important}
"""
DEPTH_IMAGE = {"interactive": False, "format": "png", "buttons": ["fullscreen"]}


def make_upload(label: str, name: str) -> gr.File:
    """Where visitors hand in a file of their own; an address on the web is not fetched."""
    upload = gr.File(label=label, height=150, elem_id=name)
    move = upload.async_move_resource_to_block_cache

    async def move_own(place: Any) -> str | None:
        if str(place).lower().startswith(("http:", "https:")):
            raise gr.Error("addresses are not fetched; upload the file")
        return await move(place)

    upload.async_move_resource_to_block_cache = move_own  # type: ignore[method-assign]
    return upload


@dataclass
class Parts:
    """The components that events read and write."""

    state: gr.State
    mistake: gr.HTML
    upload: gr.File
    picture: gr.Image
    caption: gr.Textbox
    other: gr.Textbox
    focal: gr.Number
    focal_rule: gr.Radio
    depth: gr.Image
    facts: gr.HTML
    cloud: gr.HTML
    comparison: gr.Image
    about_words: gr.HTML
    count: gr.Slider
    seed: gr.Number
    scene_number: gr.Slider
    scene: gr.Image
    spread: gr.Image
    about_scenes: gr.HTML
    meters: gr.Number
    kind: gr.Radio
    points: gr.HTML
    truth: gr.File
    depth_scale: gr.Number
    panel: gr.Image
    scores: gr.HTML
    files: gr.Files

    @property
    def view(self) -> list[Any]:
        """What `View` is made of."""
        return [self.caption, self.focal, self.focal_rule]

    @property
    def found(self) -> list[Any]:
        """All that shows a state, in the order of `show`."""
        return [
            self.state, self.mistake, self.picture, self.depth, self.facts, self.cloud,
            self.comparison, self.about_words, self.scene_number, self.scene,
            self.spread, self.about_scenes, self.points, self.panel, self.scores, self.files,
        ]  # fmt: skip


def build_page(desk: Desk, examples: Sequence[Example]) -> gr.Blocks:
    """The page of a model; examples: shown as pictures to click."""
    page = gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(IDLE, 2 * IDLE)
    )
    with page:
        gr.Markdown(f"# {TITLE}")
        gr.HTML(texts.describe_model(desk), elem_id="model", elem_classes="told")
        parts, buttons, gallery = _lay_out(desk, examples)
        _connect(desk, parts, buttons)
        if gallery is not None:
            _connect_examples(desk, parts, gallery, examples)
    return page


def _lay_out(
    desk: Desk, examples: Sequence[Example]
) -> tuple[Parts, dict[str, gr.Button], gr.Gallery | None]:
    made: dict[str, Any] = {"state": gr.State(PageState(), time_to_live=IDLE)}
    buttons: dict[str, gr.Button] = {}
    made["mistake"] = gr.HTML(elem_id="mistake")
    with gr.Row():
        with gr.Column(scale=2, min_width=360):
            gallery = _lay_out_question(desk, examples, made, buttons)
        with gr.Column(scale=3, min_width=420):
            _lay_out_answers(desk, made, buttons)
    return Parts(**made), buttons, gallery


def _lay_out_question(
    desk: Desk, examples: Sequence[Example], made: dict[str, Any], buttons: dict[str, gr.Button]
) -> gr.Gallery | None:
    made["upload"] = make_upload(f"Picture: {desk.limits.describe()}", "upload")
    made["picture"] = gr.Image(
        label="Click it to choose points", interactive=False, buttons=[], elem_id="picture",
        show_label=True, height=300,
    )  # fmt: skip
    made["caption"] = gr.Textbox(
        label="Caption: what the picture shows (none: no words)", lines=2, elem_id="caption",
        visible=desk.reads_words,
    )  # fmt: skip
    buttons["predict"] = gr.Button("Predict depth", variant="primary", elem_id="predict")
    with gr.Accordion("Camera", open=False):
        made["focal"] = gr.Number(
            label="Focal length in pixels of the picture (--focal); empty: EXIF's, else the "
            "training camera's"
        )
        made["focal_rule"] = gr.Radio(
            ["none", "scale"], value="none", label="Depth follows the focal length (--focal-rule)"
        )
    if not examples:
        gr.HTML("No examples: <code>python scripts/make_demo_data.py</code> makes them.")
        return None
    gr.Markdown("Examples: rooms of the demo, the same pixels twice, with other words")
    return gr.Gallery(
        [(str(one.picture), one.caption) for one in examples], show_label=False, columns=4,
        height=230, allow_preview=False, elem_id="examples", buttons=[],
    )  # fmt: skip


def _lay_out_answers(desk: Desk, made: dict[str, Any], buttons: dict[str, gr.Button]) -> None:
    with gr.Tab("Depth"):
        made["depth"] = gr.Image(label="Depth", elem_id="depth", **DEPTH_IMAGE)
        made["facts"] = gr.HTML(elem_id="facts", elem_classes="told")
        buttons["files"] = gr.Button("Make files to download", size="sm", elem_id="make-files")
        made["files"] = gr.Files(
            label="Files, as predict.py writes them", elem_id="files", visible=False
        )
    with gr.Tab("Points", elem_id="points-tab"):
        made["cloud"] = gr.HTML(elem_id="cloud")
    with gr.Tab("Other words", elem_id="words-tab"):
        _explain(texts.wordless_reason(desk))
        made["other"] = gr.Textbox(
            label="Other words for the same picture", lines=2, elem_id="other",
            visible=desk.reads_words,
        )  # fmt: skip
        buttons["compare"] = gr.Button(
            "Compare", variant="primary", elem_id="compare", visible=desk.reads_words
        )
        made["comparison"] = gr.Image(
            label="Caption, and other words", elem_id="comparison", visible=desk.reads_words,
            **DEPTH_IMAGE,
        )  # fmt: skip
        made["about_words"] = gr.HTML(elem_id="about-words", elem_classes="told")
    with gr.Tab("Sampled scenes", elem_id="scenes-tab"):
        _lay_out_scenes(desk, made, buttons)
    with gr.Tab("Known distances", elem_id="known-tab"):
        gr.HTML(
            "Click the picture, type what you measured, add it; then calibrate. One distance fits "
            "a scale; from four depths on, a power as well, if it helps."
        )
        with gr.Row():
            made["kind"] = gr.Radio(
                ["depth of the last point", "length between the last two points"],
                value="depth of the last point", label="What is known", elem_id="kind", scale=2,
            )  # fmt: skip
            made["meters"] = gr.Number(label="Meters", elem_id="meters", minimum=None)
        with gr.Row():
            buttons["know"] = gr.Button("Add", elem_id="know")
            buttons["calibrate"] = gr.Button("Calibrate", variant="primary", elem_id="calibrate")
            buttons["forget"] = gr.Button("Clear", elem_id="forget")
        made["points"] = gr.HTML(elem_id="points", elem_classes="told")
    with gr.Tab("Ground truth", elem_id="truth-tab"):
        with gr.Row():
            made["truth"] = make_upload(
                "Depth of this picture: .npy in meters, or 16-bit PNG", "truth"
            )
            made["depth_scale"] = gr.Number(
                desk.depth_scale, label="Scale of a PNG: stored units of a meter", elem_id="scale"
            )
        buttons["score"] = gr.Button("Score", variant="primary", elem_id="score")
        made["panel"] = gr.Image(label="Error", elem_id="panel", **DEPTH_IMAGE)
        made["scores"] = gr.HTML(elem_id="scores", elem_classes="told")


def _lay_out_scenes(desk: Desk, made: dict[str, Any], buttons: dict[str, gr.Button]) -> None:
    _explain(texts.drawless_reason(desk))
    with gr.Row(visible=desk.can_draw):
        made["count"] = gr.Slider(2, MOST_SCENES, 8, step=1, label="How many", elem_id="count")
        made["seed"] = gr.Number(0, label="Seed", precision=0, minimum=0)
        buttons["draw"] = gr.Button("Draw scenes", variant="primary", elem_id="draw")
    made["scene_number"] = gr.Slider(
        1, 2, 1, step=1, label="Scene", elem_id="scene-number", visible=False
    )
    with gr.Row(visible=desk.can_draw):
        made["scene"] = gr.Image(label="Scene", elem_id="scene", **DEPTH_IMAGE)
        made["spread"] = gr.Image(label="Spread", elem_id="spread", **DEPTH_IMAGE)
    made["about_scenes"] = gr.HTML(elem_id="about-scenes", elem_classes="told")


def _explain(reasons: Sequence[str]) -> None:
    for reason in reasons:
        gr.Markdown(f"*{reason}*")


def _connect(desk: Desk, parts: Parts, buttons: dict[str, gr.Button]) -> None:
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


def _connect_picture(desk: Desk, parts: Parts) -> None:
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


def _connect_examples(
    desk: Desk, parts: Parts, gallery: gr.Gallery, examples: Sequence[Example]
) -> None:
    def chosen(event: gr.SelectData) -> list[Any]:
        one = examples[int(event.index)]
        typed = [one.caption, one.other, str(one.depth), one.depth_scale]
        view = View(one.caption)
        work = lambda: desk.predict(desk.open_picture(one.picture), view)  # noqa: E731
        return [*respond_anew(desk, work), *typed]

    filled = [parts.caption, parts.other, parts.truth, parts.depth_scale]
    gallery.select(chosen, None, [*parts.found, *filled], **PRIVATE)


NUM_FOUND = 16  # of `Parts.found`
PRIVATE: dict[str, Any] = {"api_visibility": "private", "api_name": None}


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
    """A state, for `Parts.found`; what shows the same as before is left as it is."""
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


def as_view(caption: str | None, focal: float | None, focal_rule: Any) -> View:
    """What was typed; an empty focal length is none."""
    return View(caption or "", focal or None, focal_rule)


def as_count(number: float | None) -> int:
    """A number that was typed; nothing is 0."""
    return int(number or 0)


def as_path(file: str | None) -> Path:
    """Of an uploaded file; a `UserError` where there is none."""
    if file is None:
        raise texts.UserError("there is no file yet: upload one")
    return Path(file)
