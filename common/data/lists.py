"""Published list files: one `IMAGE DEPTH FOCAL` line per image, and splits by scene."""

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from common.config import REPO_ROOT
from common.errors import UserError


@dataclass(frozen=True)
class Pair:
    """One list line. Paths are as in the list, without a leading slash; `image` is the key."""

    image: str
    depth: str | None  # None: the list has no ground truth for this image
    focal: float | None  # pixels


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
        _parse_line(line.split(), f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not pairs:
        raise UserError(f"{path}: the list has no images")
    return pairs


def _parse_line(columns: list[str], where: str) -> Pair:
    if len(columns) not in (2, 3):
        raise UserError(f"{where}: expected 'IMAGE DEPTH [FOCAL]', found {len(columns)} columns")
    image, depth = (column.lstrip("/") for column in columns[:2])
    if not image or not depth:
        raise UserError(f"{where}: the image or depth path is empty")
    focal = _parse_focal(columns[2], where) if len(columns) == 3 else None
    return Pair(image, None if depth == "None" else depth, focal)


def _parse_focal(text: str, where: str) -> float:
    try:
        focal = float(text)
    except ValueError:
        focal = math.nan
    if not 0 < focal < math.inf:
        raise UserError(f"{where}: the focal length '{text}' is not a positive number")
    return focal


def scene_of(image: str) -> str:
    """The scene an image was taken in: its folder, above KITTI's `image_02/data`.

    NYU stores one scene in several clips (`kitchen_0028a`, `kitchen_0028b`): they are one scene.
    """
    folder = PurePosixPath(image).parent
    while re.fullmatch(r"data|image_0\d", folder.name):
        folder = folder.parent
    return re.sub(r"(_\d{4})[a-z]$", r"\1", str(folder))


def carve_validation(pairs: list[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split into (training, validation) by scene: about `share` of the images, no scene in both.

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
    train = [pair for pair, scene in zip(pairs, scenes, strict=True) if scene not in chosen]
    return train, [pair for pair, scene in zip(pairs, scenes, strict=True) if scene in chosen]


def _choose_scenes(counts: Counter[str], room: int, seed: int) -> set[str]:
    scenes = np.random.default_rng(seed).permutation(sorted(counts)).tolist()
    chosen = set()
    for scene in scenes:
        if counts[scene] <= room:
            chosen.add(scene)
            room -= counts[scene]
    return chosen or {min(scenes, key=lambda scene: counts[scene])}
