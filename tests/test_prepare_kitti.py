"""KITTI's layouts in miniature: all 697 test frames, 33 training drives, archives."""

import functools
import hashlib
import http.server
import os
import shlex
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from common.data.data_config import DataConfig
from common.data.splits import find_split
from common.images.reading import read_depth
from scripts.preparation.eigen import EIGEN_TRAIN_DRIVES, eigen_test_frames
from scripts.preparation.kitti_frames import KittiFrame, read_frame_list
from tests.kitti_files import (
    TRAIN_LENGTH,
    is_annotated,
    prepare,
    write,
    write_annotated,
    write_calibration,
)

PUBLISHED_652, PUBLISHED_697 = "63893f0e7bca", "8d0499af9ab4"


def digits(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def train_frames() -> list[KittiFrame]:
    return [KittiFrame(drive, n) for drive in EIGEN_TRAIN_DRIVES for n in range(TRAIN_LENGTH)]


@pytest.fixture(scope="module")
def kitti(tmp_path_factory) -> Path:
    """`raw space/kitti/DATE/...` and `data_depth_annotated/{train,val}/...`, complete."""
    root = tmp_path_factory.mktemp("kitti")
    frames = eigen_test_frames() + train_frames()
    for frame in frames:
        write(root / "raw space" / "kitti" / frame.image("png"), b"an image")
    write_calibration(root / "raw space" / "kitti")
    write_annotated(root / "data_depth_annotated", frames)
    return root


def sources(kitti: Path) -> list:
    return ["--raw", kitti / "raw space", "--depth", kitti / "data_depth_annotated"]


def test_lists_are_the_published_ones_and_every_file_is_found(kitti, tmp_path):
    before = sum(1 for _ in kitti.rglob("*"))
    done = prepare(*sources(kitti), "--output", tmp_path)
    assert done.code == 0, done.err
    assert digits(tmp_path / "eigen_test_files_with_gt.txt") == PUBLISHED_652
    assert digits(tmp_path / "eigen_test_697_files_with_gt.txt") == PUBLISHED_697
    train = (tmp_path / "eigen_train_files_with_gt.txt").read_text().split("\n")
    assert len(train) == 66
    assert train[0] == (
        "2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png "
        "2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png 721.5377"
    )
    assert train[-1].endswith(
        "2011_10_03_drive_0042_sync/proj_depth/groundtruth/image_02/0000000006.png 718.856"
    )
    data = DataConfig("kitti", tmp_path / "raw", 352, 1216, 80.0, tmp_path / "depth")
    listed = str(tmp_path / "eigen_test_697_files_with_gt.txt")
    found = find_split(replace(data, test_list=listed), "test")
    assert (len(found.samples), found.num_without_gt, found.num_missing) == (652, 45, 0)
    first = found.samples[0]
    assert first.depth_file.split("/")[-6] == "val"
    assert (read_depth(first.depth_file) == 256 + 69).all()
    assert "the published list" in done.out
    assert "NOT the published list, which has 23,158 lines" in done.out
    assert f"data.root={tmp_path / 'raw'}" in done.out
    assert sum(1 for _ in kitti.rglob("*")) == before  # nothing written beside the data
    assert not any(path.is_file() for path in (tmp_path / "raw").rglob("*.png"))


def test_a_second_run_changes_nothing_and_needs_no_sources(kitti, tmp_path):
    prepare(*sources(kitti), "--output", tmp_path)
    lists = {path.name: path.read_bytes() for path in tmp_path.glob("*.txt")}
    assert len(lists) == 3
    assert prepare("--output", tmp_path).code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.txt")} == lists


@pytest.mark.parametrize("style", ["bts", "crlf", "monodepth", "monodepth2", "images"])
def test_any_list_of_the_test_frames_gives_the_published_lists(kitti, tmp_path, style):
    frames = eigen_test_frames()
    lines = {
        "bts": [f"{f.image('png')} {f.annotated if is_annotated(f) else None} 1" for f in frames],
        "crlf": ["# Eigen", *(f"/{f.image('png')} None 1\r" for f in frames), ""],
        "monodepth": [f"{f.image('jpg')} {f.image('jpg').replace('_02/', '_03/')}" for f in frames],
        "monodepth2": [f"{f.date}/{f.drive} {f.number} l" for f in frames],
        "images": [f"some/where/{f.image('png')}" for f in frames],
    }[style]
    (tmp_path / "list.txt").write_text("\n".join(lines), newline="")
    arguments = [
        "--splits",
        "test",
        "--test-list",
        tmp_path / "list.txt",
        "--output",
        tmp_path / "out",
    ]
    done = prepare(*sources(kitti), *arguments)
    assert done.code == 0, done.err
    assert digits(tmp_path / "out" / "eigen_test_697_files_with_gt.txt") == PUBLISHED_697
    assert digits(tmp_path / "out" / "eigen_test_files_with_gt.txt") == PUBLISHED_652
    assert not (tmp_path / "out" / "eigen_train_files_with_gt.txt").exists()


def test_a_drive_in_a_folder_named_as_its_archive_is_found(kitti, tmp_path):
    """What Windows and macOS make of `2011_09_26_drive_0002_sync.zip`."""
    for drive in {frame.drive for frame in eigen_test_frames()}:
        (tmp_path / "raw" / drive / drive[:10]).mkdir(parents=True)
        place = tmp_path / "raw" / drive / drive[:10] / drive
        place.symlink_to(kitti / "raw space" / "kitti" / drive[:10] / drive)
    arguments = ["--depth", kitti / "data_depth_annotated", "--output", tmp_path / "out"]
    done = prepare("--raw", tmp_path / "raw", "--splits", "test", *arguments)
    assert done.code == 0, done.err
    assert digits(tmp_path / "out" / "eigen_test_files_with_gt.txt") == PUBLISHED_652


def test_an_empty_drive_does_not_take_the_place_of_a_whole_one(kitti, tmp_path):
    empty = tmp_path / "half" / eigen_test_frames()[0].image_folder
    empty.mkdir(parents=True)
    arguments = ["--splits", "test", "--output", tmp_path / "out", *sources(kitti)]
    done = prepare(*arguments, "--raw", kitti / "raw space", tmp_path / "half")
    assert done.code == 0, done.err


def test_the_next_command_can_be_typed(kitti, tmp_path):
    done = prepare("--splits", "test", *sources(kitti), "--output", tmp_path / "my kitti")
    arguments = shlex.split(done.out.split("next: ")[1])
    assert arguments[:3] == ["python", "scripts/doctor.py", "kitti"]
    assert f"data.root={tmp_path / 'my kitti' / 'raw'}" in arguments


def test_right_images_keep_their_camera(tmp_path):
    (tmp_path / "list.txt").write_text("2011_09_26/2011_09_26_drive_0001_sync 7 r\n")
    assert read_frame_list(tmp_path / "list.txt").frames == [
        KittiFrame("2011_09_26_drive_0001_sync", 7, camera=3)
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [("kitchen/rgb_1.jpg kitchen/depth_1.png 518.8", "list.txt:2"), ("", "no frames")],
)
def test_a_list_of_something_else_is_refused(kitti, tmp_path, line, wrong):
    (tmp_path / "list.txt").write_text(f"\n{line}\n")
    arguments = ["--splits", "test", "--test-list", tmp_path / "list.txt", "--output", tmp_path]
    done = prepare(*sources(kitti), *arguments)
    assert done.code == 2 and wrong in done.errors[0]


def test_a_training_list_with_test_drives_is_refused(kitti, tmp_path):
    (tmp_path / "list.txt").write_text("2011_09_26/2011_09_26_drive_0002_sync 69 l")
    arguments = ["--train-list", tmp_path / "list.txt", "--output", tmp_path / "out"]
    done = prepare(*sources(kitti), *arguments)
    assert done.code == 2 and "is a drive of the Eigen test set" in done.errors[0]


def test_missing_files_stop_the_program_and_are_named(kitti, tmp_path):
    gone = kitti / "raw space" / "kitti" / eigen_test_frames()[40].image("png")
    gone.rename(gone.with_suffix(".aside"))
    try:
        done = prepare(*sources(kitti), "--output", tmp_path, "--splits", "test")
        shorter = prepare(*sources(kitti), "--output", tmp_path / "short", "--allow-missing")
    finally:
        gone.with_suffix(".aside").rename(gone)
    assert done.code == 2 and len(done.errors) == 1
    assert "1 images are missing (2011_09_26/2011_09_26_drive_0009_sync" in done.errors[0]
    assert not list(tmp_path.glob("*.txt"))
    assert shorter.code == 0 and "warning: test split" in shorter.out
    text = (tmp_path / "short" / "eigen_test_697_files_with_gt.txt").read_text()
    assert len(text.split("\n")) == 696


def test_missing_depth_stops_the_program(kitti, tmp_path):
    only_train = kitti / "data_depth_annotated" / "train"
    arguments = ["--raw", kitti / "raw space", "--depth", only_train, "--output", tmp_path]
    done = prepare(*arguments, "--splits", "test")
    assert done.code == 2
    assert "1 of 28 drives have no annotated depth (2011_09_26_drive_0002_sync)" in done.errors[0]


def test_training_depth_that_was_unpacked_in_part_stops_the_program(kitti, tmp_path):
    """No list says how many there are, but of every drive all but ten frames are annotated."""
    gone = kitti / "data_depth_annotated" / "train" / KittiFrame(EIGEN_TRAIN_DRIVES[3], 6).annotated
    data = gone.read_bytes()
    gone.unlink()
    done = prepare(*sources(kitti), "--splits", "train", "--output", tmp_path)
    gone.write_bytes(data)
    assert done.code == 2 and "1 of 66 annotated depth maps are missing" in done.errors[0]
    assert not (tmp_path / "eigen_train_files_with_gt.txt").exists()


@pytest.mark.parametrize("splits", ["train", "test"])
def test_nothing_there_says_what_to_do(tmp_path, splits):
    done = prepare("--output", tmp_path / "out", "--splits", splits)
    assert done.code == 2 and "have no images" in done.errors[0] and "--raw" in done.errors[0]
    assert prepare("--raw", tmp_path / "nowhere").code == 2


def test_images_turned_into_jpg_are_listed_as_such(tmp_path):
    frames = [KittiFrame("2011_09_26_drive_0001_sync", n) for n in range(12)]
    for frame in frames:
        write(tmp_path / "raw" / frame.image("jpg"), b"an image")
    write_annotated(tmp_path / "depth", frames)
    arguments = ["--raw", tmp_path / "raw", "--depth", tmp_path / "depth", "--splits", "train"]
    done = prepare(*arguments, "--output", tmp_path / "out", "--allow-missing")
    assert done.code == 0 and "32 of 33 drives have no images" in done.out
    lines = (tmp_path / "out" / "eigen_train_files_with_gt.txt").read_text().split("\n")
    assert [line.split()[0] for line in lines] == [f.image("jpg") for f in frames[5:7]]


def test_depth_merged_into_the_raw_drives_is_found(tmp_path):
    frames = [KittiFrame("2011_09_26_drive_0001_sync", n) for n in range(12)]
    for frame in frames:
        write(tmp_path / "one" / frame.image("png"), b"an image")
        if is_annotated(frame):
            write(tmp_path / "one" / frame.date / frame.annotated, b"depth")
    arguments = ["--raw", tmp_path / "one", "--depth", tmp_path / "one" / "2011_09_26"]
    done = prepare(*arguments, "--splits", "train", "--allow-missing", "--output", tmp_path / "out")
    assert done.code == 0 and "2 lines, 2 with ground truth" in done.out
    assert (tmp_path / "out" / "depth" / frames[5].annotated).read_bytes() == b"depth"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def test_a_list_is_read_from_a_url(kitti, tmp_path):
    lines = [f"{frame.date}/{frame.drive} {frame.number:010d} l" for frame in eigen_test_frames()]
    (tmp_path / "test_files.txt").write_text("\n".join(lines) + "\n")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/test_files.txt"
        arguments = ["--splits", "test", "--test-list", url, "--output", tmp_path / "out"]
        done = prepare(*sources(kitti), *arguments)
        running.shutdown()
    assert done.code == 0, done.err
    assert digits(tmp_path / "out" / "eigen_test_697_files_with_gt.txt") == PUBLISHED_697


def test_an_unwritable_output_is_one_line(kitti, tmp_path):
    (tmp_path / "file").write_text("")
    done = prepare(*sources(kitti), "--output", tmp_path / "file" / "out")
    assert done.code == 2 and len(done.errors) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_source_is_enough(kitti, tmp_path):
    (kitti / "raw space").chmod(0o555)
    try:
        assert prepare(*sources(kitti), "--output", tmp_path).code == 0
    finally:
        (kitti / "raw space").chmod(0o755)
