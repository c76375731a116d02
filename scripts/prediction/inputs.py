"""What the arguments of predict.py mean: files, folders, globs, videos, a webcam; and captions."""

import glob
import os
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.images.suffixes import IMAGE_SUFFIXES, counted_suffixes, has_suffix
from common.language.captions import Captions, read_captions
from scripts.preparation.image_sets import is_depth_map

PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".gif", ".jfif", ".avif")
OTHER_SUFFIXES = (".heic", ".heif", ".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw")
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*=")


@dataclass(frozen=True)
class Inputs:
    """pictures, videos: key -> file; keys are paths below the folder that they all lie in.

    webcams: key -> number. notes: what was left out of folders.
    """

    pictures: dict[str, Path]
    videos: dict[str, Path]
    webcams: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        return [*self.pictures, *self.videos, *self.webcams]


def find_inputs(names: Sequence[str], output: Path) -> Inputs:
    """A `UserError` for a name that is nothing. What lies in `output` is no input of a folder."""
    files: list[Path] = []
    webcams: dict[str, int] = {}
    notes: list[str] = []
    for name in names:
        path = Path(os.path.expanduser(name))  # noqa: PTH111 - `~bak.jpg` may be nobody's home
        if os.path.isdir(path):  # noqa: PTH112 - as all of these, never raises for a long name
            files += _in_folder(path, output, notes)
        elif os.path.exists(path):  # noqa: PTH110
            files.append(path)
        elif name.isdecimal():
            webcams[f"webcam_{name}"] = int(name)
        else:
            files += _matching(str(path), output, name)
    keyed = _with_keys(files)
    videos = {key: file for key, file in keyed.items() if has_suffix(key, VIDEO_SUFFIXES)}
    pictures = {key: file for key, file in keyed.items() if key not in videos}
    return Inputs(pictures, videos, webcams, tuple(notes))


def _in_folder(folder: Path, output: Path, notes: list[str]) -> list[Path]:
    # Path.glob would not follow links to folders, and data often lies behind one.
    names = sorted(glob.glob("**/*", root_dir=folder, recursive=True))  # noqa: PTH207
    known = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)
    files = [folder / n for n in names if has_suffix(n, known) and (folder / n).is_file()]
    outside = [file for file in files if not _lies_in(file, output)]
    chosen = [file for file in outside if not is_depth_map(file)]
    depth_maps = [file for file in outside if file not in set(chosen)]
    other = [name for name in names if has_suffix(name, OTHER_SUFFIXES)]
    left_out = []
    if depth_maps:
        left_out.append(
            f"{len(depth_maps)} with one channel of 16 bits or more, as depth maps have (first "
            f"{depth_maps[0].name}; a picture among them is predicted if you name it)"
        )
    if len(outside) < len(files):
        left_out.append(f"{len(files) - len(outside)} in the output folder")
    if other:
        left_out.append(f"{counted_suffixes(other)}, which cannot be read")
    told = f"left out: {'; '.join(left_out)}" if left_out else ""
    if not chosen:
        raise UserError(
            f"no pictures or videos in {folder}{f' ({told})' if told else ''}; pictures end in "
            f"{', '.join(PICTURE_SUFFIXES)}, videos in {', '.join(VIDEO_SUFFIXES)}"
        )
    if told:
        notes.append(f"{folder}: {told}")
    return chosen


def _matching(pattern: str, output: Path, name: str) -> list[Path]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns too
    files = [Path(file) for file in found if Path(file).is_file()]
    files = [file for file in files if not _lies_in(file, output)]
    if not files and _SETTING.match(name):
        raise UserError(f"{name}: of the settings, data.*, text.* and eval.* can be changed here")
    if not files:
        raise UserError(
            f"no file, folder or match for {name}; name pictures, folders, videos, or a webcam by "
            "its number (0)"
        )
    return files


def _lies_in(file: Path, folder: Path) -> bool:
    return _place(folder) in _place(file).parents


def _place(path: Path) -> Path:
    """Absolute and without `..`; a link stays what it is called."""
    return Path(os.path.normpath(path.absolute()))


def _with_keys(files: Iterable[Path]) -> dict[str, Path]:
    """Each file once, by its path below the folder that all of them lie in."""
    places = {_place(file): file for file in files}
    if not places:
        return {}
    base = os.path.commonpath([place.parent for place in places])
    return {place.relative_to(base).as_posix(): file for place, file in places.items()}


def name_in(names: Container[str], path: Path) -> str | None:
    """What a list that was made for it calls a file: a path below some folder, at least a name."""
    parts = _place(path).parts[1:]
    found = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((name for name in found if name in names), None)


class CaptionSource:
    """The caption of each picture: from a caption file, else the one that is given for all."""

    def __init__(self, caption: str | None, file: Path | None) -> None:
        self.caption, self.file = caption, file
        self._captions = Captions.of({}) if file is None else read_captions(file)

    def of(self, path: Path | None) -> str | None:
        """None: nothing is said of it. path: None for a webcam. A `UserError` names the file."""
        if self.file is None or path is None:
            return self.caption
        found = name_in(self._captions, path)
        if found is None and self.caption is None:
            raise UserError(
                f"{path}: {self.file} has no caption for it; add one, or give --caption for those "
                "it lacks"
            )
        return self.caption if found is None else self._captions[found]
