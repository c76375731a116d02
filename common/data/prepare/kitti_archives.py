"""KITTI's archives: where to get them, and what to unpack of them.

    fetch_depth(KITTI_SERVER, Path("data/kitti/archives"), Path("data/kitti/depth"), parts)

An archive is deleted once it is unpacked, so one that is there was interrupted and is gone on with.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from common.data.kitti import LAYOUT
from common.data.prepare.archives import extract_zip
from common.data.prepare.download import download
from common.data.prepare.eigen import EIGEN_TEST_DRIVES, EIGEN_TRAIN_DRIVES
from common.data.prepare.kitti_frames import DRIVE_NAME
from common.errors import UserError

KITTI_SERVER = "https://s3.eu-central-1.amazonaws.com/avg-kitti"
DEPTH_ARCHIVE = "data_depth_annotated.zip"
_CALIBRATION = re.compile(r"\d{4}_\d\d_\d\d_calib\.zip")


@dataclass(frozen=True)
class Parts:
    """What of the archives is used."""

    drives: frozenset[str]
    cameras: frozenset[int] = frozenset({2})
    velodyne: bool = False

    def wants_raw(self, member: str) -> bool:
        """Whether a member of a raw archive is needed."""
        if re.search(r"(^|/)\d{4}_\d\d_\d\d/calib_\w+\.txt$", member):
            return True
        match = re.search(rf"({DRIVE_NAME})/(image_0\d|velodyne_points)/data/\d+\.\w+$", member)
        return match is not None and match[1] in self.drives and self._wants_folder(match[2])

    def wants_depth(self, member: str) -> bool:
        """Whether a member of the annotated depth archive is needed."""
        match = re.search(rf"({DRIVE_NAME})/proj_depth/groundtruth/(image_0\d)/\d+\.png$", member)
        return match is not None and match[1] in self.drives and self._wants_folder(match[2])

    def _wants_folder(self, name: str) -> bool:
        return self.velodyne if name == "velodyne_points" else int(name[-1]) in self.cameras


def unpack_raw(archives: list[Path], raw: Path, parts: Parts) -> None:
    """Unpack the drives and calibration that are needed and not there unzipped already."""
    for archive in archives:
        drive = re.fullmatch(rf"({DRIVE_NAME})\.zip", archive.name)
        needed = drive is not None and drive[1] in parts.drives
        linked = drive is not None and (raw / drive[1][:10] / drive[1]).is_symlink()
        if (needed and not linked) or _CALIBRATION.fullmatch(archive.name):
            extract_zip(archive, raw, parts.wants_raw)


def unpack_depth(archives: list[Path], depth: Path, parts: Parts) -> None:
    """Unpack the annotated depth that is needed."""
    for archive in archives:
        if archive.name.startswith(Path(DEPTH_ARCHIVE).stem):
            extract_zip(archive, depth, parts.wants_depth)


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
        any((depth / section / drive).is_dir() for section in LAYOUT.depth_dirs)
        for drive in parts.drives
    )
    if (archives / DEPTH_ARCHIVE).exists() or not there:
        both = parts.drives.union(EIGEN_TRAIN_DRIVES, EIGEN_TEST_DRIVES)  # one archive for all
        _fetch(f"{server}/{DEPTH_ARCHIVE}", archives, depth, replace(parts, drives=both))


def _fetch(url: str, archives: Path, target: Path, parts: Parts) -> None:
    archive = download([url], archives / url.rsplit("/", 1)[-1])
    wanted = parts.wants_depth if archive.name == DEPTH_ARCHIVE else parts.wants_raw
    extract_zip(archive, target, wanted)
    try:
        archive.unlink()
    except OSError as error:
        raise UserError(f"cannot delete {archive}: {error.strerror}") from error
