"""KITTI frames, the list formats that name them, and where their files lie.

    KittiFrame("2011_09_26_drive_0002_sync", 69).image("png")
    # 2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png

Read are the lists of BTS (`IMAGE DEPTH FOCAL`), of monodepth (`LEFT_IMAGE RIGHT_IMAGE`), of
monodepth2 (`2011_09_26/2011_09_26_drive_0002_sync 69 l`) and plain lists of images.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from scripts.preparation.velodyne import read_calibration

DRIVE_NAME = r"\d{4}_\d\d_\d\d_drive_\d{4}_sync"
_IMAGE = re.compile(rf"({DRIVE_NAME})/image_0([23])/(?:data/)?(\d+)\.(?:png|jpe?g)$", re.IGNORECASE)
_DRIVE = re.compile(rf"(?:^|/)({DRIVE_NAME})/?$")
_CAMERAS = {"l": 2, "r": 3, "2": 2, "3": 3}
# P_rect_02[0, 0] of KITTI's calibration files, for drives whose file is not there.
_FOCAL_LENGTHS = {
    "2011_09_26": 721.5377,
    "2011_09_28": 707.0493,
    "2011_09_29": 718.3351,
    "2011_09_30": 707.0912,
    "2011_10_03": 718.856,
}


@dataclass(frozen=True, order=True)
class KittiFrame:
    """One image of a color camera: 2 is the left one, 3 the right one."""

    drive: str
    number: int
    camera: int = 2

    @property
    def date(self) -> str:
        """The day of the drive, which is also the folder it lies in."""
        return self.drive[:10]

    def image(self, suffix: str) -> str:
        """Path of the image below the raw folder."""
        return f"{self.image_folder}/{self.number:010d}.{suffix}"

    @property
    def image_folder(self) -> str:
        """Folder of the images below the raw folder."""
        return f"{self.date}/{self.drive}/image_0{self.camera}/data"

    @property
    def velodyne(self) -> str:
        """Path of the laser sweep below the raw folder."""
        return f"{self.date}/{self.drive}/velodyne_points/data/{self.number:010d}.bin"

    @property
    def annotated(self) -> str:
        """Path of the annotated depth below the folder that holds the drives."""
        folder = f"{self.drive}/proj_depth/groundtruth/image_0{self.camera}"
        return f"{folder}/{self.number:010d}.png"

    @property
    def projected(self) -> str:
        """Path, below the ground truth folder, of depth made from one laser sweep."""
        return f"velodyne/{self.drive}/image_0{self.camera}/{self.number:010d}.png"


@dataclass(frozen=True)
class FrameList:
    """The frames of a list file, and how many of them it gives ground truth (None: no word)."""

    frames: list[KittiFrame]
    num_with_gt: int | None


def read_frame_list(path: Path) -> FrameList:
    """Read any of the list formats; CRLF, blank lines and `#` comments are fine."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read list file {path}: {error}") from error
    rows = [
        (line.split(), f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        raise UserError(f"{path}: the list has no frames")
    frames = [_parse_row(columns, where) for columns, where in rows]
    num_with_gt = sum("proj_depth" in column for columns, _ in rows for column in columns[1:2])
    return FrameList(frames, num_with_gt or None)


def _parse_row(columns: list[str], where: str) -> KittiFrame:
    image = _IMAGE.search(columns[0])
    if image:
        return KittiFrame(image[1], int(image[3]), int(image[2]))
    drive = _DRIVE.search(columns[0])
    side = columns[2] if len(columns) > 2 else "l"
    if drive and len(columns) > 1 and columns[1].isdigit() and side in _CAMERAS:
        return KittiFrame(drive[1], int(columns[1]), _CAMERAS[side])
    raise UserError(
        f"{where}: not a KITTI frame: '{' '.join(columns)[:100]}'; expected "
        "'DATE/DRIVE/image_02/data/NUMBER.png ...' or 'DATE/DRIVE NUMBER l'"
    )


def focal_length(raw: Path, date: str, camera: int) -> float:
    """Focal length in pixels, from the day's calibration file, else KITTI's known value."""
    path = raw / date / "calib_cam_to_cam.txt"
    if path.exists():
        return float(read_calibration(path, {f"P_rect_0{camera}": 12})[0][0])
    if date not in _FOCAL_LENGTHS:
        raise UserError(f"no {path}; unzip {date}_calib.zip next to the drives")
    return _FOCAL_LENGTHS[date]


def list_line(image: str, depth: str | None, focal: float) -> str:
    """A line as in BTS's lists; seven digits, as KITTI's calibration files have them."""
    return f"{image} {depth} {focal:.7g}"
