"""One word of each caption exchanged for another: where does the answer move?"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import UserError
from common.evaluation.results import Row, align_columns
from common.language.controls import with_article
from scripts.probes.answers import Interview, Reply
from scripts.probes.reports import WordReport, answer_row, cells, mean
from scripts.probes.wording_stats import geometric_mean

HEADER = "change|images|x median depth|5 %|95 %|AbsRel before|after"


def ask_changes(
    interview: Interview, own_captions: Mapping[str, str], changes: Sequence[tuple[str, str]]
) -> WordReport:
    """Ask with each picture's caption and with one word (or several) of it exchanged.

    own_captions: image key -> caption. changes: (words, other words); a caption without the words
    is not asked about.
    """
    content: dict[str, Any] = {}
    rows: list[Row] = []
    lines = [HEADER.split("|")]
    for old, new in changes:
        said = _questions(interview.keys, own_captions, old, new)
        answers = [replies for _, replies in interview.ask_all(said)]
        name = f"{old} -> {new}"
        for before, after in answers:
            rows += [answer_row("changes", f"{name}: {when}", reply)
                     for when, reply in (("before", before), ("after", after))]  # fmt: skip
        own = content[name] = _summary(answers)
        numbers = (own[key] for key in list(own)[1:])
        lines.append([name, str(own["num_images"]), *cells(*numbers)])
    return WordReport("changes", align_columns(lines), content, rows)


def _questions(
    keys: Sequence[str], captions: Mapping[str, str], old: str, new: str
) -> dict[str, list[str]]:
    said = {key: [captions[key], exchange(captions[key], old, new)] for key in keys}
    said = {key: [before, after] for key, (before, after) in said.items() if before != after}
    if not said:
        raise UserError(
            f"--change '{old}' '{new}': no caption of this split has '{old}' (the first is "
            f"'{captions[keys[0]]}')"
        )
    return said


def exchange(caption: str, old: str, new: str) -> str:
    """The caption with `new` for `old`, whole words; "a" or "an" before it follows the new word."""

    def put(match: re.Match[str]) -> str:
        article, found = match.group(1), match.group(2)
        text = with_article(new) if article else new
        is_first = (article or found)[0].isupper()
        return text[:1].upper() + text[1:] if is_first else text

    return re.sub(rf"\b(?:(an?)\s+)?({re.escape(old)})\b", put, caption, flags=re.IGNORECASE)


def _summary(answers: Sequence[Sequence[Reply]]) -> dict[str, Any]:
    """answers: before and after, of each picture. `ratio`: of the medians, geometric mean."""
    ratios = [after.median / before.median for before, after in answers]
    low, high = np.percentile(ratios, (5, 95))
    return {
        "num_images": len(answers),
        "ratio": geometric_mean(ratios),
        "ratio_5": float(low),
        "ratio_95": float(high),
        "abs_rel_before": mean([before.row["abs_rel"] for before, _ in answers]),
        "abs_rel_after": mean([after.row["abs_rel"] for _, after in answers]),
    }
