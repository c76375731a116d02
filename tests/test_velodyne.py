"""Depth from KITTI's laser: the projection against a slow one, and the lists that name it."""

from pathlib import Path

import numpy as np
import pytest

from common.data.lists import read_list
from common.errors import UserError
from common.images.reading import read_depth
from scripts.preparation.kitti_frames import KittiFrame
from scripts.preparation.velodyne import Lens, project, read_lens
from tests.kitti_files import CALIBRATION, prepare, write, write_annotated, write_calibration


def sweep(seed: int, count: int = 3000) -> np.ndarray:
    """Laser points [N, 4], many in one pixel, some behind and beside the camera."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-20, -20, -2.5, 0], [60, 20, 1.5, 1], (count, 4))
    again = points[: count // 3] * rng.uniform(1.0, 1.01, (count // 3, 1))  # mostly the same pixel
    return np.concatenate([points, again]).astype(np.float32)


def slow_projection(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Point by point, from the calibration's text: camera coordinates first, then the pixel."""
    rows = {}
    for text in CALIBRATION.values():
        for line in text.splitlines():
            key, values = line.split(":", 1)
            if key in ("R", "T", "R_rect_00", "P_rect_02"):
                rows[key] = [float(value) for value in values.split()]
    depth = np.zeros((height, width))
    for x, y, z, _ in points.tolist():
        if x < 0:
            continue
        turned = [
            sum(rows["R"][3 * i + j] * (x, y, z)[j] for j in range(3)) + rows["T"][i]
            for i in range(3)
        ]
        camera = [sum(rows["R_rect_00"][3 * i + j] * turned[j] for j in range(3)) for i in range(3)]
        camera.append(1.0)
        u, v, w = (
            sum(rows["P_rect_02"][4 * i + j] * camera[j] for j in range(4)) for i in range(3)
        )
        if w <= 0:
            continue
        column, row = round(u / w) - 1, round(v / w) - 1
        if 0 <= column < width and 0 <= row < height:
            depth[row, column] = min(w, depth[row, column] or np.inf)
    return depth


def test_projection_equals_a_slow_one(tmp_path):
    write_calibration(tmp_path)
    lens = read_lens(tmp_path / "2011_09_26", 2)
    points = sweep(1)
    expected = slow_projection(points, lens.height, lens.width)
    assert (lens.height, lens.width) == (375, 1242)
    assert 500 < (expected > 0).sum() < 2000  # without meetings it would be 2,364
    np.testing.assert_allclose(project(points[:, :3], lens), expected, atol=1e-5)


def test_the_nearest_point_wins_and_pixels_count_from_one():
    lens = Lens(np.array([[100.0, 0, 50, 0], [0, 100.0, 20, 0], [0, 0, 1, 0]]), 40, 100)
    points = np.array([[0, 0, 9], [0, 0, 4], [0, 0, 6], [0.5, 0.1, -3], [0.1, 0, 2]], np.float32)
    depth = project(points, lens)
    assert depth[19, 49] == 4 and depth[19, 54] == 2 and (depth > 0).sum() == 2


@pytest.fixture
def drive(tmp_path) -> Path:
    """A training drive with laser sweeps, with annotated depth for its frames 5 and 6."""
    frames = [KittiFrame("2011_09_26_drive_0001_sync", n) for n in range(12)]
    for frame in frames:
        write(tmp_path / "raw" / frame.image("png"), b"an image")
        if frame.number != 3:
            write(tmp_path / "raw" / frame.velodyne, sweep(frame.number).tobytes())
    write_calibration(tmp_path / "raw")
    write_annotated(tmp_path / "depth", frames)
    return tmp_path


def velodyne_arguments(drive: Path, *arguments) -> list:
    return [
        "--raw",
        drive / "raw",
        "--output",
        drive / "out",
        "--splits",
        "train",
        "--allow-missing",
        "--from-velodyne",
        *arguments,
    ]


def test_frames_without_annotation_get_depth_from_the_laser(drive):
    done = prepare(*velodyne_arguments(drive), "--depth", drive / "depth")
    assert done.code == 0, done.err
    assert "12 lines, 9 with depth from one laser sweep, 1 with none" in done.out
    pairs = read_list(drive / "out" / "eigen_train_with_velodyne_files.txt")
    kinds = ["none" if p.depth is None else p.depth.split("/")[0] for p in pairs]
    assert kinds == [
        *["velodyne"] * 3,
        "none",
        "velodyne",
        *["2011_09_26_drive_0001_sync"] * 2,
        *["velodyne"] * 5,
    ]
    stored = read_depth(drive / "out" / "depth" / pairs[8].depth)
    expected = slow_projection(sweep(8), 375, 1242)
    np.testing.assert_allclose(stored / 256, expected, atol=0.5 / 256 + 1e-6)
    assert not list((drive / "raw").rglob("*.png.*")) and not list((drive / "depth").rglob("velo*"))
    annotated = (drive / "out" / "eigen_train_files_with_gt.txt").read_text()
    assert len(annotated.split("\n")) == 2 and "velodyne" not in annotated


def test_all_frames_from_the_laser_and_a_second_run_keeps_them(drive):
    done = prepare(*velodyne_arguments(drive, "all"), "--depth", drive / "depth")
    assert "12 lines, 11 with depth from one laser sweep, 1 with none" in done.out
    made = sorted((drive / "out" / "depth" / "velodyne").rglob("*.png"))
    stamps = [path.stat().st_mtime_ns for path in made]
    made[0].unlink()
    prepare(*velodyne_arguments(drive, "all"), "--depth", drive / "depth")
    assert [path.stat().st_mtime_ns for path in made[1:]] == stamps[1:] and made[0].exists()


def test_the_laser_alone_is_enough(drive):
    done = prepare(*velodyne_arguments(drive))
    assert done.code == 0 and "11 with depth from one laser sweep" in done.out
    assert not (drive / "out" / "eigen_train_files_with_gt.txt").exists()


@pytest.mark.parametrize("damage", ["sweep", "calibration", "no calibration"])
def test_damaged_laser_files_are_named(drive, damage):
    if damage == "sweep":
        name = KittiFrame("2011_09_26_drive_0001_sync", 2).velodyne
        (drive / "raw" / name).write_bytes(bytes(161))
    else:
        name = "2011_09_26/calib_velo_to_cam.txt"
        (drive / "raw" / name).unlink()
        if damage == "calibration":
            (drive / "raw" / name).write_text("R: 1 2 three\nT: 1 2 3\n")
    done = prepare(*velodyne_arguments(drive))
    assert done.code == 2 and name.rsplit("/", 1)[-1] in done.errors[0]


def test_a_lens_needs_numbers(tmp_path):
    write_calibration(tmp_path)
    path = tmp_path / "2011_09_26" / "calib_cam_to_cam.txt"
    path.write_text(path.read_text().replace("P_rect_02: 7.215377e+02", "P_rect_02:"))
    with pytest.raises(UserError, match="'P_rect_02:' must have 12 numbers"):
        read_lens(tmp_path / "2011_09_26", 2)


@pytest.mark.filterwarnings("error")
def test_points_that_are_not_finite_leave_the_others_as_they_are(tmp_path):
    write_calibration(tmp_path)
    lens = read_lens(tmp_path / "2011_09_26", 2)
    points = sweep(2)[:, :3]
    bad = np.array([[np.inf, 0, 0], [np.nan, 1, 1], [5, np.inf, 0], [5, 0, -np.inf]], np.float32)
    mixed = project(np.concatenate([bad, points]), lens)
    np.testing.assert_array_equal(mixed, project(points, lens))


def test_drives_without_any_laser_sweep_are_an_error(tmp_path):
    frame = KittiFrame("2011_09_26_drive_0001_sync", 0)
    write(tmp_path / "raw" / frame.image("png"), b"image")
    arguments = ["--splits", "train", "--allow-missing", "--from-velodyne", "--output", tmp_path]
    done = prepare("--raw", tmp_path / "raw", *arguments)
    assert done.code == 2 and "no laser sweeps for any of the 1 frames" in done.errors[0]
    assert not list(tmp_path.glob("*velodyne*.txt"))
