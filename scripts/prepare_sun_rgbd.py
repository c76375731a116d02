"""Prepare SUN RGB-D for zero-shot evaluation: link or unpack it, list its 5,050 test images.

Folders (or archives) with SUNRGBD and SUNRGBDtoolbox, wherever they are; nothing is copied:
  python scripts/prepare_sun_rgbd.py --root /disk/sun
Nothing downloaded yet (SUNRGBD.zip is 7 GB; its test images are unpacked, then it is deleted):
  python scripts/prepare_sun_rgbd.py --download

In data/sun_rgbd this gives SUNRGBD/ and sun_rgbd_test.txt, one `IMAGE DEPTH FOCAL` line for each
folder of `alltest` in the toolbox's allsplit.mat. --depth raw (default) lists the sensor's depth;
--depth filled lists depth_bfx, whose holes are filled from neighboring views. Papers seldom say
which they score; raw measures, filled partly guesses. State it with your numbers.

A second run is cheap, a stopped one goes on where it was. Exit code 2 when something is missing.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import REPO_ROOT
from common.config_values import output_path
from common.errors import UserError, run_program
from common.files import check_folder, whole_file
from common.progress import tracked
from common.runtime.claims import claim_folder
from common.text_files import to_bytes
from scripts.preparation.archives import existing_places, extract_zip, find_archives
from scripts.preparation.download import download
from scripts.preparation.links import link
from scripts.preparation.sun_rgbd_files import (
    DATA_FOLDER,
    SENSORS,
    SPLIT_FILE,
    RgbdFiles,
    find_data,
    find_rgbd_files,
    find_split_file,
    has_rotated_bits,
    read_test_folders,
)

SERVER = "https://rgbd.cs.princeton.edu/data"
DATA_ARCHIVE, TOOLBOX_ARCHIVE = "SUNRGBD.zip", "SUNRGBDtoolbox.zip"
LIST = "sun_rgbd_test.txt"
NUM_TEST = 5050
DEPTH_FOLDERS = {"raw": "depth", "filled": "depth_bfx"}
DEFAULT_OUTPUT = REPO_ROOT / "data" / "sun_rgbd"


def main() -> None:
    """See the module's docstring."""
    arguments = _parse()
    output = output_path(arguments.output)
    check_folder(output)
    with claim_folder(output, "name another --output"):
        make_all(arguments, output)


def make_all(arguments: argparse.Namespace, output: Path) -> None:
    """Gather the files, look at them, and list them."""
    places = [*existing_places(arguments.root, "--root"), output]
    server = arguments.server if arguments.download else None
    folders = read_test_folders(get_split_file(places, output, server))
    depth_folder = DEPTH_FOLDERS[arguments.depth]
    get_data(places, output, server, folders, depth_folder)
    samples = find_test_files(output, folders, depth_folder, arguments.allow_missing)
    check_bits(output, samples)
    write_list(output / LIST, samples)
    note = "" if len(samples) == NUM_TEST else f"; NOT the published {NUM_TEST:,}"
    print(f"{output / LIST}: {len(samples):,} images with {arguments.depth} depth{note}")
    _print_next_steps(output)


def get_split_file(places: list[Path], output: Path, server: str | None) -> Path:
    """Find allsplit.mat, unpack it from the toolbox's archive, or download that."""
    found = next(filter(None, map(find_split_file, places)), None)
    if found:
        return found
    archive = _find_archive(places, TOOLBOX_ARCHIVE)
    if archive is None and server:
        archive = download([f"{server}/{TOOLBOX_ARCHIVE}"], output / "archives" / TOOLBOX_ARCHIVE)
    if archive is None:
        raise UserError(
            f"no {SPLIT_FILE} and no {TOOLBOX_ARCHIVE} in {_names(places)}; name its folder with "
            "--root, or use --download"
        )
    extract_zip(archive, output, lambda name: name if name.endswith(f"/{SPLIT_FILE}") else None)
    _delete_if_own(archive, output)
    found = find_split_file(output)
    if found is None:
        raise UserError(f"{archive}: there is no {SPLIT_FILE} in it; download it again")
    return found


def get_data(
    places: list[Path], output: Path, server: str | None, folders: list[str], depth_folder: str
) -> None:
    """Link the fullest data, or unpack the test samples of its archive, or download that."""
    target = output / DATA_FOLDER
    counts = {
        found: sum((found / folder / depth_folder).is_dir() for folder in folders)
        for place in places
        if (found := find_data(place))
    }
    fullest = max(counts, key=lambda found: counts[found], default=None)
    archive = _find_archive(places, DATA_ARCHIVE)
    if archive is None and server and fullest is None:
        archive = download([f"{server}/{DATA_ARCHIVE}"], output / "archives" / DATA_ARCHIVE)
    if fullest and (archive is None or (fullest != target and counts[fullest] == len(folders))):
        _link(fullest, target, counts[fullest] > counts.get(target, 0))
    elif archive:
        if target.is_symlink():
            target.unlink()  # what it leads to is not whole, and not this program's to fill up
        _unpack(archive, output, set(folders), depth_folder)
        _delete_if_own(archive, output)
    else:
        raise UserError(
            f"no folder {DATA_FOLDER} and no {DATA_ARCHIVE} in {_names(places)}; name its folder "
            "with --root, or use --download"
        )


def _link(found: Path, target: Path, is_fuller: bool) -> None:
    if found == target:
        return
    if is_fuller and target.is_dir() and not target.is_symlink():
        raise UserError(
            f"{target} has fewer of the test samples than {found}; name another --output, where a "
            "link to that one is made"
        )
    link(found, target)


def _unpack(archive: Path, output: Path, folders: set[str], depth_folder: str) -> None:
    def place(member: str) -> str | None:
        found = re.search(rf"(?:^|/)((?:{'|'.join(SENSORS)})/.+)", member)
        path = PurePosixPath(found[1] if found else member)
        is_image_or_depth = path.parent.name in ("image", depth_folder)
        sample = path.parent.parent if is_image_or_depth else path.parent
        is_wanted = is_image_or_depth or path.name == "intrinsics.txt"
        return f"{DATA_FOLDER}/{path}" if is_wanted and str(sample) in folders else None

    extract_zip(archive, output, place)


def find_test_files(
    output: Path, folders: list[str], depth_folder: str, allow_missing: bool
) -> list[RgbdFiles]:
    """The files of every test folder; what is missing is an error, or a warning if allowed."""
    looked_at = tracked(folders, "looking up samples", unit="sample")
    results = [find_rgbd_files(output, folder, depth_folder) for folder in looked_at]
    samples = [result for result in results if isinstance(result, RgbdFiles)]
    problems = [result for result in results if isinstance(result, str)]
    if problems:
        text = f"{len(problems)} of {len(folders)} test samples are not whole ({problems[0]})"
        if not allow_missing or not samples:
            raise UserError(
                f"{text}; unpack {DATA_ARCHIVE} again (a run with the archive in --root adds what "
                "is missing), or list the others with --allow-missing"
            )
        print(f"warning: {text}; results are not those of the published split")
    return samples


def check_bits(output: Path, samples: list[RgbdFiles], num_checked: int = 20) -> None:
    """Refuse depth that somebody has already turned into plain millimeters."""
    chosen = samples[:: max(len(samples) // num_checked, 1)]
    plain = [s.depth for s in chosen if not has_rotated_bits(output / s.depth)]
    if len(plain) > len(chosen) / 2:
        raise UserError(
            f"{output / plain[0]} and others do not have SUN RGB-D's rotated bits: somebody "
            "converted them; take the published files, or use data.name=folder for yours"
        )


def write_list(path: Path, samples: list[RgbdFiles]) -> None:
    """Write `IMAGE DEPTH FOCAL` lines; with tabs where a name has a space."""
    lines = []
    for sample in samples:
        gap = "\t" if " " in sample.image + sample.depth else " "
        lines.append(gap.join((sample.image, sample.depth, f"{sample.focal:.7g}")))
    with whole_file(path) as temporary:
        temporary.write_bytes(to_bytes("\n".join(lines) + "\n"))


def _find_archive(places: list[Path], name: str) -> Path | None:
    archives = [archive for place in places for archive in find_archives(place)]
    return next((archive for archive in archives if archive.name == name), None)


def _delete_if_own(archive: Path, output: Path) -> None:
    """Delete an unpacked archive that this program downloaded."""
    if archive.parent == output / "archives":
        archive.unlink()


def _names(places: list[Path]) -> str:
    return " or ".join(map(str, places))


def _print_next_steps(output: Path) -> None:
    setting = "" if output == DEFAULT_OUTPUT else f" {shlex.quote(f'data.root={output}')}"
    print(
        f"next: python scripts/doctor.py sun_rgbd{setting}\n"
        "then: python stage3_depth/eval.py --checkpoint runs/nyu/stage3 "
        f"--config configs/zero_shot/sun_rgbd.yaml{setting}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--root",
        nargs="+",
        default=[],
        metavar="PATH",
        help="folders with SUNRGBD and SUNRGBDtoolbox, unzipped or not",
    )
    add("--output", default=str(DEFAULT_OUTPUT), metavar="DIR", help="default: data/sun_rgbd")
    add("--depth", choices=list(DEPTH_FOLDERS), default="raw", help="default: raw")
    add("--download", action="store_true", help="fetch from Princeton's server what is not there")
    add("--server", default=SERVER, metavar="URL", help="a mirror of %(default)s")
    add("--allow-missing", action="store_true", help="list the samples that are there")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
