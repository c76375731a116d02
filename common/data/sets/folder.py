"""Anyone's own images: every `rgb/` file with the `depth/` file of the same name.

    ROOT/rgb/kitchen/0001.jpg         ROOT/depth/kitchen/0001.png      one rgb/ for all scenes, or
    ROOT/kitchen/rgb/0001.jpg         ROOT/kitchen/depth/0001.npy      one for each scene

Depth is a 16-bit PNG (`data.depth_scale` stored units per meter), a `.npy` file (float meters, or
uint16 as in the PNG) or an `.exr` file (meters). docs/your_own_data.md is the tutorial.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.data.data_set import DataSet
from common.data.lists import Pair, carve_by_scene, scene_of
from common.errors import UserError
from common.language.controls import folder_category

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
DEPTH_SUFFIXES = (".png", ".npy", ".exr")


def find_pairs(root: Path, gt_root: Path) -> list[Pair]:
    """Every image below an `rgb` folder of `root`, in natural order ("2" before "10").

    Its depth lies below `gt_root`, at the same place with `depth` for `rgb`; None where there is no
    such file. A `UserError` if there are no images, or none with depth.
    """
    images = [path for path in _walk(root) if _is_below(path, "rgb", IMAGE_SUFFIXES)]
    if not images and root.name == "rgb":
        raise UserError(f"data.root must be the folder that holds rgb/: set it to {root.parent}")
    if not images:
        raise UserError(
            f"no images in {root}: expected {root}/rgb/NAME.jpg (or .jpeg, .png) with its depth in "
            f"{gt_root}/depth/NAME.png (or .npy, .exr); see docs/your_own_data.md"
        )
    depths = _depth_files(gt_root)
    pairs = [Pair(image, depths.get(_twin(image))) for image in sorted(images, key=_natural)]
    if all(pair.depth is None for pair in pairs):
        raise UserError(
            f"none of the {len(pairs)} images in {root} has depth of the same name: "
            f"{pairs[0].image} needs {gt_root}/{_twin(pairs[0].image)}.png (or .npy, .exr); "
            f"{len(depths)} depth files are there{_first(depths)}"
        )
    return pairs


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
    seen = set()
    for folder, names, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        names[:] = [name for name in names if not name.startswith(".") and real not in seen]
        below = Path(folder).relative_to(root)
        if real not in seen:
            yield from ((below / name).as_posix() for name in files if not name.startswith("."))
        seen.add(real)


def _refuse(error: OSError) -> None:
    raise UserError(
        f"cannot list {error.filename}: {error.strerror}; check its permissions"
    ) from error


def _is_below(path: str, folder: str, suffixes: tuple[str, ...]) -> bool:
    """Whether the first folder called `rgb` or `depth` is `folder`, and the suffix fits."""
    parts = [part for part in path.split("/")[:-1] if part in ("rgb", "depth")]
    return parts[:1] == [folder] and path.lower().endswith(suffixes)


def _twin(image: str) -> str:
    """`a/rgb/b.jpg` -> `a/depth/b`."""
    parts = list(PurePosixPath(image).with_suffix("").parts)
    parts[parts.index("rgb")] = "depth"
    return "/".join(parts)


def _depth_files(gt_root: Path) -> dict[str, str]:
    """Path without suffix -> path."""
    depths: dict[str, str] = {}
    for path in _walk(gt_root):
        if _is_below(path, "depth", DEPTH_SUFFIXES):
            name = str(PurePosixPath(path).with_suffix(""))
            if name in depths:
                raise UserError(
                    f"{gt_root}: {depths[name]} and {path} are depth of one image; remove one"
                )
            depths[name] = path
    return depths


def _natural(path: str) -> list[str | int]:
    parts = re.split(r"(\d+)", path)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _first(depths: dict[str, str]) -> str:
    return f", first {min(depths.values())}" if depths else ""


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
