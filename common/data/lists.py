"""List files: one `IMAGE DEPTH FOCAL` line per image, and splits by scene.

    /kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579
    2011_09_26/.../0000000069.png None 721.5377                      no ground truth
    my kitchen/0001.jpg, my kitchen/0001.png                         tabs or commas allow spaces

The focal length may be left out; nothing reads it. An absolute path that exists is taken as it is;
otherwise a leading slash means nothing, as in the published lists.
"""

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
from common.errors import UserError

EXAMPLE = "'kitchen/rgb_1.jpg kitchen/depth_1.png 518.86'"


@dataclass(frozen=True)
class Pair:
    """One list line. Paths start at the data root and have no leading slash, or are absolute."""

    image: str
    depth: str | None  # None: the list has no ground truth for this image


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
    """Read a list file; leading slashes, CRLF, `None`, `#` comments and blank lines are fine."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"no list file {path}; check the data.*_list keys") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read list file {path}: {error}") from error
    pairs = [
        parse_line(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not pairs:
        raise UserError(f"{path}: the list has no images")
    return pairs


def parse_line(line: str, where: str) -> Pair:
    """One line of a list; where: starts the message of a `UserError`, `FILE:NUMBER`."""
    columns = _columns(line)
    if len(columns) not in (2, 3):
        raise UserError(
            f"{where}: expected 'IMAGE DEPTH [FOCAL]', found {len(columns)} columns; write it like "
            f"{EXAMPLE}, with tabs between the columns if a path has spaces"
        )
    if len(columns) == 3 and not _is_number(columns[2]):
        raise UserError(
            f"{where}: the focal length '{columns[2]}' is not a number; write the line like "
            f"{EXAMPLE}, with tabs between the columns if a path has spaces"
        )
    image, depth = map(_strip_slash, columns[:2])
    if not image or not depth:
        raise UserError(f"{where}: the image or depth path is empty; write it like {EXAMPLE}")
    return Pair(image, None if depth == "None" else depth)


def _columns(line: str) -> list[str]:
    """Split at tabs or commas where that gives two paths, else at spaces."""
    for separator in ("\t", ","):
        if separator not in line:
            continue
        columns = [column.strip() for column in line.strip().split(separator)]
        if len(columns) in (2, 3) and all(map(_is_path, columns[:2])):
            return columns
    return line.split()


def _is_path(text: str) -> bool:
    return text == "None" or (PurePosixPath(text).suffix != "" and not _is_number(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
            "set data.val_list, or data.val_share=0 to go without"
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
