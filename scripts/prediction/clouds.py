"""Depth as points in space: x right, y down, z ahead of the camera, meters."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import whole_file
from scripts.prediction.cameras import Intrinsics

MOST_POINTS = 1_000_000
_PLY_HEADER = """ply
format binary_little_endian 1.0
comment meters; x right, y down, z ahead
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


@dataclass(frozen=True)
class Cloud:
    """points: float32 [P, 3], meters. colors: uint8 [P, 3]. step: every so many-th row and column
    of the picture is in it.
    """

    points: np.ndarray
    colors: np.ndarray
    step: int


def make_cloud(
    depth: np.ndarray, rgb: np.ndarray, camera: Intrinsics, most: int = MOST_POINTS
) -> Cloud:
    """The pixels [H, W] that have depth; of a large picture every second row and column, or third.

    depth is along the optical axis, so X = (u - cx) Z / fx. rgb: [H, W, 3].
    """
    step = 1
    while depth.size / step**2 > most:
        step += 1
    z = depth[::step, ::step]
    rows, columns = np.mgrid[: depth.shape[0] : step, : depth.shape[1] : step]
    x, y = (columns - camera.cx) * z / camera.fx, (rows - camera.cy) * z / camera.fy
    seen = np.isfinite(z)
    points = np.stack((x, y, z), axis=-1)[seen].astype(np.float32)  # [P, 3]
    return Cloud(points, rgb[::step, ::step][seen], step)


def write_ply(path: Path, cloud: Cloud) -> None:
    """A binary PLY file, whole or not at all."""
    kinds = [("point", "<f4", 3), ("color", "u1", 3)]
    rows = np.empty(len(cloud.points), kinds)
    rows["point"], rows["color"] = cloud.points, cloud.colors
    with whole_file(path) as temporary:
        header = _PLY_HEADER.format(count=len(rows)).encode()
        temporary.write_bytes(header + rows.tobytes())


def check_glb() -> None:
    """Raise now the `UserError` that `write_glb` would raise without its package."""
    try:
        import trimesh  # noqa: F401 - for this alone
    except ImportError as error:
        raise UserError("--glb needs trimesh: .venv/bin/pip install trimesh") from error


def write_glb(path: Path, cloud: Cloud) -> None:
    """A glTF file, whole or not at all; y is up and -z ahead there."""
    check_glb()
    import trimesh  # for this alone

    points = cloud.points * np.array([1, -1, -1], np.float32)
    with whole_file(path) as temporary:
        temporary.write_bytes(trimesh.PointCloud(points, cloud.colors).export(file_type="glb"))
