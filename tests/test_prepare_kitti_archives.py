"""KITTI's archives in miniature: unpacked in part, by any name, damaged, and downloaded."""

import functools
import http.server
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.data.lists import read_list
from scripts.preparation.eigen import EIGEN_TRAIN_DRIVES
from scripts.preparation.kitti_frames import KittiFrame
from tests.kitti_files import CALIBRATION, TRAIN_LENGTH, prepare, write


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def pack(folder: Path, drives: tuple[str, ...]) -> None:
    """KITTI's archives under their names at the places on KITTI's server."""
    noise = np.random.default_rng(0).bytes(1000)
    for drive in drives:
        frames = [KittiFrame(drive, number) for number in range(TRAIN_LENGTH)]
        files = {frame.image("png"): noise for frame in frames}
        files |= {frame.image("png").replace("image_02", "image_00"): noise for frame in frames}
        files |= {frame.velodyne: noise for frame in frames}
        zip_of(folder / "raw_data" / drive.removesuffix("_sync") / f"{drive}.zip", files)
    for date in {drive[:10] for drive in drives}:
        files = {f"{date}/{name}": text.encode() for name, text in CALIBRATION.items()}
        zip_of(folder / "raw_data" / f"{date}_calib.zip", files)
    depth = {
        f"train/{frame.annotated}": noise
        for drive in drives
        for frame in (KittiFrame(drive, number) for number in (5, 6))
    }
    depth |= {
        "train/2011_09_26_drive_9999_sync/proj_depth/groundtruth/image_02/0000000005.png": b""
    }
    zip_of(folder / "data_depth_annotated.zip", depth)


def test_archives_are_unpacked_in_part_and_gone_on_with(tmp_path):
    drive = "2011_09_26_drive_0001_sync"
    pack(tmp_path / "zips", (drive,))
    arguments = [
        "--raw",
        tmp_path / "zips" / "raw_data",
        "--depth",
        tmp_path / "zips" / "data_depth_annotated.zip",
        "--output",
        tmp_path / "out",
        "--splits",
        "train",
        "--allow-missing",
    ]
    assert prepare(*arguments).code == 0
    unpacked = {p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.suffix != ".txt"}
    assert {p.parent.parent.name for p in unpacked} == {"image_02", "groundtruth"}
    assert len(unpacked) == TRAIN_LENGTH + 2
    assert (tmp_path / "out" / "raw" / "2011_09_26" / "calib_velo_to_cam.txt").exists()
    one = sorted(unpacked)[0]
    one.write_bytes(b"cut off")
    other = sorted(unpacked)[1]
    stamp = other.stat().st_mtime_ns
    assert prepare(*arguments).code == 0
    assert len(one.read_bytes()) == 1000 and other.stat().st_mtime_ns == stamp


def test_an_archive_named_by_hand_may_have_any_name_and_top_folder(tmp_path):
    drive = EIGEN_TRAIN_DRIVES[0]
    frames = [KittiFrame(drive, number) for number in range(TRAIN_LENGTH)]
    raw = zip_of(tmp_path / "kitti.zip", {f"a/b/{f.image('png')}": b"image" for f in frames})
    annotated = {f"data_depth_annotated/val/{f.annotated}": b"depth" for f in frames[5:7]}
    depth = zip_of(tmp_path / "annotated (1).zip", annotated)
    arguments = ["--splits", "train", "--allow-missing", "--output", tmp_path / "out"]
    done = prepare("--raw", raw, "--depth", depth, *arguments)
    assert done.code == 0, done.err
    out = tmp_path / "out"
    assert (out / "raw" / frames[0].image("png")).read_bytes() == b"image"
    assert (out / "depth" / "val" / frames[5].annotated).read_bytes() == b"depth"
    assert len(read_list(out / "eigen_train_files_with_gt.txt")) == 2


def test_an_archive_of_linked_drives_writes_nothing_beside_them(tmp_path):
    drive = EIGEN_TRAIN_DRIVES[0]
    frame = KittiFrame(drive, 5)
    write(tmp_path / "disk" / frame.image("png"), b"image")
    write(tmp_path / "disk" / frame.annotated, b"depth")
    more = zip_of(tmp_path / "more.zip", {KittiFrame(drive, 6).image("png"): b"image"})
    arguments = ["--splits", "train", "--allow-missing", "--output", tmp_path / "out"]
    done = prepare("--raw", tmp_path / "disk", more, "--depth", tmp_path / "disk", *arguments)
    assert done.code == 0, done.err
    assert len([path for path in (tmp_path / "disk").rglob("*") if path.is_file()]) == 2


@pytest.mark.parametrize("damage", ["cut", "leads out", "bit"])
def test_a_bad_archive_is_one_line_and_leaves_nothing_half(tmp_path, damage):
    drive = "2011_09_26_drive_0001_sync"
    name = KittiFrame(drive, 0).image("png")
    data = np.random.default_rng(0).bytes(5000)
    inside = f"../../{name}" if damage == "leads out" else name
    archive = zip_of(tmp_path / "zips" / f"{drive}.zip", {inside: data})
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        content = content[:3000]
    if damage == "bit":
        content[2000] ^= 1
    archive.write_bytes(content)
    done = prepare("--raw", archive, "--output", tmp_path / "out", "--splits", "train")
    assert done.code == 2 and len(done.errors) == 1 and str(archive) in done.errors[0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]


@pytest.fixture
def server(tmp_path):
    """KITTI's server with all training drives in miniature, on this machine."""
    pack(tmp_path / "server", EIGEN_TRAIN_DRIVES)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_download_fetches_what_is_missing_and_then_nothing(server, tmp_path):
    arguments = [
        "--download",
        "--server",
        server,
        "--output",
        tmp_path / "out",
        "--splits",
        "train",
    ]
    done = prepare(*arguments)
    assert done.code == 0, done.err
    assert "66 lines, 66 with ground truth" in done.out
    assert not list((tmp_path / "out" / "archives").iterdir())
    assert prepare(*arguments[:2], "http://127.0.0.1:9", *arguments[3:]).code == 0


def test_an_archive_that_was_not_unpacked_to_its_end_is_gone_on_with(server, tmp_path):
    arguments = ["--download", "--output", tmp_path / "out", "--splits", "train", "--server"]
    assert prepare(*arguments, server).code == 0
    name = "2011_09_26_drive_0001_sync"
    source = tmp_path / "server" / "raw_data" / "2011_09_26_drive_0001" / f"{name}.zip"
    source.rename(tmp_path / "out" / "archives" / source.name)
    lost = tmp_path / "out" / "raw" / KittiFrame(name, 5).image("png")
    lost.unlink()
    assert prepare(*arguments, "http://127.0.0.1:9").code == 0
    assert lost.exists() and not list((tmp_path / "out" / "archives").iterdir())


def test_a_dead_server_is_named(tmp_path):
    arguments = ["--download", "--server", "http://127.0.0.1:9", "--output", tmp_path]
    done = prepare(*arguments, "--splits", "train")
    assert done.code == 2 and "http://127.0.0.1:9/raw_data/2011_09_26_calib.zip" in done.errors[0]
