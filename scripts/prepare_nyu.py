"""Prepare NYU Depth V2 as the configs expect it: the official 654/795 split, sync/ and the lists.

Give what you have; a step whose input is not there is left out, one that is done is not repeated.
Everything lands below --root:

  official_splits/test, official_splits/train   from nyu_depth_v2_labeled.mat and splits.mat,
                                                with three captions of 1,017 frames and their lists
  sync/                                         BTS's training images, linked, or unpacked if a zip
  nyudepthv2_test_files_with_gt.txt             654 lines    \\
  nyudepthv2_train_files_with_gt.txt            24,231 lines  | checked by count, sha256 and files
  nyu_labeled_train_files_with_gt.txt           795 lines     | if there, written if not
  nyu_dense_train_files_with_gt.txt             36,253 lines /

Without options, files are looked for in --root and in --root/downloads. --download fetches what is
missing (2.8 GB and several more for sync.zip; interrupted, it goes on where it stopped).
"""

import argparse
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common.config_values import resolve_path
from common.data.sets import PUBLISHED_SPLITS
from common.errors import UserError, run_program
from common.files import check_folder
from common.runtime.claims import claim_folder
from scripts.preparation import nyu_sources
from scripts.preparation.download import download, sha256_of
from scripts.preparation.nyu_captions import write_captions_and_lists
from scripts.preparation.nyu_lists import ListReport, make_list
from scripts.preparation.nyu_official import FOLDER, write_official_split
from scripts.preparation.nyu_sync import place_sync

EXAMPLE = """examples:
  python scripts/prepare_nyu.py --download
  python scripts/prepare_nyu.py --labeled ~/nyu_depth_v2_labeled.mat --splits ~/splits.mat \\
      --sync /data/nyu_depth_v2/sync
  python scripts/prepare_nyu.py --root /data/nyu --sync ~/Downloads/sync.zip --download lists splits
  python scripts/prepare_nyu.py --root /data/nyu         check what is there
"""
SOURCES = {
    "lists": [nyu_sources.TRAIN_LIST, nyu_sources.TEST_LIST],
    "splits": [nyu_sources.SPLITS],
    "labeled": [nyu_sources.LABELED],
    "sync": [nyu_sources.SYNC],
}
BTS, LABELED, DENSE = (
    PUBLISHED_SPLITS[name] for name in ("nyu_bts24k", "nyu_labeled795", "nyu_dense36k")
)
MADE_LIST_NOTE = """
The training list was made from every pair in sync/; it is not the published list of 24,231 pairs,
so numbers may not compare with papers. Delete {file} and use
`--download lists` to get that one."""
NO_LIST_NOTE = """
sync/ has more pairs than the 24,231 of the training list, and only that list says which: get it
with `--download lists`, or train on all of them with data.split=nyu_dense36k."""


def main() -> None:
    """Download if asked to, write the split, place sync/, write or check the lists, report."""
    arguments = _parse()
    check_folder(arguments.root)
    with claim_folder(arguments.root, "name another --root"):
        failed = _download(arguments)
        _write_official_split(arguments)
        _place_captions(arguments.root / FOLDER)
        _place_sync(arguments)
        _report(arguments.root, _make_lists(arguments.root), failed)


def _download(arguments: argparse.Namespace) -> list[str]:
    """Fetch what was asked for and is not there; the names of the files that failed."""
    failed = []
    for what in arguments.download:
        own_urls = [url for name, url in arguments.url if name == what]
        folder = arguments.root if what == "lists" else arguments.root / "downloads"
        for source in [] if _is_there(arguments, what) else SOURCES[what]:
            try:
                path = download([*own_urls, *source.urls], folder / source.file, source.sha256)
            except UserError as error:
                print(f"warning: {error}", file=sys.stderr)
                failed.append(source.file)
                continue
            if source.sha256 is None:
                print(f"{path}: its checksum is not published; this one has {sha256_of(path)}")
    return failed


def _is_there(arguments: argparse.Namespace, what: str) -> bool:
    """Whether a download is not needed. The labeled list is written after the official split."""
    if what == "lists":
        return False
    made = arguments.root / ("sync" if what == "sync" else LABELED.train.file)
    own = arguments.root / SOURCES[what][0].file
    return getattr(arguments, what) is not None or made.exists() or own.exists()


def _write_official_split(arguments: argparse.Namespace) -> None:
    labeled = _find(arguments, "labeled")
    if labeled is None:
        return
    splits = _find(arguments, "splits")
    if splits is None:
        raise UserError(
            f"{labeled} needs splits.mat, which says which frames are for testing; name it with "
            "--splits, or --download splits"
        )
    count = write_official_split(labeled, splits, arguments.root, arguments.depth)
    print(f"{arguments.root / FOLDER}: {count:,} pairs written from {labeled}")


def _place_captions(folder: Path) -> None:
    """Captions are an addition: where they cannot be written, the rest goes on."""
    try:
        for line in write_captions_and_lists(folder):
            print(line)
    except UserError as error:
        print(f"warning: no captions beside the frames: {error}", file=sys.stderr)


def _place_sync(arguments: argparse.Namespace) -> None:
    source = arguments.sync
    if source is None and not (arguments.root / "sync").exists():
        source = _find(arguments, "sync")
    if source is not None:
        print(place_sync(source, arguments.root))


def _find(arguments: argparse.Namespace, what: str) -> Path | None:
    """The file an option names, else the one that lies in the root or in its downloads."""
    given = getattr(arguments, what)
    if given is not None:
        if not given.exists():
            raise UserError(f"--{what}: no file {given}")
        return given
    name = SOURCES[what][0].file
    places = (arguments.root / name, arguments.root / "downloads" / name)
    return next((path for path in places if path.is_file()), None)


def _make_lists(root: Path) -> dict[str, ListReport | None]:
    sync, official = root / "sync", root / FOLDER
    return {
        "test": make_list(root, BTS.test, official / "test"),
        "train": make_list(root, BTS.train, sync, prefix="/"),
        "labeled": make_list(root, LABELED.train, official / "train"),
        "dense": make_list(root, DENSE.train, sync, prefix="/"),
    }


def _report(root: Path, reports: dict[str, ListReport | None], failed: list[str]) -> None:
    if not any(reports.values()) and not failed:
        raise UserError(
            f"nothing of NYU Depth V2 was found: not in the options, not in {root}, not in "
            f"{root / 'downloads'}; see --help, or --download"
        )
    print(f"\n{root}")
    for name, report in reports.items():
        print(f"  {name:9} {report or 'not there'}")
    train = reports["train"]
    if train and train.written:
        print(MADE_LIST_NOTE.format(file=train.path.name))
    elif not train and reports["dense"]:
        print(NO_LIST_NOTE)
    print(f"\nnext: python scripts/doctor.py nyu --root {shlex.quote(str(root))}")
    if failed:
        raise UserError(f"not downloaded: {', '.join(failed)}; the warnings above say why")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--root", type=_path, default=ROOT / "data" / "nyu", help="default: data/nyu of this repo")
    add("--labeled", type=_path, metavar="FILE", help="nyu_depth_v2_labeled.mat")
    add("--splits", type=_path, metavar="FILE", help="splits.mat")
    add("--sync", type=_path, metavar="PATH", help="sync.zip, or the folder it was unpacked to")
    add(
        "--depth",
        choices=["raw", "filled"],
        default="raw",
        help="depth of the official split: as measured, or with the holes painted in "
        "(default raw, as published)",
    )
    add(
        "--download",
        nargs="*",
        choices=list(SOURCES),
        metavar="WHAT",
        help=f"fetch {', '.join(SOURCES)}, or everything (no WHAT)",
    )
    add(
        "--url",
        type=_own_url,
        action="append",
        default=[],
        metavar="WHAT=URL",
        help="an address to try before the known ones, for labeled, splits or sync",
    )
    arguments = parser.parse_args()
    if arguments.download is None:
        arguments.download = []
    elif not arguments.download:
        arguments.download = list(SOURCES)
    return arguments


def _path(text: str) -> Path:
    return resolve_path(text, typed_by_hand=True)


def _own_url(text: str) -> tuple[str, str]:
    what, _, url = text.partition("=")
    if what not in ("labeled", "splits", "sync") or "://" not in url:
        raise argparse.ArgumentTypeError(f"'{text}' is not labeled=URL, splits=URL or sync=URL")
    return what, url


if __name__ == "__main__":
    run_program(main)
