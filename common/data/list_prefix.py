"""Lists from another machine: `/mnt/author/nyu/kitchen/1.jpg` where `kitchen/1.jpg` is meant.

foreign_prefix(["mnt/author/nyu/kitchen/1.jpg"], ["data/nyu/sync"], files)   -> mnt/author/nyu
strip_command(Path("train.txt"), ["mnt/author/nyu"])                         -> sed ... > ...
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.images.folder_index import FolderIndex

_NUM_TRIED = 20


def foreign_prefix(paths: Sequence[str], folders: Iterable[str], files: FolderIndex) -> str | None:
    """The leading folders of list paths without which the files are there; None: there are none.

    paths: of files that are missing, as the list has them. folders: where they could start.
    """
    step = max(len(paths) // _NUM_TRIED, 1)
    tried = [path.strip("/") for path in paths[::step]]
    folders = list(folders)
    for number in range(1, tried[0].count("/") + 1 if tried else 0):
        prefix = "/".join(tried[0].split("/")[:number])
        rests = [path.removeprefix(f"{prefix}/") for path in tried if path.startswith(f"{prefix}/")]
        found = sum(any(f"{folder}/{rest}" in files for folder in folders) for rest in rests)
        if found > len(tried) / 2:
            return prefix
    return None


def strip_command(list_file: Path, prefixes: Iterable[str]) -> tuple[str, Path]:
    """A line for the shell that writes a list without these leading folders, and that list."""
    copy = list_file.with_name(f"{list_file.stem}_corrected{list_file.suffix}")
    # At the start of a line, or behind a separator, a quote or a byte order mark.
    edits = (rf"s#(^|[^[:alnum:]._/-])/*{_escaped(prefix)}/#\1#g" for prefix in prefixes)
    script = " ".join(f"-e {shlex.quote(edit)}" for edit in edits)
    return f"sed -E {script} {shlex.quote(str(list_file))} > {shlex.quote(str(copy))}", copy


def _escaped(prefix: str) -> str:
    """For sed's extended patterns between #."""
    return re.sub(r"[][.*+?(){}^$|\\#]", r"\\\g<0>", prefix.strip("/"))
