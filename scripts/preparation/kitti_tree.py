"""Bring KITTI's drives, wherever they are, into one tree of links, and look frames up in it.

    OUTPUT/raw/2011_09_26/2011_09_26_drive_0002_sync -> where the drive was unzipped
    OUTPUT/depth/train/2011_09_26_drive_0001_sync    -> where the annotated depth was unzipped

Nothing is copied.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from common.data.sets.kitti import DATA_SET
from common.images.folder_index import FolderIndex
from scripts.preparation.kitti_frames import DRIVE_NAME, KittiFrame
from scripts.preparation.links import link

_DATE = re.compile(r"\d{4}_\d\d_\d\d")
_SEARCH_DEPTH = 4  # a given folder may be the drives' own or lie up to this many levels above
_SUFFIXES = ("png", "jpg", "jpeg")


def link_raw(source: Path, raw: Path) -> None:
    """Link the drives and calibration files found below `source` into `raw`."""
    for folder, drives, files in _search(source):
        for drive in drives:
            if _has_images(folder / drive):
                link(folder / drive, raw / drive[:10] / drive)
        if _DATE.fullmatch(folder.name):
            for name in files:
                if name.startswith("calib_") and name.endswith(".txt"):
                    link(folder / name, raw / folder.name / name)


def link_depth(source: Path, depth: Path) -> None:
    """Link the drives with annotated depth found below `source` into `depth`."""
    for folder, drives, _ in _search(source):
        section = folder.name if folder.name in DATA_SET.depth_dirs else ""
        for drive in drives:
            if (folder / drive / "proj_depth" / "groundtruth").is_dir():
                link(folder / drive, depth / section / drive)


def _search(source: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder down to the search depth, with its drives and files; not into drives."""
    if _is_drive(source):
        yield source.parent, [source.name], []
        return
    for path, folders, files in os.walk(source, followlinks=True):
        folder = Path(path)
        drives = sorted(name for name in folders if _is_drive(folder / name))
        yield folder, drives, sorted(files)
        deep = len(folder.relative_to(source).parts) >= _SEARCH_DEPTH
        folders[:] = [] if deep else sorted(set(folders) - set(drives))


def _is_drive(folder: Path) -> bool:
    """Not by the name alone: unzip programs make a folder named as the archive around its drive."""
    parts = ("image_02", "image_03", "proj_depth")
    return bool(re.fullmatch(DRIVE_NAME, folder.name)) and any((folder / p).is_dir() for p in parts)


def _has_images(drive: Path) -> bool:
    """Whether there are some: a half unpacked drive must not take the place of a whole one."""
    return any(any((drive / camera / "data").glob("*")) for camera in ("image_02", "image_03"))


class Tree:
    """The files of a prepared tree."""

    def __init__(self, raw: Path, depth: Path) -> None:
        self.raw, self.depth = raw, depth
        self._index = FolderIndex()

    def image(self, frame: KittiFrame) -> str | None:
        """Path of the image below `raw`, with the suffix it has on disk."""
        paths = (frame.image(suffix) for suffix in _SUFFIXES)
        return next((path for path in paths if f"{self.raw}/{path}" in self._index), None)

    def annotated(self, frame: KittiFrame) -> str | None:
        """Path of the annotated depth as in lists, below `depth` or one of its folders."""
        paths = (f"{self.depth}/{folder}/{frame.annotated}" for folder in DATA_SET.depth_dirs)
        return frame.annotated if any(path in self._index for path in paths) else None

    def has_sweep(self, frame: KittiFrame) -> bool:
        """Whether the laser sweep of the frame is there."""
        return f"{self.raw}/{frame.velodyne}" in self._index

    def frames(self, drive: str) -> list[KittiFrame]:
        """All frames of a drive's left color camera, in order."""
        folder = self.raw / KittiFrame(drive, 0).image_folder
        if not folder.is_dir():
            return []
        numbers = {
            int(path.stem)
            for path in folder.iterdir()
            if path.stem.isdigit() and path.suffix[1:] in _SUFFIXES
        }
        return [KittiFrame(drive, number) for number in sorted(numbers)]
