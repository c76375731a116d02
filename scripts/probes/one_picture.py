"""One picture with several sentences: how the answer moves as a word changes."""

import difflib
from collections.abc import Sequence
from typing import Any

from common.evaluation.canvas import Rgb
from common.evaluation.panels import denormalize
from common.evaluation.results import align_columns
from scripts.prediction.trained import brief
from scripts.probes.answers import Interview
from scripts.probes.pictures import draw_strip
from scripts.probes.reports import WordReport, answer_row, cells

HEADER = "sentence|median m|x the first|AbsRel|against the first"


def ask_about(interview: Interview, key: str, sentences: Sequence[str]) -> tuple[WordReport, Rgb]:
    """The answers about one picture, beside the first sentence's; and their strip."""
    ((key, replies),) = interview.ask_all({interview.find(key): sentences}, keep=False)
    first, lines = replies[0], [HEADER.split("|")]
    content: list[dict[str, Any]] = []
    for reply in replies:
        change = describe_change(first.sentence, reply.sentence)
        ratio, abs_rel = reply.median / first.median, reply.row["abs_rel"]
        content.append({"caption": reply.sentence, "change": change, "median": reply.median,
                        "ratio": ratio, "abs_rel": abs_rel})  # fmt: skip
        numbers = cells(reply.median, ratio, abs_rel)
        lines.append([brief(reply.sentence), *numbers, brief(change)])
    truth = first.row["gt_median"]
    table = f"{key}: true median {truth:.3f} m\n{align_columns(lines)}"
    rows = [answer_row("picture", "", reply) for reply in replies]
    picture = denormalize(interview.item(key).image)
    strip = draw_strip(picture, [reply.depth for reply in replies], list(sentences))
    found = {"image": key, "gt_median": truth, "answers": content}
    return WordReport("picture", table, found, rows), strip


def describe_change(before: str, after: str) -> str:
    """Which words are others: `kitchen > toy kitchen`, `+ real`, `- small`; "": none are."""
    old, new = before.split(), after.split()
    parts = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        words = " ".join(old[i:j]), " ".join(new[k:m])
        match kind:
            case "replace":
                parts.append(" > ".join(words))
            case "delete":
                parts.append(f"- {words[0]}")
            case "insert":
                parts.append(f"+ {words[1]}")
    return ", ".join(parts)
