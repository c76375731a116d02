"""Why are files missing? Look for them elsewhere, and say which setting or command fixes it.

explain_missing(ListColumn(["kitchen/1.jpg"], 1), keys, Search([root]), ...) -> data.train_dir=sync

No fix moves, renames or deletes a file: the list or a setting changes.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from common.images.suffixes import DEPTH_SUFFIXES, IMAGE_SUFFIXES
from scripts.doctor_checks.findings import Fix, advice, settings, some_of
from scripts.doctor_checks.list_edits import EditableList

_MOST_FILES = 500_000  # a listing of more is given up: the folder is something else altogether
_NUM_SAMPLED = 20
_SUFFIXES = tuple(dict.fromkeys((*IMAGE_SUFFIXES, *DEPTH_SUFFIXES)))  # in any case of letters
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".part", ".mat", ".h5")


@dataclass(frozen=True)
class RootKeys:
    """The config keys that say where files start, and what they say now."""

    root: str  # "data.root" or "data.gt_root"
    root_dir: Path
    below: str  # "data.train_dir" or "data.test_dir"
    below_dir: str
    inner: tuple[str, ...] = ("",)  # folders below the base that are searched, KITTI's train, val

    @property
    def base(self) -> Path:
        """The folder where list paths start."""
        return self.root_dir / self.below_dir

    def finds(self, paths: Sequence[str], base: Path) -> bool:
        """Whether all the list paths would be found if they started at `base`."""
        return all(any((base / i / path).exists() for i in self.inner) for path in paths)


@dataclass(frozen=True)
class ListColumn:
    """The paths of one column of a list whose files are missing."""

    missing: Sequence[str]
    num_all: int
    source: EditableList | None = None  # None: not from a list
    number: int = 1  # of the column: 1 images, 2 depth maps


@dataclass(frozen=True)
class Explanation:
    """The likely cause; `is_setting`: the files are there, and a setting finds them."""

    cause: str
    fix: Fix
    is_setting: bool = False


class Search:
    """Every file below some folders by its name; listed once, when first needed."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = _without_nested(folders)
        self._by_name: dict[str, list[str]] | None = None

    def find(self, path: str) -> str | None:
        """The file that ends most like the list path; None if too little agrees.

        Names such as rgb_00045.jpg exist in every scene, so a path with folders must agree in one;
        where several files agree in a part of it (the frames of KITTI's drives), none is meant.
        """
        parts = PurePosixPath(path).parts
        found = [
            (num_common(parts, file), file) for file in self._names().get(parts[-1].lower(), [])
        ]
        best = max((count for count, _ in found), default=0)
        fitting = [file for count, file in found if count == best]
        if best < min(2, len(parts)) or (len(fitting) > 1 and best < len(parts)):
            return None
        return fitting[0]

    def find_converted(self, path: str) -> str | None:
        """A file of that name with another suffix."""
        pure = PurePosixPath(path)
        for suffix in _SUFFIXES:
            other = self.find(str(pure.with_suffix(suffix))) if suffix != pure.suffix else None
            if other is not None:
                return other
        return None

    def _names(self) -> dict[str, list[str]]:
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for number, file in enumerate(_walk(self._folders)):
                if number == _MOST_FILES:
                    break
                self._by_name[file.rpartition("/")[2].lower()].append(file)
        return self._by_name


def num_common(parts: Sequence[str], file: str) -> int:
    """How many last parts of both paths are equal; letters' case does not count."""
    count = 0
    for one, two in zip(reversed(parts), reversed(PurePosixPath(file).parts), strict=False):
        if one.lower() != two.lower():
            break
        count += 1
    return count


def explain_missing(
    listed: ListColumn, keys: RootKeys, search: Search, other: RootKeys, command: Fix
) -> Explanation:
    """Why the missing paths of a list are not below `keys.base`.

    other: where the other half of each pair is. command: what downloads or unpacks the data set.
    """
    sample = some_of(listed.missing, _NUM_SAMPLED)
    if listed.source and all("\\" in path for path in sample):
        return Explanation("list paths were written on Windows", listed.source.with_slashes())
    is_most = len(listed.missing) > listed.num_all / 2
    if is_most and other.base != keys.base and keys.finds(sample, other.base):
        roots = {keys.root: other.root_dir, other.root: keys.root_dir}
        fix = settings(*(f"{key}={roots[key]}" for key in ("data.root", "data.gt_root")))
        cause = "data.root and data.gt_root may be exchanged: the files are below the other one"
        return Explanation(cause, fix, is_setting=True)
    for path in (keys.root_dir.parent, keys.root_dir.parent.parent):
        if keys.finds(sample, path / keys.below_dir):
            cause = f"{keys.root} is a folder too deep"
            return Explanation(cause, settings(f"{keys.root}={path}"), is_setting=True)
    is_shared = other.root_dir == keys.root_dir
    guesses = Counter(
        filter(None, (_explain_one(path, listed, keys, search, is_shared) for path in sample))
    )
    if guesses:
        return guesses.most_common(1)[0][0]
    return _not_there(listed, keys, command)


def _explain_one(
    path: str, listed: ListColumn, keys: RootKeys, search: Search, is_shared: bool
) -> Explanation | None:
    found = search.find(path)
    if found is None:
        converted = search.find_converted(path)
        return _converted(path, converted, listed) if converted is not None else None
    parts, same = PurePosixPath(path).parts, num_common(PurePosixPath(path).parts, found)
    if Path(found).parts[-same:] != parts[-same:]:
        fix = advice("write the paths in the list as the files are called")
        return Explanation("upper and lower case of names differ", fix)
    start = Path(*Path(found).parts[:-same])
    if same == len(parts):
        return _other_start(parts, start, keys, is_shared)
    return _other_depth(parts, same, start, listed, keys, is_shared)


def _converted(path: str, found: str, listed: ListColumn) -> Explanation:
    old, new = PurePosixPath(path).suffix, PurePosixPath(found).suffix
    cause = f"the files were converted: the list says {old}, on disk they end in {new}"
    if listed.source is None:
        return Explanation(cause, advice("convert them back"))
    return Explanation(cause, listed.source.with_suffix(listed.number, old, new))


def _other_start(parts: Sequence[str], start: Path, keys: RootKeys, is_shared: bool) -> Explanation:
    """The list path as a whole is below `start`.

    is_shared: images and depth maps have one root, so that `keys.below` fits both.
    """
    if keys.inner != ("",) and start.name in keys.inner:
        start = start.parent
    cause = f"the files are below {start}, not {keys.base}"
    below = PurePosixPath(keys.below_dir).parts
    if below and start.parts[-len(below) :] == below and not keys.base.is_dir():
        root = Path(*start.parts[: -len(below)])
        return Explanation(cause, settings(f"{keys.root}={root}"), is_setting=True)
    if is_shared and start.is_relative_to(keys.root_dir) and keys.root == "data.root":
        folder = start.relative_to(keys.root_dir).as_posix()
        if start == keys.base.parent and parts[0] == keys.base.name:
            cause = f"the leading folder {parts[0]} is doubled: in the list and in {keys.below}"
        return Explanation(cause, settings(f"{keys.below}={folder}"), is_setting=True)
    clear = (f"{keys.below}=.",) if below else ()
    return Explanation(cause, settings(f"{keys.root}={start}", *clear), is_setting=True)


def _other_depth(
    parts: tuple[str, ...],
    same: int,
    start: Path,
    listed: ListColumn,
    keys: RootKeys,
    is_shared: bool,
) -> Explanation | None:
    """Only the last `same` parts of a list path are below `start`, without its leading folders.

    None if `start` is a neighbor, as drive_0001 is one of drive_0009: its files are not the ones.
    """
    extra = parts[:-same]
    if start.name != extra[-1] and _without_digits(start.name) == _without_digits(extra[-1]):
        return None
    folder = "/".join(extra)
    cause = f"list paths start with {folder}/, which is not among the files' folders"
    if listed.source is None:
        return None
    fix = listed.source.without_prefix(folder)
    if start != keys.base:
        moved = _other_start(parts[-same:], start, keys, is_shared).fix.settings
        fix = replace(fix, settings=(*fix.settings, *moved))
    return Explanation(cause, fix)


def _without_digits(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _not_there(listed: ListColumn, keys: RootKeys, command: Fix) -> Explanation:
    if not keys.base.is_dir():
        return Explanation(f"there is no folder {keys.base}{_archives(keys.root_dir)}", command)
    folders = {str(PurePosixPath(path).parent) for path in listed.missing}
    gone = [folder for folder in folders if not (keys.base / folder).is_dir()]
    if gone:
        cause = f"{len(gone)} folders are missing as a whole, such as {min(gone)}"
        cause += ": an unpacking or a download that stopped half-way"
    else:
        cause = "single files were deleted, or an unpacking stopped within a folder"
    return Explanation(cause + _archives(keys.root_dir), command)


def _archives(folder: Path) -> str:
    """Archives that may still have to be unpacked."""
    places = [place for place in (folder, folder.parent) if place.is_dir()]
    found = sorted(
        path.name for place in places for path in place.iterdir() if path.name.endswith(_ARCHIVES)
    )
    return f" (archives lie there: {', '.join(found[:3])})" if found else ""


def _walk(folders: Sequence[Path]) -> Iterable[str]:
    for start in folders:
        for folder, _, names in os.walk(start, followlinks=True):
            yield from (f"{folder}/{name}" for name in names)


def _without_nested(folders: Iterable[Path]) -> list[Path]:
    """Folders that lie in none of the others."""
    kept: list[Path] = []
    for folder in sorted({f.resolve() for f in folders}, key=lambda f: len(f.parts)):
        if not any(folder.is_relative_to(other) for other in kept):
            kept.append(folder)
    return kept
