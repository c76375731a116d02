"""A page of results: its frame, tables, pictures, and how it was made.

Every function returns a string of HTML in which all text from files is escaped.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import cv2

from common.text_files import write_text

STYLE_FILE = Path(__file__).with_name("style.css")
SCRIPT_FILE = Path(__file__).with_name("sort.js")
MAX_PNG_BYTES = 400_000  # a larger image is inlined as JPEG


def page(title: str, kind: str, body: str) -> str:
    """Wrap the sections into one self-contained document.

    title: of the window. kind: what sort of page it is, for the line at its top.
    """
    style, script = (file.read_text(encoding="utf-8") for file in (STYLE_FILE, SCRIPT_FILE))
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n"
        f'<body><header class="bar"><b>LangDepth</b><span>{escape(kind)}</span>'
        f"<time>{written}</time></header><main>{body}</main>"
        '<footer class="bar"><span>One file: needs no network. Click on a column of a table to '
        f"sort by it.</span></footer><script>\n{script}</script></body></html>\n"
    )


def write_page(path: Path, title: str, kind: str, body: str) -> None:
    """Write a `page`, whole or not at all."""
    write_text(path, page(title, kind, body))


def table(heads: str, lines: Sequence[str], attributes: str = "") -> str:
    """A table of HTML rows that may be wider than the page; a click on a heading sorts it.

    Rows of the classes `group` and `bound` stay where they are. A cell with `data-sort` is sorted
    by that instead of by its text; cells of the class `text` and headings of rows are words.
    attributes: more of the table's own; `data-filter="PROMPT"` puts a search field above it.
    """
    body = "".join(lines)
    return (
        f'<div class="scroll"><table class="sortable"{attributes}><thead>{heads}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def cards(entries: Sequence[tuple[str, str, str]]) -> str:
    """Large numbers with a line below each. entries: CSS class, number, line."""
    return '<div class="cards">{}</div>'.format(
        "".join(
            f'<div class="card {css}"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
            for css, value, text in entries
        )
    )


def image_figure(path: Path, caption: str) -> str:
    """Inline one image with its caption."""
    return (
        f'<figure class="panels"><img alt="{escape(caption)}" src="{data_uri(path)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def facts_section(
    facts: Mapping[str, Any],
    commands: Sequence[str],
    configs: Mapping[str, str],
    notes: Sequence[str] = (),
) -> str:
    """Tell how the numbers were made: facts of the run, commands, resolved configs."""
    entries = "".join(
        f"<dt>{escape(spoken(key))}</dt><dd>{escape(_fact_text(key, value))}</dd>"
        for key, value in facts.items()
    )
    details = "".join(
        f"<details><summary>config of {escape(spoken(stage))}</summary>"
        f"<pre>{escape(text)}</pre></details>"
        for stage, text in configs.items()
    )
    remarks = "".join(f'<p class="faint">{escape(note)}</p>' for note in notes)
    return (
        f"<h2>How it was made</h2>{f'<dl>{entries}</dl>' if entries else ''}"
        f"<pre>{escape(chr(10).join(commands))}</pre>{details}{remarks}"
    )


def data_uri(path: Path) -> str:
    """Return a PNG as a data URI; a large one is encoded again as JPEG."""
    data, kind = path.read_bytes(), "png"
    if len(data) > MAX_PNG_BYTES and (image := cv2.imread(str(path))) is not None:
        data, kind = (
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes(),
            "jpeg",
        )
    return encoded_uri(data, kind)


def encoded_uri(data: bytes, kind: str) -> str:
    """The data URI of an image file's content."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def number(value: Any) -> float:
    """Return a JSON number as float and anything else as NaN."""
    return float(value) if isinstance(value, int | float) else math.nan


def short(value: float) -> str:
    """A number of a table, with three digits after the point or fewer."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def spoken(name: str) -> str:
    """`train_images` -> train images."""
    return name.replace("_", " ")


def _fact_text(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{spoken(str(name))} {_plain(each)}" for name, each in value.items())
        total = sum(number(each) for each in value.values())
        return f"{text}, together {total:.3g}" if key == "minutes" and total == total else text
    return _plain(value)


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
