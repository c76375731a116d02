"""Make the demo data: rooms in NYU's layout and streets in KITTI's, drawn on the CPU.

Every room exists twice: full-size, and as a miniature whose image is the same file byte for
byte, whose depths are a quarter and whose caption says so. Nothing is downloaded. A second call
with the same settings changes nothing; rooms of an earlier version get the caption files that they
lack (captions_reworded.jsonl, captions_unseen.jsonl, captions_flag.jsonl).
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common.config_values import natural, positive
from common.errors import UserError, run_program
from common.runtime.claims import claim_path
from common.runtime.cores import num_cores
from scripts.demo_renderer.room_files import (
    RoomsSettings,
    add_other_words,
    lacking_words,
    write_rooms,
)
from scripts.demo_renderer.street_files import StreetsSettings, write_streets
from scripts.demo_renderer.writer import is_made

EXAMPLE = """examples:
  python scripts/make_demo_data.py                          rooms at 96x128 in data/demo/rooms
  python scripts/make_demo_data.py --what streets --street-frames 64 8 8
  python scripts/make_demo_data.py --out /tmp/rooms --scenes 50 --height 480 --width 640
"""


def main() -> None:
    """Make what was asked for, unless it is there already."""
    arguments = _parse()
    if arguments.what in ("rooms", "all"):
        rooms = _rooms_settings(arguments)
        folder = arguments.out / "rooms"
        if not _make(folder, rooms, write_rooms, arguments.workers, arguments.force):
            _complete(folder, rooms, arguments.workers)
    if arguments.what in ("streets", "all"):
        streets = _streets_settings(arguments)
        _make(arguments.out / "streets", streets, write_streets, arguments.workers, arguments.force)


def _make(folder: Path, settings, write, workers: int, force: bool) -> bool:
    """Make a data set; False: it was there already."""
    if not force and is_made(folder, settings.to_dict()):
        print(f"{folder}: already there")
        return False
    try:
        with claim_path(folder, "give another --out"):
            if force or not is_made(folder, settings.to_dict()):
                write(folder, settings, workers)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error}; name another --out") from error
    print(f"{folder}: done")
    return True


def _complete(folder: Path, settings: RoomsSettings, workers: int) -> None:
    """Add what rooms of an earlier version lack; where nothing can be written they stay usable."""
    if not lacking_words(folder):
        return
    try:
        with claim_path(folder, alternative=None):
            added = add_other_words(folder, settings, workers)
    except UserError as error:
        print(f"{folder}: its captions in other words are not added: {error}", file=sys.stderr)
    else:
        print(f"{folder}: {' and '.join(added)} added")


def _rooms_settings(arguments: argparse.Namespace) -> RoomsSettings:
    return RoomsSettings(
        train_scenes=arguments.scenes,
        val_scenes=arguments.val_scenes,
        test_scenes=arguments.test_scenes,
        height=arguments.height or RoomsSettings.height,
        width=arguments.width or RoomsSettings.width,
        seed=arguments.seed,
        miniature_share=arguments.miniature_share,
    )


def _streets_settings(arguments: argparse.Namespace) -> StreetsSettings:
    return StreetsSettings(
        *arguments.street_frames,
        height=arguments.height or StreetsSettings.height,
        width=arguments.width or StreetsSettings.width,
        seed=arguments.seed,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rooms, streets = RoomsSettings, StreetsSettings
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=ROOT / "data" / "demo",
        help="default: data/demo of this repository",
    )
    add("--what", choices=["rooms", "streets", "all"], default="rooms")
    for option, split, default in (
        ("--scenes", "training", rooms.train_scenes),
        ("--val-scenes", "validation", rooms.val_scenes),
        ("--test-scenes", "test", rooms.test_scenes),
    ):
        add(option, type=natural, default=default, help=f"{split} rooms (default {default})")
    add("--height", type=positive, help=f"pixels (rooms {rooms.height}, streets {streets.height})")
    add("--width", type=positive, help=f"pixels (rooms {rooms.width}, streets {streets.width})")
    add("--seed", type=natural, default=0)
    add(
        "--miniature-share",
        type=float,
        default=rooms.miniature_share,
        help="share of the training rooms that also appear as a miniature (default 1)",
    )
    frames = (streets.train_frames, streets.val_frames, streets.test_frames)
    add(
        "--street-frames",
        type=natural,
        nargs=3,
        default=frames,
        metavar=("TRAIN", "VAL", "TEST"),
        help="street images per split (default {} {} {})".format(*frames),
    )
    add(
        "--workers",
        type=positive,
        default=num_cores(),
        help="processes (default: all cores)",
    )
    add("--force", action="store_true", help="replace data made with other settings")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
