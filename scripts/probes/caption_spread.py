"""Several true captions of each picture: how far apart are the answers?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.evaluation.results import Row, align_columns
from common.language.captions import read_captions
from scripts.probes.answers import Interview
from scripts.probes.reports import WordReport, answer_row, cells, mean
from scripts.probes.wording_stats import describe_spread

ALL = "all"
HEADER = "captions|images|of each|AbsRel|ratio|largest|std of words|of images|share of words"


def ask_captions(interview: Interview, files: Sequence[Path]) -> WordReport:
    """Ask with every caption of the files; spread within each file's, and over all of them."""
    asked = _questions(interview.keys, files)
    rows: list[Row] = []
    frames: dict[str, dict[str, list[Row]]] = {ALL: {}, **{path.stem: {} for path in files}}
    for key, replies in interview.ask_all({k: [text for _, text in asked[k]] for k in asked}):
        for (kind, _), reply in zip(asked[key], replies, strict=True):
            rows.append(answer_row("captions", kind, reply))
            for name in (ALL, kind):
                frames[name].setdefault(key, []).append(reply.row)
    content = {kind: _summary(list(own.values())) for kind, own in frames.items() if own}
    if len(files) == 1:
        del content[ALL]
    return WordReport("captions", _table(content), content, rows)


def _questions(keys: Sequence[str], files: Sequence[Path]) -> dict[str, list[tuple[str, str]]]:
    """Image key -> (file, caption) of those with at least two captions."""
    captions = {path.stem: read_captions(path) for path in files}
    if len(captions) < len(files):
        raise UserError("--captions: two files have one name, by which the table tells them apart")
    if ALL in captions:
        raise UserError(f"--captions: a file cannot be called {ALL}, as a line of the table is")
    pairs = {
        key: [
            (kind, text) for kind, own in captions.items() if key in own for text in own.all_of(key)
        ]
        for key in keys
    }
    several = {key: own for key, own in pairs.items() if len(own) > 1}
    if not several:
        raise UserError(
            f"--captions {' '.join(map(str, files))}: no image of this split has two captions in "
            f"them; `image` is a path as in the list, such as {keys[0]}"
        )
    return several


def _summary(frames: list[list[Row]]) -> dict[str, Any]:
    """frames: the answers about each picture."""
    abs_rel = mean([mean([row["abs_rel"] for row in frame]) for frame in frames])
    summary: dict[str, Any] = {
        "num_images": len(frames),
        "num_captions": sum(map(len, frames)),
        "abs_rel": abs_rel,
    }
    several = [frame for frame in frames if len(frame) > 1]
    if several:
        medians = [np.array([row["pred_median"] for row in frame]) for frame in several]
        errors = [np.array([row["log_ratio"] for row in frame]) for frame in several]
        summary["spread"] = describe_spread(medians, errors)
    return summary


def _table(content: dict[str, dict[str, Any]]) -> str:
    lines = [HEADER.split("|")]
    keys = ("mean_ratio", "largest_ratio", "std_wording", "std_picture", "explained_share")
    for kind, own in content.items():
        of_each = own["num_captions"] / own["num_images"]
        spread = own.get("spread", {})
        numbers = cells(own["abs_rel"], *(spread.get(key) for key in keys))
        lines.append([kind, str(own["num_images"]), f"{of_each:.3g}", *numbers])
    return align_columns(lines)
