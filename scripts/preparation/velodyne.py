"""Depth maps from single KITTI laser sweeps, as Eigen's evaluation makes them.

    lens = read_lens(Path("data/kitti/raw/2011_09_26"), camera=2)
    depth = project(read_sweep(path), lens)  # float32 [H, W], meters, 0 = no measurement

One sweep covers about 4 % of the pixels; KITTI's annotated depth covers about 20 %: it is
accumulated over eleven sweeps and freed of outliers. The laser sits above the camera and sees
behind the edges of near things, so near an edge some pixels carry the depth of what is hidden.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.images.depth_files import LARGEST, write_depth_png

_STORED_PER_METER = 256


@dataclass(frozen=True)
class Lens:
    """How a laser point reaches a rectified image."""

    matrix: np.ndarray  # [3, 4] float64: homogeneous laser point, meters -> (u*z, v*z, z), pixels
    height: int  # pixels
    width: int


def read_lens(date_folder: Path, camera: int) -> Lens:
    """Chain KITTI's calibration: laser -> reference camera -> rectified -> image of `camera`."""
    rotation, shift = read_calibration(date_folder / "calib_velo_to_cam.txt", {"R": 9, "T": 3})
    rectify, intrinsics, size = read_calibration(
        date_folder / "calib_cam_to_cam.txt",
        {"R_rect_00": 9, f"P_rect_0{camera}": 12, f"S_rect_0{camera}": 2},
    )
    to_reference, to_rectified = np.eye(4), np.eye(4)
    to_reference[:3, :3], to_reference[:3, 3] = rotation.reshape(3, 3), shift
    to_rectified[:3, :3] = rectify.reshape(3, 3)
    width, height = size.astype(int).tolist()
    return Lens(intrinsics.reshape(3, 4) @ to_rectified @ to_reference, height, width)


def read_calibration(path: Path, counts: dict[str, int]) -> list[np.ndarray]:
    """The named rows of a calibration file, each a vector of so many numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        day = path.parent.name
        raise UserError(f"cannot read {path}: {error}; it is in {day}_calib.zip") from error
    texts = dict(line.split(":", 1) for line in lines if ":" in line)
    return [_numbers(texts.get(key, ""), key, count, path) for key, count in counts.items()]


def _numbers(text: str, key: str, count: int, path: Path) -> np.ndarray:
    try:
        values = np.array(text.split(), dtype=np.float64)
    except ValueError:
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise UserError(f"{path}: '{key}:' must have {count} numbers; copy the file again")
    return values


def read_sweep(path: Path) -> np.ndarray:
    """Laser points, float32 [N, 3]: meters forward, left, up."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if not data or len(data) % 16:
        raise UserError(f"{path}: the file is cut off ({len(data)} bytes); copy it again")
    return np.frombuffer(data, "<f4").reshape(-1, 4)[:, :3]


def project(points: np.ndarray, lens: Lens) -> np.ndarray:
    """Laser points [N, 3] to depth, float32 [H, W], meters along the optical axis, 0 = none.

    As in Eigen's evaluation: points behind the laser are dropped (and those that are not finite),
    and pixel = round(u) - 1, for KITTI counts pixels from 1. Where several points meet in a pixel
    the nearest wins. (The code in circulation finds such pixels with an index that is off by one
    column per row, so a few of its pixels keep a farther point.)
    """
    ahead = points[(points[:, 0] >= 0) & np.isfinite(points).all(axis=1)].astype(np.float64)
    u_z, v_z, z = lens.matrix @ np.column_stack([ahead, np.ones(len(ahead))]).T  # [N] each
    seen = z > 0
    z = z[seen]
    column = np.round(u_z[seen] / z) - 1
    row = np.round(v_z[seen] / z) - 1
    inside = (column >= 0) & (column < lens.width) & (row >= 0) & (row < lens.height)
    pixel = (row[inside] * lens.width + column[inside]).astype(np.int64)
    nearest = np.full(lens.height * lens.width, np.inf)
    np.minimum.at(nearest, pixel, z[inside])
    nearest[np.isinf(nearest)] = 0
    return nearest.reshape(lens.height, lens.width).astype(np.float32)


def write_depth(path: Path, depth: np.ndarray) -> None:
    """Write meters [H, W] as a 16-bit PNG of meters * 256; what does not fit becomes 0."""
    stored = np.round(depth * _STORED_PER_METER)
    stored[stored > LARGEST] = 0
    write_depth_png(path, stored.astype(np.uint16))
