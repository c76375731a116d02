"""Which of many files exist, from one listing of each folder.

files = FolderIndex()
"data/nyu/kitchen/1.jpg" in files
files.which_exist(("data/nyu", images), ("data/nyu", depths))     # a million at once
"""

import os
from array import array

import numpy as np

from common.errors import UserError
from common.files import retried
from common.packed import PackedStrings
from common.progress import tracked
from common.shards import find_shards, which_stored
from common.text_files import to_bytes


class FolderIndex:
    """Answers "does this file exist?" from one listing per folder: fast for many files."""

    def __init__(self, is_strict: bool = True) -> None:
        """is_strict: a folder that cannot be listed is a `UserError`, and not an empty one."""
        self._names: dict[str, frozenset[str]] = {}
        self._is_strict = is_strict

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if shards := find_shards(folder):
            return shards[0].find(f"{shards[1]}{name}") >= 0
        if folder not in self._names:
            self._names[folder] = self._list(folder)
        return name in self._names[folder]

    def which_exist(self, *columns: tuple[str, PackedStrings]) -> list[np.ndarray]:
        """bool [N] for each column: a folder, and N paths below it, or absolute ones.

        Every folder is listed once, in whatever order the paths are, and its names are forgotten.
        """
        groups = [_by_folder(paths) for _, paths in columns]
        exist = [np.zeros(len(paths), bool) for _, paths in columns]
        folders: dict[str, list[tuple[int, str]]] = {}  # -> columns that name it, and how
        for column, (base, _) in enumerate(columns):
            for below in groups[column]:
                folder = below if below.startswith("/") else f"{base}/{below}"
                folders.setdefault(folder.rstrip("/") or "/", []).append((column, below))
        for folder, spellings in tracked(folders.items(), "looking for files", stays=False):
            shards = find_shards(folder)
            there = frozenset[str]() if shards else self._list(folder)
            for column, below in spellings if there or shards else ():
                rows, paths = groups[column][below], columns[column][1].view(groups[column][below])
                names = paths.cut(np.full(len(rows), len(to_bytes(below))))
                if shards:
                    exist[column][rows] = which_stored(*shards, names)
                else:
                    exist[column][rows] = [name in there for name in names]
        return exist

    def _list(self, folder: str) -> frozenset[str]:
        try:
            return retried(lambda: _names_in(folder))
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except OSError as error:
            if not self._is_strict:
                return frozenset()
            raise UserError(
                f"cannot list {folder}: {error.strerror}; check its permissions"
            ) from error


def _by_folder(paths: PackedStrings) -> dict[str, np.ndarray]:
    """The rows of each folder, which is named as in the paths, with its slash."""
    folders: dict[str, int] = {}
    numbers = array("i")
    for path in paths:
        folder, slash, _ = path.rpartition("/")
        numbers.append(folders.setdefault(folder + slash, len(folders)))
    order = np.argsort(numbers, kind="stable").astype(np.int32)
    ends = np.cumsum(np.bincount(numbers, minlength=len(folders)))
    return dict(zip(folders, np.split(order, ends[:-1]), strict=True)) if folders else {}


def _names_in(folder: str) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)
