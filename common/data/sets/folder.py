"""Anyone's own images: every `rgb/` file with the `depth/` file of the same name.

    ROOT/rgb/kitchen/0001.jpg         ROOT/depth/kitchen/0001.png      one rgb/ for all scenes, or
    ROOT/kitchen/rgb/0001.jpg         ROOT/kitchen/depth/0001.npy      one for each scene

Depth holds whole numbers, as a 16-bit PNG does (`data.depth_scale` of them a meter), or floats
(meters), in any of the formats of `DEPTH_SUFFIXES`. docs/your_own_data.md is the tutorial.
"""

from pathlib import Path, PurePosixPath

from common.data.data_set import DataSet
from common.data.folder_search import FolderSearch, natural_order, search
from common.data.lists import Notes, NumberScenes, carve_by_scene
from common.data.pairs import PairList
from common.errors import UserError
from common.images.suffixes import DEPTH_SUFFIXES, IMAGE_SUFFIXES, without_suffix
from common.language.controls import folder_category
from common.packed import PackedStrings


def find_pairs(root: Path, gt_root: Path) -> tuple[PairList, Notes]:
    """Every image below an `rgb` folder of `root`, in natural order ("2" before "10").

    Its depth lies below `gt_root`, at the same place with `depth` for `rgb`; None where there is no
    such file. The notes name what is left out: files of other kinds, and twins of the same name in
    another format. A `UserError` if there are no images, or none with depth.
    """
    images = FolderSearch("rgb", IMAGE_SUFFIXES)
    depths = FolderSearch("depth", DEPTH_SUFFIXES)
    if gt_root == root:
        search(root, images, depths)
    else:
        search(root, images)
        search(gt_root, depths)
    notes = images.notes()
    found = images.paths()
    if not found and root.name == "rgb":
        raise UserError(f"data.root must be the folder that holds rgb/: data.root={root.parent}")
    if not found:
        raise UserError(
            f"no images in {root}: expected {root}/rgb/NAME.jpg (or {_others(IMAGE_SUFFIXES)}) "
            f"with its depth in {gt_root}/depth/NAME.png (or {_others(DEPTH_SUFFIXES)})"
            f"{_also(notes)}; see docs/your_own_data.md"
        )
    pairs = _paired(found.view(natural_order(found)), depths.paths())
    if not pairs.has_depth.any():
        raise UserError(_describe_unpaired(root, gt_root, pairs, depths))
    return pairs, [*notes, *depths.notes()]


def _paired(images: PackedStrings, depths: PackedStrings) -> PairList:
    """Every image with its depth, where there is one."""
    names = PackedStrings.of(map(without_suffix, depths))
    rows = names.lookup.find_all(map(_twin, images))
    with_none = depths + PackedStrings.of([""])  # which row -1 names
    return PairList(images, with_none.view(rows))


def _describe_unpaired(root: Path, gt_root: Path, pairs: PairList, depths: FolderSearch) -> str:
    found = depths.paths()
    first = f", first {min(found)}" if found else ""
    return (
        f"none of the {len(pairs)} images in {root} has depth of the same name: "
        f"{pairs[0].image} needs {gt_root}/{_twin(pairs[0].image)}.png (or "
        f"{_others(DEPTH_SUFFIXES)}); {len(found)} depth files are there{first}"
        f"{_also(depths.notes())}"
    )


def carve(
    pairs: PairList, share: float, seed: int, number: NumberScenes
) -> tuple[PairList, PairList]:
    """Split into (rest, carved): by scene, or the last images where all are of one scene.

    The last ones, and not random ones: neighbors in a video are nearly the same image.
    """
    if share == 0 or len(number(pairs.images)[1]) > 1:
        return carve_by_scene(pairs, share, seed, number)
    first = len(pairs) - max(round(share * len(pairs)), 1)
    return pairs[:first], pairs[first:]


def _twin(image: str) -> str:
    """`a/rgb/b.jpg` -> `a/depth/b`."""
    parts = without_suffix(image).split("/")
    parts[parts.index("rgb")] = "depth"
    return "/".join(parts)


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
