"""List files: one `IMAGE DEPTH FOCAL` line per image, and splits by scene.

    /kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579
    2011_09_26/.../0000000069.png None 721.5377                      no ground truth
    my kitchen/0001.jpg, my kitchen/0001.png                         tabs or commas allow spaces

The focal length may be left out; nothing reads it, nor any further column (`list_lines.py` tells
which those are). An absolute path that exists is taken as it is; otherwise a leading slash means
nothing, as in the published lists.
"""

import codecs
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from common.config import REPO_ROOT
from common.data.list_lines import NO_DEPTH, is_header, split_line
from common.errors import UserError
from common.files import read_bytes
from common.text_files import to_text

Notes = list[str]  # what a run's log should say about where the pairs came from
EXAMPLE = "'kitchen/rgb_1.jpg kitchen/depth_1.png 518.86'"


@dataclass(frozen=True)
class Pair:
    """One list line. Paths start at the data root and have no leading slash, or are absolute."""

    image: str
    depth: str | None  # None: the list has no ground truth for this image


@dataclass(frozen=True)
class ListText:
    """What the lines of a list file say.

    mistakes: a message for each line that cannot be read. notes: what is not read, for the log.
    """

    pairs: list[Pair]
    mistakes: list[str]
    notes: Notes


def pack(values: list[Any]) -> bytes:
    """Plain values in few bytes, as a checkpoint keeps them; `unpack` gives them back."""
    return zlib.compress(json.dumps(values).encode(), level=1)


def unpack(packed: bytes) -> list[Any]:
    """Undo `pack`."""
    return json.loads(zlib.decompress(packed))


def pack_pairs(pairs: Iterable[Pair]) -> bytes:
    """The pairs in few bytes."""
    return pack([(pair.image, pair.depth) for pair in pairs])


def unpack_pairs(packed: bytes) -> list[Pair]:
    """Undo `pack_pairs`."""
    return [Pair(*columns) for columns in unpack(packed)]


def find_file(name: str, root: Path) -> Path:
    """`name` under `root`, else in the current folder, else in the repository; it may not exist."""
    for path in (root / name, Path(name), REPO_ROOT / name):
        if path.exists():
            return path
    return Path(name)


def read_list(path: Path) -> list[Pair]:
    """The pairs of a list file, without the notes of `read_noted_list`."""
    return read_noted_list(path)[0]


def read_noted_list(path: Path) -> tuple[list[Pair], Notes]:
    """Read a list file; leading slashes, CRLF, `None`, `#` comments and blank lines are fine.

    The notes say what of the file is not read.
    """
    try:
        parsed = parse_list(path, read_lines(path))
    except FileNotFoundError as error:
        raise UserError(f"no list file {path}; check the data.*_list keys") from error
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot read list file {path}: {error}") from error
    if parsed.mistakes:
        raise UserError(parsed.mistakes[0])
    if not parsed.pairs:
        raise UserError(f"{path}: the list has no images")
    return parsed.pairs, parsed.notes


def read_lines(path: Path) -> list[str]:
    """Of a text file in UTF-8, or in UTF-16 with its mark, as Windows' shell writes.

    A name that is not UTF-8 keeps its bytes. `UnicodeError` for what is no text.
    """
    content = read_bytes(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").splitlines()
    if b"\0" in content:
        raise UnicodeError("it is no text")
    return to_text(content.removeprefix(codecs.BOM_UTF8)).splitlines()


def parse_list(path: Path, lines: list[str]) -> ListText:
    """Every line of a list; a first line that only names the columns is passed over."""
    numbered = [
        (number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    parsed = ListText([], [], [])
    if len(numbered) > 1 and is_header(numbered[0][1], numbered[1][1]):
        header = numbered.pop(0)[1].strip()
        parsed.notes.append(f"{path}: the first line, '{header}', names columns and is not read")
    unread = []
    for number, line in numbered:
        try:
            pair, others = _parse_line(line, f"{path}:{number}")
        except UserError as error:
            parsed.mistakes.append(str(error))
            continue
        parsed.pairs.append(pair)
        if others:
            unread.append(f"'{others[0]}' in line {number}")
    if unread:
        parsed.notes.append(
            f"{path}: {len(unread)} lines have more columns than image and depth map, first "
            f"{unread[0]}; they are not read"
        )
    return parsed


def _parse_line(line: str, where: str) -> tuple[Pair, list[str]]:
    """The pair, and further columns that nothing reads; where: `FILE:NUMBER`."""
    paths, others = split_line(line)
    if len(paths) != 2:
        found = len(line.split())
        raise UserError(
            f"{where}: expected 'IMAGE DEPTH [FOCAL]', found {found} columns; write it like "
            f"{EXAMPLE}, with tabs between the columns, or quotes, if a path has spaces"
        )
    image, depth = map(_strip_slash, paths)
    if not image or not depth:
        raise UserError(f"{where}: the image or depth path is empty; write it like {EXAMPLE}")
    return Pair(image, None if depth == NO_DEPTH else depth), others


def _strip_slash(path: str) -> str:
    """An absolute path that exists stays as it is."""
    if path.startswith("/") and not os.path.isfile(path):  # noqa: PTH113 - of 50,000 paths
        return path.lstrip("/")
    return path


def scene_of(image: str) -> str:
    """The scene an image was taken in: its folder, above KITTI's `image_02/data`.

    NYU stores one scene in several clips (`kitchen_0028a`, `kitchen_0028b`): they are one scene.
    """
    folder = PurePosixPath(image).parent
    while re.fullmatch(r"data|image_0\d", folder.name):
        folder = folder.parent
    return re.sub(r"(_\d{4})[a-z]$", r"\1", str(folder))


def carve_by_scene(pairs: list[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split into (rest, carved): about `share` of the images, no scene in both.

    Scenes are taken in a seeded order while they fit into the share; when none fits, the smallest.
    """
    if share == 0:
        return list(pairs), []
    scenes = [scene_of(pair.image) for pair in pairs]
    counts = Counter(scenes)
    if len(counts) < 2:
        raise UserError(
            f"cannot carve a validation split: all {len(pairs)} training images are of one scene; "
            "divide the list, and name both parts with data.train_list and data.val_list"
        )
    chosen = _choose_scenes(counts, round(share * len(pairs)), seed)
    rest = [pair for pair, scene in zip(pairs, scenes, strict=True) if scene not in chosen]
    return rest, [pair for pair, scene in zip(pairs, scenes, strict=True) if scene in chosen]


def _choose_scenes(counts: Counter[str], room: int, seed: int) -> set[str]:
    scenes = np.random.default_rng(seed).permutation(sorted(counts)).tolist()
    chosen = set()
    for scene in scenes:
        if counts[scene] <= room:
            chosen.add(scene)
            room -= counts[scene]
    return chosen or {min(scenes, key=lambda scene: counts[scene])}
