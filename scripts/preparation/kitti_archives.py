"""KITTI's archives: where to get them, and what to unpack of them.

    fetch_depth(KITTI_SERVER, Path("data/kitti/archives"), Path("data/kitti/depth"), parts)

An archive is deleted once it is unpacked, so one that is there was interrupted and is gone on with.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from common.data.sets.kitti import DATA_SET
from common.errors import UserError
from scripts.preparation.archives import extract_zip, find_archives
from scripts.preparation.download import download
from scripts.preparation.eigen import EIGEN_TEST_DRIVES, EIGEN_TRAIN_DRIVES
from scripts.preparation.kitti_frames import DRIVE_NAME

KITTI_SERVER = "https://s3.eu-central-1.amazonaws.com/avg-kitti"
DEPTH_ARCHIVE = "data_depth_annotated.zip"
_CALIBRATION = re.compile(r"\d{4}_\d\d_\d\d_calib\.zip")


@dataclass(frozen=True)
class Parts:
    """What of the archives is used."""

    drives: frozenset[str]
    cameras: frozenset[int] = frozenset({2})
    velodyne: bool = False

    def raw_place(self, member: str) -> str | None:
        """Where a member of a raw archive belongs below `raw`; None if it is not needed."""
        calibration = re.search(r"(?:^|/)(\d{4}_\d\d_\d\d/calib_\w+\.txt)$", member)
        if calibration:
            return calibration[1]
        match = re.search(rf"({DRIVE_NAME})/(image_0\d|velodyne_points)/data/\d+\.\w+$", member)
        return f"{match[1][:10]}/{match[0]}" if self._wants(match) else None

    def depth_place(self, member: str) -> str | None:
        """The same below `depth`, for a member of the annotated depth archive."""
        match = re.search(
            rf"(?:train/|val/)?({DRIVE_NAME})/proj_depth/groundtruth/(image_0\d)/\d+\.png$", member
        )
        return match[0] if self._wants(match) else None

    def _wants(self, match: re.Match[str] | None) -> TypeGuard[re.Match[str]]:
        if match is None or match[1] not in self.drives:
            return False
        return self.velodyne if match[2] == "velodyne_points" else int(match[2][-1]) in self.cameras


def unpack_raw(place: Path, raw: Path, parts: Parts) -> None:
    """Unpack the drives and calibration that are needed and not there unzipped already.

    place: an archive, whatever its name, or a folder of archives with KITTI's names.
    """
    linked = {drive for drive in parts.drives if (raw / drive[:10] / drive).is_symlink()}
    parts = replace(parts, drives=parts.drives - linked)
    for archive in find_archives(place):
        drive = re.fullmatch(rf"({DRIVE_NAME})\.zip", archive.name)
        needed = drive is not None and drive[1] in parts.drives
        if place.is_file() or needed or _CALIBRATION.fullmatch(archive.name):
            extract_zip(archive, raw, parts.raw_place)


def unpack_depth(place: Path, depth: Path, parts: Parts) -> None:
    """Unpack the annotated depth that is needed; `place` as in `unpack_raw`."""
    for archive in find_archives(place):
        if place.is_file() or archive.name.startswith(Path(DEPTH_ARCHIVE).stem):
            extract_zip(archive, depth, parts.depth_place)


def fetch_drives(server: str, archives: Path, raw: Path, parts: Parts) -> None:
    """Download and unpack the drives and calibration files that are not in `raw`."""
    for date in sorted({drive[:10] for drive in parts.drives}):
        if not (raw / date / "calib_velo_to_cam.txt").exists():
            url = f"{server}/raw_data/{date}_calib.zip"
            _fetch(url, archives, raw, parts)
    for drive in sorted(parts.drives):
        archive = archives / f"{drive}.zip"
        if archive.exists() or not _has_drive(raw / drive[:10] / drive, parts):
            url = f"{server}/raw_data/{drive.removesuffix('_sync')}/{drive}.zip"
            _fetch(url, archives, raw, parts)


def _has_drive(folder: Path, parts: Parts) -> bool:
    names = [f"image_0{camera}" for camera in parts.cameras]
    names += ["velodyne_points"] if parts.velodyne else []
    return all((folder / name / "data").is_dir() for name in names)


def fetch_depth(server: str, archives: Path, depth: Path, parts: Parts) -> None:
    """Download and unpack the annotated depth of both Eigen splits, unless every drive has some."""
    there = all(
        any((depth / section / drive).is_dir() for section in DATA_SET.depth_dirs)
        for drive in parts.drives
    )
    if (archives / DEPTH_ARCHIVE).exists() or not there:
        both = parts.drives.union(EIGEN_TRAIN_DRIVES, EIGEN_TEST_DRIVES)  # one archive for all
        _fetch(f"{server}/{DEPTH_ARCHIVE}", archives, depth, replace(parts, drives=both))


def _fetch(url: str, archives: Path, target: Path, parts: Parts) -> None:
    archive = download([url], archives / url.rsplit("/", 1)[-1])
    place = parts.depth_place if archive.name == DEPTH_ARCHIVE else parts.raw_place
    extract_zip(archive, target, place)
    try:
        archive.unlink()
    except OSError as error:
        raise UserError(f"cannot delete {archive}: {error.strerror}") from error
