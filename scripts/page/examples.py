"""Rooms of the demo to begin with: each picture twice, with the words of both scales."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from common.data.lists import read_list
from common.data.sets import DATA_SETS
from common.errors import UserError
from common.language.captions import Captions, read_captions

NUM_SHOWN = 8
LIST, CAPTIONS, OTHER = "test_files_with_gt.txt", "captions.jsonl", "captions_swapped.jsonl"


@dataclass(frozen=True)
class Example:
    """A picture, its caption, other words for it, and its ground truth.

    depth_scale: stored units of a meter in that.
    """

    picture: Path
    caption: str
    other: str
    depth: Path
    depth_scale: float


def copy_examples(folder: Path, target: Path) -> list[Example]:
    """Those of `folder` with their files copied, so that the page need not read there."""
    copied = []
    for number, one in enumerate(find_examples(folder)):
        own = target / f"example_{number}"
        own.mkdir(parents=True)
        picture, depth = (shutil.copy(file, own) for file in (one.picture, one.depth))
        copied.append(replace(one, picture=Path(picture), depth=Path(depth)))
    return copied


def find_examples(folder: Path) -> list[Example]:
    """Of a folder that make_demo_data.py made; none where it is not there or is another one."""
    try:
        captions = read_captions(folder / CAPTIONS)
        other = read_captions(folder / OTHER)
        return list(islice(_examples(folder, captions, other), NUM_SHOWN))
    except UserError:
        return []


def _examples(folder: Path, captions: Captions, other: Captions) -> Iterator[Example]:
    scale = DATA_SETS["nyu"].depth_scale  # the demo's layout
    for pair in read_list(folder / LIST):
        picture, depth = folder / pair.image, pair.depth and folder / pair.depth
        if depth and pair.image in captions and pair.image in other and picture.exists():
            words = captions[pair.image], other[pair.image]
            yield Example(picture, *words, depth, scale)
