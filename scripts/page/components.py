"""What the page is made of: Gradio's components, in rows, columns and tabs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from scripts.page import texts
from scripts.page.desk import MOST_SCENES, Desk
from scripts.page.examples import Example
from scripts.page.state import PageState

IDLE = 1800  # seconds until a visitor's state is dropped
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
class Components:
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


def lay_out(
    desk: Desk, examples: Sequence[Example]
) -> tuple[Components, dict[str, gr.Button], gr.Gallery | None]:
    """The components, the buttons by name, and the gallery, if there are examples."""
    made: dict[str, Any] = {"state": gr.State(PageState(), time_to_live=IDLE)}
    buttons: dict[str, gr.Button] = {}
    made["mistake"] = gr.HTML(elem_id="mistake")
    with gr.Row():
        with gr.Column(scale=2, min_width=360):
            gallery = _lay_out_question(desk, examples, made, buttons)
        with gr.Column(scale=3, min_width=420):
            _lay_out_answers(desk, made, buttons)
    return Components(**made), buttons, gallery


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
