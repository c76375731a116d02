"""`docs/troubleshooting.md`: what every line that a program can end with means.

The lines come from the source (`messages.py`), the explanations from `advice.yaml`.
"""

import textwrap
from pathlib import Path

import yaml

from common.data import workers
from common.errors import UserError
from common.shortages import REMEDIES
from scripts.documentation.config_page import anchor_of
from scripts.documentation.messages import Message, all_messages
from scripts.documentation.subjects import SUBJECTS, subject_of

ADVICE: dict[str, str] = yaml.safe_load(
    Path(__file__).with_name("advice.yaml").read_text(encoding="utf-8")
)
WIDTH = 110
HEAD = Path(__file__).with_name("troubleshooting_head.md")


def troubleshooting_page() -> str:
    """The whole page; a `UserError` if an explanation is of no message any more."""
    messages = all_messages()
    check_advice(messages)
    parts = [HEAD.read_text(encoding="utf-8")]
    for title in SUBJECTS:
        own = [message.text for message in messages if subject_of(message.path) == title]
        parts.append(_part(title, list(dict.fromkeys(own))))
    return "\n".join(parts).rstrip() + "\n"


def check_advice(messages: list[Message]) -> None:
    """Refuse an explanation whose piece of a message is in none."""
    stale = [piece for piece in ADVICE if not any(piece in message.text for message in messages)]
    if stale:
        raise UserError(
            f"no program says '{stale[0]}' any more; correct scripts/documentation/advice.yaml"
        )


def _part(title: str, texts: list[str]) -> str:
    """A heading, the lines that are explained, and behind a fold the others."""
    explained = {piece: [t for t in texts if piece in t] for piece in ADVICE}
    told = {text for found in explained.values() for text in found}
    lines = [f"## {title}", ""]
    for piece, found in explained.items():
        if found:
            lines += [*(f"- {_code(text)}" for text in found), "", *_explain(ADVICE[piece])]
    if anchor_of(title) == "memory-disk-and-gpu":
        lines += _shortages()
    others = sorted(set(texts) - told, key=str.lower)
    if others:
        kind = "more" if told else "lines"
        lines += [
            f"<details><summary>{len(others)} {kind} that say what to do themselves</summary>"
        ]
        lines += ["", *(f"- {_code(text)}" for text in others), "", "</details>", ""]
    return "\n".join(lines)


def _explain(advice: str) -> list[str]:
    indented = textwrap.fill(
        advice, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
    return [indented, ""]


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _shortages() -> list[str]:
    """What `out of WHAT` says to do, in training and elsewhere."""
    rows = [
        f"| {what} | {workers.TRAINING.get(what, 'see above')} | {remedy} |"
        for what, remedy in REMEDIES.items()
    ]
    return ["| out of | in training | elsewhere |", "|---|---|---|", *rows, ""]
