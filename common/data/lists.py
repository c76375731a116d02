"""List files: one `IMAGE DEPTH FOCAL` line per image, and splits by scene.

    /kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579
    2011_09_26/.../0000000069.png None 721.5377                      no ground truth
    my kitchen/0001.jpg, my kitchen/0001.png                         tabs or commas allow spaces

The focal length may be left out; nothing reads it, nor any further column (`list_lines.py` tells
which those are). An absolute path that exists is taken as it is; otherwise a leading slash means
nothing, as in the published lists.
"""

import codecs
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath

import numpy as np

from common.config import REPO_ROOT
from common.data.list_lines import NO_DEPTH, is_header, split_line
from common.data.pairs import Pair, PairList
from common.errors import UserError
from common.files import read_bytes, whole_file
from common.images.folder_index import FolderIndex
from common.packed import PackedStrings
from common.text_files import text_blocks

NumberScenes = Callable[[Collection[str]], tuple[np.ndarray, list[str]]]
Notes = list[str]  # what a run's log should say about where the pairs came from
EXAMPLE = "'kitchen/rgb_1.jpg kitchen/depth_1.png 518.86'"


@dataclass(frozen=True)
class ListText:
    """What the lines of a list file say.

    mistakes: a message for each line that cannot be read. notes: what is not read, for the log.
    """

    pairs: PairList
    mistakes: list[str]
    notes: Notes


def find_file(name: str, root: Path) -> Path:
    """`name` under `root`, else in the current folder, else in the repository; it may not exist."""
    for path in (root / name, Path(name), REPO_ROOT / name):
        if os.path.lexists(path):  # False for a name that no file can have
            return path
    return Path(name)


def read_list(path: Path) -> PairList:
    """The pairs of a list file, without the notes of `read_noted_list`."""
    return read_noted_list(path)[0]


def read_noted_list(path: Path) -> tuple[PairList, Notes]:
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


def write_list(path: Path, pairs: Iterable[Pair]) -> None:
    """Write a list file, whole or not at all; names keep their bytes."""
    with (
        whole_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.writelines(f"{pair.image}\t{pair.depth}\n" for pair in pairs)


def read_lines(path: Path) -> Iterator[str]:
    """Of a text file in UTF-8, or in UTF-16 with its mark, as Windows' shell writes.

    A name that is not UTF-8 keeps its bytes. `UnicodeError` for what is no text.
    """
    content = read_bytes(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16").encode()
    if b"\0" in content:
        raise UnicodeError("it is no text")
    blocks = text_blocks(content.removeprefix(codecs.BOM_UTF8), f"reading {path.name}")
    return chain.from_iterable(map(str.splitlines, blocks))  # not all are there at a time


def parse_list(path: Path, lines: Iterable[str]) -> ListText:
    """Every line of a list; a first line that only names the columns is passed over."""
    numbered = (
        (number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    )
    first = list(islice(numbered, 2))
    mistakes: list[str] = []
    notes: Notes = []
    if len(first) > 1 and is_header(first[0][1], first[1][1]):
        header = first.pop(0)[1].strip()
        notes.append(f"{path}: the first line, '{header}', names columns and is not read")
    unread: list[str] = []
    columns = _parse_lines(path, chain(first, numbered), mistakes, unread)
    pairs = _without_slashes(PairList.of_columns(columns))
    if unread:
        notes.append(
            f"{path}: {len(unread)} lines have more columns than image and depth map, first "
            f"{unread[0]}; they are not read"
        )
    return ListText(pairs, mistakes, notes)


def _parse_lines(
    path: Path, numbered: Iterable[tuple[int, str]], mistakes: list[str], unread: list[str]
) -> Iterator[tuple[str, str | None]]:
    """Image and depth of each line; mistakes and further columns are added to the lists."""
    for number, line in numbered:
        paths, others = split_line(line)
        if len(paths) != 2:
            found = len(line.split())
            mistakes.append(
                f"{path}:{number}: expected 'IMAGE DEPTH [FOCAL]', found {found} columns; write it "
                f"like {EXAMPLE}, with tabs between the columns, or quotes, if a path has spaces"
            )
            continue
        image, depth = paths
        if not image.strip("/") or not depth.strip("/"):
            mistakes.append(
                f"{path}:{number}: the image or depth path is empty; write it like {EXAMPLE}"
            )
            continue
        if others:
            unread.append(f"'{others[0]}' in line {number}")
        yield image, None if depth == NO_DEPTH else depth


def _without_slashes(pairs: PairList) -> PairList:
    """Absolute paths that exist stay as they are."""
    files = FolderIndex(is_strict=False)
    return PairList(_relative(pairs.images, files), _relative(pairs.depths, files))


def _relative(paths: PackedStrings, files: FolderIndex) -> PackedStrings:
    relative = paths.without_start("/")
    cut = np.flatnonzero(relative.sizes < paths.sizes)
    if not len(cut):
        return paths
    kept = cut[files.which_exist(("", paths.view(cut)))[0]]
    relative.starts[kept], relative.sizes[kept] = paths.starts[kept], paths.sizes[kept]
    return relative


def scene_of(image: str) -> str:
    """The scene an image was taken in: its folder, above KITTI's `image_02/data`.

    NYU stores one scene in several clips (`kitchen_0028a`, `kitchen_0028b`): they are one scene.
    """
    folder = PurePosixPath(image).parent
    while re.fullmatch(r"data|image_0\d", folder.name):
        folder = folder.parent
    return re.sub(r"(_\d{4})[a-z]$", r"\1", str(folder))


def number_scenes(images: Collection[str]) -> tuple[np.ndarray, list[str]]:
    """int32 [N], the number of each image's scene, and the names of the scenes by their numbers."""
    of_folder: dict[str, int] = {}
    names: dict[str, int] = {}

    def number(image: str) -> int:
        folder = image.rpartition("/")[0]
        if folder not in of_folder:
            of_folder[folder] = names.setdefault(scene_of(image), len(names))
        return of_folder[folder]

    return np.fromiter(map(number, images), np.int32, len(images)), list(names)


def carve_by_scene(
    pairs: Iterable[Pair], share: float, seed: int, number: NumberScenes = number_scenes
) -> tuple[PairList, PairList]:
    """Split into (rest, carved): about `share` of the images, no scene in both.

    Scenes are taken in a seeded order while they fit into the share; when none fits, the smallest.
    number: images -> the number of each one's scene, and the scenes' names.
    """
    pairs = PairList.of(pairs)
    if share == 0:
        return pairs, pairs[:0]
    numbers, names = number(pairs.images)
    counts = dict(zip(names, np.bincount(numbers).tolist(), strict=True))
    if len(counts) < 2:
        raise UserError(
            f"cannot carve a validation split: all {len(pairs)} training images are of one scene; "
            "divide the list, and name both parts with data.train_list and data.val_list"
        )
    chosen = choose_scenes(counts, round(share * len(pairs)), seed)
    is_carved = np.array([name in chosen for name in names])[numbers]
    return pairs.take(~is_carved), pairs.take(is_carved)


def choose_scenes(counts: dict[str, int], room: int, seed: int) -> set[str]:
    scenes = np.random.default_rng(seed).permutation(sorted(counts)).tolist()
    chosen = set()
    for scene in scenes:
        if counts[scene] <= room:
            chosen.add(scene)
            room -= counts[scene]
    return chosen or {min(scenes, key=lambda scene: counts[scene])}
