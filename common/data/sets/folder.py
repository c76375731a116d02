"""Anyone's own images: every `rgb/` file with the `depth/` file of the same name.

    ROOT/rgb/kitchen/0001.jpg         ROOT/depth/kitchen/0001.png      one rgb/ for all scenes, or
    ROOT/kitchen/rgb/0001.jpg         ROOT/kitchen/depth/0001.npy      one for each scene

Depth holds whole numbers, as a 16-bit PNG does (`data.depth_scale` of them a meter), or floats
(meters), in any of the formats of `DEPTH_SUFFIXES`. docs/your_own_data.md is the tutorial.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.data.data_set import DataSet
from common.data.lists import Notes, Pair, carve_by_scene, scene_of
from common.errors import UserError
from common.files import retried
from common.images.suffixes import (
    DEPTH_SUFFIXES,
    IMAGE_SUFFIXES,
    counted_suffixes,
    has_suffix,
    one_of_each,
    without_suffix,
)
from common.language.controls import folder_category


def find_pairs(root: Path, gt_root: Path) -> tuple[list[Pair], Notes]:
    """Every image below an `rgb` folder of `root`, in natural order ("2" before "10").

    Its depth lies below `gt_root`, at the same place with `depth` for `rgb`; None where there is no
    such file. The notes name what is left out: files of other kinds, and twins of the same name in
    another format. A `UserError` if there are no images, or none with depth.
    """
    files = list(_walk(root))
    images, notes = _sorted_out(files, "rgb", IMAGE_SUFFIXES)
    if not images and root.name == "rgb":
        raise UserError(f"data.root must be the folder that holds rgb/: data.root={root.parent}")
    if not images:
        raise UserError(
            f"no images in {root}: expected {root}/rgb/NAME.jpg (or {_others(IMAGE_SUFFIXES)}) "
            f"with its depth in {gt_root}/depth/NAME.png (or {_others(DEPTH_SUFFIXES)})"
            f"{_also(notes)}; see docs/your_own_data.md"
        )
    if gt_root != root:
        files = list(_walk(gt_root))
    depth_files, depth_notes = _sorted_out(files, "depth", DEPTH_SUFFIXES)
    depths = {without_suffix(path): path for path in depth_files}
    pairs = [Pair(image, depths.get(_twin(image))) for image in sorted(images, key=_natural)]
    if all(pair.depth is None for pair in pairs):
        raise UserError(
            f"none of the {len(pairs)} images in {root} has depth of the same name: "
            f"{pairs[0].image} needs {gt_root}/{_twin(pairs[0].image)}.png (or "
            f"{_others(DEPTH_SUFFIXES)}); {len(depths)} depth files are there{_first(depths)}"
            f"{_also(depth_notes)}"
        )
    return pairs, [*notes, *depth_notes]


def carve(pairs: list[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split into (rest, carved): by scene, or the last images where all are of one scene.

    The last ones, and not random ones: neighbors in a video are nearly the same image.
    """
    if len({scene_of(pair.image) for pair in pairs}) > 1 or share == 0:
        return carve_by_scene(pairs, share, seed)
    first = len(pairs) - max(round(share * len(pairs)), 1)
    return pairs[:first], pairs[first:]


def _walk(root: Path) -> Iterator[str]:
    """Every file below `root`, relative to it; links are followed, hidden names passed over."""
    seen, waiting = set(), [""]  # folders below the root, each with a slash behind it
    while waiting:
        below = waiting.pop()
        folder = f"{root}/{below}"
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        for name, is_folder in _entries(folder):
            if is_folder:
                waiting.append(f"{below}{name}/")
            else:
                yield below + name


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Names that are not hidden, and whether they are folders."""
    try:
        return retried(lambda: _listed(folder))
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}; check its permissions") from error


def _listed(folder: str) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        return [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".")]


def _sorted_out(
    files: list[str], folder: str, suffixes: tuple[str, ...]
) -> tuple[list[str], Notes]:
    """The files below `folder`, each picture once, and notes on those that are left out."""
    below = [path for path in files if _is_below(path, folder)]
    readable = [path for path in below if has_suffix(path, suffixes)]
    chosen, twins = one_of_each(readable, suffixes)
    notes = []
    if len(readable) < len(below):
        others = sorted(path for path in below if not has_suffix(path, suffixes))
        notes.append(
            f"{len(others)} files below {folder}/ are not read ({counted_suffixes(others)}), first "
            f"{others[0]}: {folder}/ is searched for {', '.join(suffixes)}"
        )
    if twins:
        path, taken = min(twins)
        notes.append(
            f"{len(twins)} files below {folder}/ have the name of another one, and one of them is "
            f"taken: {path} is left out beside {taken}"
        )
    return chosen, notes


def _is_below(path: str, folder: str) -> bool:
    """Whether the first folder called `rgb` or `depth` is `folder`."""
    parts = [part for part in path.split("/")[:-1] if part in ("rgb", "depth")]
    return parts[:1] == [folder]


def _twin(image: str) -> str:
    """`a/rgb/b.jpg` -> `a/depth/b`."""
    parts = without_suffix(image).split("/")
    parts[parts.index("rgb")] = "depth"
    return "/".join(parts)


def _natural(path: str) -> list[str | int]:
    parts = re.split(r"(\d+)", path)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _first(depths: dict[str, str]) -> str:
    return f", first {min(depths.values())}" if depths else ""


def _others(suffixes: tuple[str, ...]) -> str:
    return ", ".join(suffixes[1:])


def _also(notes: Notes) -> str:
    return "".join(f"; {note}" for note in notes)


def _category(key: str) -> str:
    """The folder of the scene, above or below `rgb`: `kitchen/rgb/1.jpg` -> kitchen."""
    parts = [part for part in PurePosixPath(key).parts if part != "rgb"]
    return folder_category("/".join(parts))


DATA_SET = DataSet(
    name="folder",
    config="configs/zero_shot/folder.yaml",
    prepared_by="put images into {root}/rgb and depth of the same names into {root}/depth",
    depth_scale=1000.0,
    mean_log_depth=1.54,  # NYU's; data.mean_log_depth says what yours is
    find_pairs=find_pairs,
    carve=carve,
    category_of=_category,
    caption_pattern="**/*",
)
