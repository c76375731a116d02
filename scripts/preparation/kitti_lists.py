"""Write the Eigen lists for the KITTI files that are on disk.

    rows = locate_frames(eigen_test_frames(), Tree(raw, depth))
    write_list(path, rows)  # IMAGE DEPTH FOCAL; byte for byte the published list

A list line names the image with the suffix it has on disk, the annotated depth without its `train/`
or `val/` folder (as the published lists do; the loader looks in both), and the focal length.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from common.data.data_set import ListFile
from common.errors import UserError
from common.files import whole_file
from common.progress import tracked
from common.text_files import to_bytes
from scripts.preparation.eigen import EIGEN_TRAIN_DRIVES
from scripts.preparation.kitti_frames import KittiFrame, focal_length, list_line
from scripts.preparation.kitti_tree import Tree
from scripts.preparation.velodyne import Lens, project, read_lens, read_sweep, write_depth

_NEVER_ANNOTATED = 10  # frames of every drive: the first and the last five


@dataclass(frozen=True)
class ListRow:
    """A frame and what there is of it; the paths are as in lists."""

    frame: KittiFrame
    image: str | None
    depth: str | None


def locate_frames(frames: list[KittiFrame], tree: Tree) -> list[ListRow]:
    """Look every frame up on disk."""
    return [
        ListRow(frame, tree.image(frame), tree.annotated(frame))
        for frame in tracked(frames, "looking up frames", unit="frame")
    ]


def scan_training(tree: Tree) -> list[KittiFrame]:
    """Every frame of the 33 training drives that are there, by drive and number."""
    return [frame for drive in EIGEN_TRAIN_DRIVES for frame in tree.frames(drive)]


def annotated_of_whole_drives(rows: list[ListRow]) -> int:
    """How many annotated depth maps KITTI's archive has for the drives that `rows` hold whole."""
    return len(rows) - _NEVER_ANNOTATED * len({row.frame.drive for row in rows})


def missing_images(rows: list[ListRow], drives: set[str]) -> list[str]:
    """Which images of a split are not on disk, as text; an empty list when all are there."""
    absent = drives - {row.frame.drive for row in rows if row.image}
    single = [
        row.frame.image("png")
        for row in rows
        if row.image is None and row.frame.drive not in absent
    ]
    problems = []
    if absent:
        problems.append(f"{len(absent)} of {len(drives)} drives have no images{_first(absent)}")
    if single:
        problems.append(f"{len(single)} images are missing{_first(single)}")
    return problems


def missing_depth(rows: list[ListRow], num_with_gt: int | None) -> list[str]:
    """The same for annotated depth, of which there must be `num_with_gt` maps (None: not known)."""
    drives = {row.frame.drive for row in rows if row.image}
    bare = drives - {row.frame.drive for row in rows if row.depth}
    if bare:
        return [f"{len(bare)} of {len(drives)} drives have no annotated depth{_first(bare)}"]
    found = sum(row.depth is not None for row in rows)
    if num_with_gt is not None and found < num_with_gt:
        return [f"{num_with_gt - found} of {num_with_gt} annotated depth maps are missing"]
    return []


def _first(names: Iterable[str]) -> str:
    names = sorted(names)
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def write_list(path: Path, rows: list[ListRow], raw: Path) -> bytes:
    """Write the rows that have an image, as published: no newline at the end. The bytes written."""
    focal = cache(focal_length)
    lines = [
        list_line(row.image, row.depth, focal(raw, row.frame.date, row.frame.camera))
        for row in rows
        if row.image
    ]
    if not lines:
        raise UserError(f"no frame is left for {path.name}; check --raw and --depth")
    data = to_bytes("\n".join(lines))
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
    return data


def compare(data: bytes, published: ListFile) -> str:
    """How a written list stands to the published one, as text."""
    lines = data.decode().split("\n")
    num_with_gt = sum(line.split()[1] != "None" for line in lines)
    digits = hashlib.sha256(data).hexdigest()[:12]
    counts = f"{len(lines):,} lines, {num_with_gt:,} with ground truth"
    if digits == published.sha256:
        return f"{counts}; sha256 {digits}: the published list"
    if (len(lines), num_with_gt) == (published.num_lines, published.num_with_gt):
        return (
            f"{counts}, as published, but not the same bytes (sha256 {digits}, "
            f"published {published.sha256}): another order, or .jpg images"
        )
    return (
        f"{counts}: NOT the published list, which has {published.num_lines:,} lines, "
        f"{published.num_with_gt:,} with ground truth"
    )


def project_sweeps(rows: list[ListRow], tree: Tree, replace_annotated: bool) -> list[ListRow]:
    """Make depth from the laser for rows without annotated depth (or all); the rows with it.

    Depth maps that are there already are kept. A row without a laser sweep has no depth then.
    """

    lens = cache(read_lens)
    return [
        row
        if row.depth and not replace_annotated
        else ListRow(row.frame, row.image, _project_one(row.frame, tree, lens))
        for row in tracked(rows, "laser sweeps", unit="frame")
    ]


def _project_one(frame: KittiFrame, tree: Tree, lens: Callable[[Path, int], Lens]) -> str | None:
    target = tree.depth / frame.projected
    if not tree.has_sweep(frame):
        return None
    if not target.exists():
        sweep = read_sweep(tree.raw / frame.velodyne)
        write_depth(target, project(sweep, lens(tree.raw / frame.date, frame.camera)))
    return frame.projected
