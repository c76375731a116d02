"""Captions that an encoder reads in part only: which images have them, and what is lost.

limit = caption_limit("RN50:openai")            # encoders.py; needs no weights
report_cut(limit.find_cut(distinct), captions)  # for the provenance of features, and the log
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from common.language.captions import Captions, Several

_NAMED = 3  # images in a report
_SHOWN = 60  # characters of what is lost

Tokens = list[int]


@dataclass(frozen=True)
class CutCaption:
    """num_tokens, num_read: with those that mark start and end. lost: the words that are not read,
    as the tokenizer spells them."""

    caption: str
    num_tokens: int
    num_read: int
    lost: str


@dataclass(frozen=True)
class CaptionLimit:
    """How much an encoder reads of a caption.

    encode: captions -> the tokens of each, without what marks start and end. decode: tokens ->
    words. num_marks: the tokens at start and end. longest: the most tokens, marks and all; None:
    any number.
    """

    encode: Callable[[Sequence[str]], Sequence[Tokens]]
    decode: Callable[[Tokens], str]
    num_marks: int
    longest: int | None

    def find_cut(self, captions: Sequence[str]) -> list[CutCaption]:
        """Those of the captions that are longer, in their order."""
        if self.longest is None or not captions:
            return []
        room = self.longest - self.num_marks
        return [
            CutCaption(
                caption,
                len(tokens) + self.num_marks,
                self.longest,
                " ".join(self.decode(tokens[room:]).split()),
            )
            for caption, tokens in zip(captions, self.encode(captions), strict=True)
            if len(tokens) > room
        ]


def report_cut(cut: Sequence[CutCaption], captions: Mapping[str, Several]) -> dict[str, Any]:
    """How many captions are cut and how many images have them, the first ones with what is lost.

    captions: image key -> caption or captions. Plain types, as the provenance of features holds
    them.
    """
    known = {entry.caption: entry for entry in cut}
    every = Captions.of(captions).every()
    images: dict[str, CutCaption] = {}
    for key, caption in every if known else ():
        if caption in known:
            images.setdefault(key, known[caption])
    first = [
        {
            "image": key,
            "num_tokens": entry.num_tokens,
            "num_read": entry.num_read,
            "lost": textwrap.shorten(entry.lost, _SHOWN, placeholder=" ..."),
        }
        for key, entry in islice(images.items(), _NAMED)
    ]
    return {"num_cut": len(cut), "num_cut_images": len(images), "cut": first}


def describe_cut(report: Mapping[str, Any], encoder: str) -> str:
    """A line for the log; "": nothing is cut. report: of `report_cut`, or an older file's."""
    num_cut, first = report.get("num_cut", 0), report.get("cut")
    if not num_cut:
        return ""
    line = f"{num_cut} distinct captions are longer than what {encoder} reads"
    if not first:
        return f"{line}; it read their beginning"
    return f"{line}, of {report['num_cut_images']} images; such as {describe_one(first[0])}"


def describe_one(entry: Mapping[str, Any]) -> str:
    """One image of a report."""
    return (
        f"{entry['image']}: {entry['num_tokens']} tokens, {entry['num_read']} read; "
        f"lost: '{entry['lost']}'"
    )
