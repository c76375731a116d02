"""The project's own captions beside the official split, and lists of the frames that have them.

    ROOT/official_splits/captions_short.jsonl         of both parts; the same for detailed, objects
    ROOT/official_splits/train_files_with_gt.txt      captioned training frames
    ROOT/official_splits/val_files_with_gt.txt        captioned test frames

What is captioned is a frame of `nyu_depth_v2_labeled.mat`, known by its number; keys and lists are
those of the files that are there, so that `official_splits` is a data root of its own.
"""

import re
from pathlib import Path

from common.config import REPO_ROOT
from common.errors import UserError
from common.files import whole_file
from common.language.captions import captions_of, format_entry, read_entries
from common.text_files import to_bytes
from scripts.preparation.nyu_lists import scan_pairs

SHIPPED = REPO_ROOT / "configs" / "nyu" / "captions"
KINDS = ("short", "detailed", "objects")
LISTS = {"train": "train_files_with_gt.txt", "test": "val_files_with_gt.txt"}
_NUMBER = re.compile(r"rgb_(\d+)\.jpg$")


def write_captions_and_lists(folder: Path) -> list[str]:
    """Write what is not there for the frames in `folder`/train and /test; what was done, in lines.

    A file that says something else is left as it is.
    """
    captions = {kind: _by_number(SHIPPED / f"{kind}.jsonl") for kind in KINDS}
    captioned = set.intersection(*map(set, captions.values()))
    lines = {
        part: [line for line in scan_pairs(folder / part, f"{part}/") if _number(line) in captioned]
        for part in LISTS
    }
    if not any(lines.values()):
        return []
    keys = [line.split()[0] for part in LISTS for line in lines[part]]
    files = {
        f"captions_{kind}.jsonl": [_entry(key, of_number[_number(key)]) for key in keys]
        for kind, of_number in captions.items()
    }
    files |= {LISTS[part]: [f"{line}\n" for line in own] for part, own in lines.items() if own}
    kept = [name for name, content in files.items() if not _write(folder / name, content)]
    told = [
        f"{folder}: captions of {len(lines['train']):,} training and {len(lines['test']):,} test "
        f"frames ({', '.join(KINDS)}) and lists of these, for configs/nyu/labeled_*.yaml with "
        f"data.root={folder}"
    ]
    return told + [f"{folder / name} says something else, and is kept as it is" for name in kept]


def _by_number(path: Path) -> dict[int, list[str]]:
    """Number of a frame -> its captions."""
    return {_number(key): captions_of(entry) for key, entry in read_entries(path).items()}


def _number(text: str) -> int:
    """Of the frame that a key or a list line names; -1: none."""
    found = _NUMBER.search(text.split()[0])
    return int(found[1]) if found else -1


def _entry(key: str, captions: list[str]) -> str:
    words = {"caption": captions[0]} if len(captions) == 1 else {"captions": captions}
    return format_entry({"image": key, **words})


def _write(path: Path, lines: list[str]) -> bool:
    """Write the lines, also over some of them that an earlier call wrote; else False."""
    try:
        there = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {path}: {error}; correct it, or make the lists in another folder"
        ) from error
    if there == lines:
        return True
    if not set(there) <= set(lines):
        return False
    with whole_file(path) as temporary:
        temporary.write_bytes(to_bytes("".join(lines)))
    return True
