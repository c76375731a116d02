"""The page of a model: its components, connected with what the desk does."""

from collections.abc import Sequence

import gradio as gr

from scripts.page import texts
from scripts.page.components import IDLE, lay_out
from scripts.page.desk import Desk
from scripts.page.events import connect, connect_examples
from scripts.page.examples import Example

TITLE = "LangDepth: metric depth from one picture and a caption"
CSS = """
.mistake {background: #fdecea; border: 1px solid #d93025; color: #8c1d18; border-radius: 6px;
          padding: 8px 12px; font-weight: 600; overflow-wrap: anywhere}
.told p {margin: 2px 0; overflow-wrap: anywhere}
.numbers td, .numbers th {padding: 2px 12px 2px 0; text-align: left}
footer {display: none !important}
"""


def build_page(desk: Desk, examples: Sequence[Example]) -> gr.Blocks:
    """The page of a model; examples: shown as pictures to click."""
    page = gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(IDLE, 2 * IDLE)
    )
    with page:
        gr.Markdown(f"# {TITLE}")
        gr.HTML(texts.describe_model(desk), elem_id="model", elem_classes="told")
        parts, buttons, gallery = lay_out(desk, examples)
        connect(desk, parts, buttons)
        if gallery is not None:
            connect_examples(desk, parts, gallery, examples)
    return page
