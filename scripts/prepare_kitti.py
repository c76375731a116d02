"""Prepare KITTI (Eigen split): find the drives and the annotated depth, link them, write the lists.

What you downloaded and unzipped, wherever it is, is linked, not copied; what is still zipped is
unpacked into the output folder, only the parts that are needed:
  python scripts/prepare_kitti.py --raw /disk/kitti_raw --depth /disk/data_depth_annotated

Nothing downloaded yet (the annotated depth is 14 GB, the 61 drives of the split are about 175 GB
zipped; each archive is deleted once it is unpacked):
  python scripts/prepare_kitti.py --download
  python scripts/prepare_kitti.py --download --splits test       only what the evaluation needs

Ground truth from the laser for frames that have none (sparser and noisier than the annotated):
  python scripts/prepare_kitti.py --raw /disk/kitti_raw --depth /disk/depth --from-velodyne

In data/kitti this gives raw/, depth/ and
  eigen_test_files_with_gt.txt      652 lines, byte for byte the published list
  eigen_test_697_files_with_gt.txt  697 lines, 45 of them without ground truth; the same
  eigen_train_files_with_gt.txt     23,158 lines, by drive; `--train-list published` downloads the
                                    list of BTS, which has the same number in a random order
A second run is cheap, a stopped one goes on where it was. Exit code 2 when something is missing.
"""

import argparse
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import REPO_ROOT
from common.config_values import output_path, resolve_path
from common.data.sets import PUBLISHED_SPLITS
from common.errors import UserError, run_program
from common.files import check_folder
from common.runtime.claims import claim_folder
from scripts.preparation.archives import existing_places
from scripts.preparation.download import download
from scripts.preparation.eigen import EIGEN_TEST_DRIVES, EIGEN_TRAIN_DRIVES, eigen_test_frames
from scripts.preparation.kitti_archives import (
    KITTI_SERVER,
    Parts,
    fetch_depth,
    fetch_drives,
    unpack_depth,
    unpack_raw,
)
from scripts.preparation.kitti_frames import FrameList, read_frame_list
from scripts.preparation.kitti_lists import (
    ListRow,
    annotated_of_whole_drives,
    compare,
    locate_frames,
    missing_depth,
    missing_images,
    project_sweeps,
    scan_training,
    write_list,
)
from scripts.preparation.kitti_tree import Tree, link_depth, link_raw

TRAIN, TEST_652 = PUBLISHED_SPLITS["kitti_eigen"].train, PUBLISHED_SPLITS["kitti_eigen"].test
TEST_697 = PUBLISHED_SPLITS["kitti_eigen697"].test
PUBLISHED_TRAIN_URL = (
    "https://raw.githubusercontent.com/cleinc/bts/5e3406b35d1497b2e55d2dd600524d1f4efacaed/"
    f"train_test_inputs/{TRAIN.file}"
)
DEFAULT_OUTPUT = REPO_ROOT / "data" / "kitti"


@dataclass(frozen=True)
class RequestedSplit:
    """What a split is made of."""

    name: str  # train or test
    drives: frozenset[str]
    listed: FrameList | None  # None: every frame of the drives that has annotated depth


def main() -> None:
    """See the module's docstring."""
    arguments = _parse()
    output = output_path(arguments.output)
    check_folder(output)
    with claim_folder(output, "name another --output"):
        make_all(arguments, output)


def make_all(arguments: argparse.Namespace, output: Path) -> None:
    """Gather the files, then write what was asked for of each split."""
    tree = Tree(output / "raw", output / "depth")
    splits = [_read_split(name, arguments, output) for name in arguments.splits]
    parts = Parts(
        drives=frozenset().union(*(split.drives for split in splits)),
        cameras=frozenset(frame.camera for split in splits for frame in _listed(split)) | {2},
        velodyne=arguments.from_velodyne is not None,
    )
    gather(arguments, output, tree, parts)
    for split in splits:
        prepare(split, output, tree, arguments.from_velodyne, arguments.allow_missing)
    _print_next_steps(output)


def gather(arguments: argparse.Namespace, output: Path, tree: Tree, parts: Parts) -> None:
    """Link, unpack and, if asked, download the files."""
    for place in existing_places(arguments.raw, "--raw and --depth"):
        link_raw(place, tree.raw)
        unpack_raw(place, tree.raw, parts)
    for place in existing_places(arguments.depth, "--raw and --depth"):
        link_depth(place, tree.depth)
        unpack_depth(place, tree.depth, parts)
    if arguments.download:
        archives = output / "archives"
        fetch_drives(arguments.server, archives, tree.raw, parts)
        fetch_depth(arguments.server, archives, tree.depth, parts)


def prepare(
    split: RequestedSplit, output: Path, tree: Tree, velodyne: str | None, allow_missing: bool
) -> None:
    """Write the lists of a split, and its ground truth from the laser if asked."""
    frames = split.listed.frames if split.listed else scan_training(tree)
    rows = locate_frames(frames, tree)
    annotated = velodyne is None or any(row.depth for row in rows)
    problems = missing_images(rows, set(split.drives))
    if annotated:
        listed = split.listed
        expected = listed.num_with_gt if listed else annotated_of_whole_drives(rows)
        problems += missing_depth(rows, expected)
    if problems:
        _report_missing(split, problems, allow_missing)
    if annotated:
        _write_lists(split, rows, output, tree.raw)
    if velodyne:
        _write_velodyne_list(split, rows, output, tree, velodyne)


def _read_split(name: str, arguments: argparse.Namespace, output: Path) -> RequestedSplit:
    """The frames of a split: as typed, else from KITTI's own rule."""
    source = arguments.train_list if name == "train" else arguments.test_list
    if name == "train" and (source == "scan" or (source is None and not _is_full(output))):
        return RequestedSplit(name, frozenset(EIGEN_TRAIN_DRIVES), None)
    if name == "test" and source is None:
        listed = FrameList(eigen_test_frames(), TEST_652.num_with_gt)
        return RequestedSplit(name, frozenset(EIGEN_TEST_DRIVES), listed)
    listed = read_frame_list(_fetch_list(source or str(output / TRAIN.file), output))
    drives = frozenset(frame.drive for frame in listed.frames)
    leaked = drives & set(EIGEN_TEST_DRIVES) if name == "train" else frozenset()
    if leaked:
        raise UserError(f"--train-list {source}: {min(leaked)} is a drive of the Eigen test set")
    return RequestedSplit(name, drives, listed)


def _is_full(output: Path) -> bool:
    """Whether the training list is there in its full length, in whatever order it was published."""
    path = output / TRAIN.file
    return path.exists() and len(read_frame_list(path).frames) == TRAIN.num_lines


def _fetch_list(source: str, output: Path) -> Path:
    if source == "published":
        return download([PUBLISHED_TRAIN_URL], output / "lists" / TRAIN.file, TRAIN.sha256)
    if source.startswith(("http://", "https://")):
        name = re.sub(r"\W+", "_", source.partition("://")[2])  # two lists may share a file name
        return download([source], output / "lists" / f"{name}.txt")
    return resolve_path(source, True)


def _listed(split: RequestedSplit) -> list:
    return split.listed.frames if split.listed else []


def _report_missing(split: RequestedSplit, problems: list[str], allow_missing: bool) -> None:
    text = f"{split.name} split: {'; '.join(problems)}"
    if not allow_missing:
        raise UserError(
            f"{text}; name more folders with --raw and --depth, use --download, choose with "
            "--splits, or write shorter lists with --allow-missing"
        )
    print(f"warning: {text}; the list is shorter, results are not those of the published split")


def _write_lists(split: RequestedSplit, rows: list[ListRow], output: Path, raw: Path) -> None:
    with_gt = [row for row in rows if row.depth]
    files = [(TRAIN if split.name == "train" else TEST_652, with_gt)]
    if split.name == "test" and len(rows) > len(with_gt):
        files.append((TEST_697, rows))
    for published, chosen in files:
        data = write_list(output / published.file, chosen, raw)
        print(f"{output / published.file}: {compare(data, published)}")


def _write_velodyne_list(
    split: RequestedSplit, rows: list[ListRow], output: Path, tree: Tree, velodyne: str
) -> None:
    made = project_sweeps(rows, tree, replace_annotated=velodyne == "all")
    laser = sum(row.depth == row.frame.projected for row in made)
    without = sum(row.depth is None for row in made)
    if without and not laser:
        raise UserError(
            f"{split.name} split: no laser sweeps for any of the {without:,} frames that need one "
            f"(looked for {tree.raw / made[0].frame.velodyne}); unzip velodyne_points of the drives"
        )
    name = f"eigen_{split.name}_{'velodyne' if velodyne == 'all' else 'with_velodyne'}_files.txt"
    write_list(output / name, made, tree.raw)
    print(
        f"{output / name}: {len(made):,} lines, {laser:,} with depth from one laser sweep, "
        f"{without:,} with none"
    )


def _print_next_steps(output: Path) -> None:
    command = ["python", "scripts/doctor.py", "kitti"]
    if output != DEFAULT_OUTPUT:
        command += [
            f"data.root={output / 'raw'}",
            f"data.gt_root={output / 'depth'}",
            f"data.train_list={output / TRAIN.file}",
            f"data.test_list={output / TEST_652.file}",
        ]
    print(f"next: {shlex.join(command)}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--raw",
        nargs="+",
        default=[],
        metavar="PATH",
        help="folders with raw drives, unzipped or not, at any level",
    )
    add(
        "--depth",
        nargs="+",
        default=[],
        metavar="PATH",
        help="folders with annotated depth, as unzipped or merged, or the archive",
    )
    add("--output", default=str(DEFAULT_OUTPUT), metavar="DIR", help="default: data/kitti")
    add("--splits", nargs="+", choices=["test", "train"], default=["test", "train"])
    add(
        "--train-list",
        metavar="SOURCE",
        help="scan (default: every annotated frame of the 33 training drives), published "
        "(BTS's list, downloaded), or the file or URL of a list of BTS, monodepth or "
        "monodepth2",
    )
    add(
        "--test-list",
        metavar="SOURCE",
        help="a file or URL instead of the 697 Eigen frames, which are built in",
    )
    add(
        "--from-velodyne",
        nargs="?",
        const="missing",
        choices=["missing", "all"],
        help="make ground truth from the laser for frames without annotated depth, or for all "
        "(as papers do that score all 697)",
    )
    add("--download", action="store_true", help="fetch from KITTI's server what is not there")
    add("--server", default=KITTI_SERVER, metavar="URL", help="a mirror of %(default)s")
    add("--allow-missing", action="store_true", help="write lists of what is there")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
