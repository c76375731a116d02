"""Every file below the folders called `rgb` (or `depth`) of a data root, however many there are.

images, depths = FolderSearch("rgb", IMAGE_SUFFIXES), FolderSearch("depth", DEPTH_SUFFIXES)
search(root, images, depths)                         # one walk through all folders
images.paths(), images.notes()                       # "kitchen/rgb/1.jpg", and what is left out
"""

import os
import re
from pathlib import Path

import numpy as np

from common.data.lists import Notes
from common.errors import UserError
from common.files import retried
from common.images.suffixes import counted_suffixes, has_suffix, one_of_each, without_suffix
from common.packed import PackedStrings, Packer
from common.progress import ProgressBar, progress_bar

_STEP = 1000  # files between two movements of the bar


class FolderSearch:
    """What is found below `folder`: each picture once, and what is left out."""

    def __init__(self, folder: str, suffixes: tuple[str, ...]) -> None:
        self.folder, self.suffixes = folder, suffixes
        self._found, self._others = Packer(), Packer()
        self._twins: list[tuple[str, str]] = []  # left out, taken instead

    def add(self, below: str, names: list[str]) -> None:
        """The files of one folder; below: its path with a slash behind it."""
        readable = [name for name in names if has_suffix(name, self.suffixes)]
        if len(set(map(without_suffix, readable))) < len(readable):
            readable, twins = one_of_each(readable, self.suffixes)
            self._twins += [(below + name, below + taken) for name, taken in twins]
        self._found.extend(below + name for name in readable)
        self._others.extend(below + name for name in names if not has_suffix(name, self.suffixes))

    def paths(self) -> PackedStrings:
        """Of what is found, in no order."""
        return self._found.packed()

    def notes(self) -> Notes:
        """Lines for the log about files of other kinds and about twins."""
        notes, others, folder = [], self._others.packed(), self.folder
        if others:
            notes.append(
                f"{len(others)} files below {folder}/ are not read ({counted_suffixes(others)}), "
                f"first {min(others)}: {folder}/ is searched for {', '.join(self.suffixes)}"
            )
        if self._twins:
            path, taken = min(self._twins)
            notes.append(
                f"{len(self._twins)} files below {folder}/ have the name of another one, and one "
                f"of them is taken: {path} is left out beside {taken}"
            )
        return notes


def search(root: Path, *searches: FolderSearch) -> None:
    """Walk through every folder below `root`; links are followed, hidden names passed over.

    A file belongs to the first folder above it, from the root on, that has a name which is sought
    in any search: `rgb` or `depth`.
    """
    of_name = {each.folder: each for each in searches}
    seen, waiting = set(), [""]  # folders below the root, each with a slash behind it
    with progress_bar(f"searching {root}", unit="files", stays=False) as bar:
        while waiting:
            below = waiting.pop()
            folder = f"{root}/{below}"
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            files, folders = _entries(folder, bar)
            waiting += [f"{below}{name}/" for name in folders]
            kind = next((part for part in below.split("/") if part in ("rgb", "depth")), None)
            if kind in of_name and files:
                of_name[kind].add(below, files)


def _entries(folder: str, bar: ProgressBar) -> tuple[list[str], list[str]]:
    """Names of files and of folders that are not hidden."""
    try:
        return retried(lambda: _listed(folder, bar))
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}; check its permissions") from error


def _listed(folder: str, bar: ProgressBar) -> tuple[list[str], list[str]]:
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
                continue
            files.append(entry.name)
            if len(files) % _STEP == 0:
                bar.update(_STEP)
    bar.update(len(files) % _STEP)
    return files, folders


def natural_order(paths: PackedStrings) -> np.ndarray:
    """The rows in natural order: "2" before "10", text by text and number by number."""
    of_folder: dict[str, str] = {}
    keys = Packer()
    for path in paths:
        start = path.rfind("/") + 1
        folder = path[:start]
        if folder not in of_folder:
            of_folder[folder] = _natural_key(folder)[:-1]
        keys.append(of_folder[folder] + _natural_key(path[start:]))
    return keys.packed().sorted_rows()


def _natural_key(text: str) -> str:
    """Its parts so written that the order of keys as text is that of the parts: each text ends with
    a zero, before each number stands how long it is."""
    parts = re.split(r"(\d+)", text)
    parts[1::2] = [_number_key(part) for part in parts[1::2]]
    parts[::2] = [f"{part}\0" for part in parts[::2]]
    return "".join(parts)


def _number_key(digits: str) -> str:
    number = str(int(digits))
    return chr(len(number)) + number
