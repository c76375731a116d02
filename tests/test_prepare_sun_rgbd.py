"""SUN RGB-D in miniature: four sensors, rotated bits, MATLAB splits old and new, archives."""

import functools
import http.server
import shlex
import threading
import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from conftest import Outcome, run_script

from common.data.data_config import DataConfig
from common.data.lists import read_list
from common.data.splits import find_split
from common.images.reading import read_depth
from scripts.preparation.sun_rgbd_files import read_test_folders

TEST = [
    "kv1/NYUdata/NYU0001",
    "kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize",
    "realsense/lg/2014_10_21-18_14_47-1311000073",
    "xtion/sun3ddata/brown_bm_1/brown_bm_1/0000052-000001750405",
]
TRAIN = "kv1/NYUdata/NYU0002"
SPLIT = Path("SUNRGBDtoolbox") / "traintestSUNRGBD" / "allsplit.mat"


def prepare(*arguments) -> Outcome:
    """Run the program in this process."""
    return run_script("prepare_sun_rgbd.py", *arguments)


def millimeters(index: int) -> np.ndarray:
    """Depth of a sample, uint16 [6, 8], also beyond 8.192 m where the rotated bits wrap."""
    depth = np.random.default_rng(index).integers(500, 10_000, (6, 8)).astype(np.uint16)
    depth[0, :3] = (0, 8191, 8193)
    return depth


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_sample(data: Path, folder: str, index: int, rotate: bool = True) -> None:
    """A sample as the sensors' owners stored it: 3 bits to the left, those that fall out first."""
    depth = millimeters(index)
    name = folder.rsplit("/", 1)[-1]
    turned = (depth << 3) | (depth >> 13) if rotate else depth
    write_png(data / folder / "image" / f"{name}.jpg", np.full((6, 8, 3), index, np.uint8))
    write_png(data / folder / "depth" / f"{name}.png", turned)
    write_png(data / folder / "depth_bfx" / f"{name}.png", turned + 8)
    text = f"{500.5 + index} 0.000000 320.0 \n0 500 240 \n0 0 1 "
    (data / folder / "intrinsics.txt").write_text(text)


def cells(names: list[str]) -> np.ndarray:
    """A 1xN MATLAB cell array of absolute folders on the authors' disk, some with a slash."""
    texts = [f"/n/fs/sun3d/data/SUNRGBD/{n}{'/' * (i % 2)}" for i, n in enumerate(names)]
    return np.array([texts], dtype=object)


def write_split(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"alltest": cells(names), "alltrain": cells([TRAIN])})


def write_split_v73(path: Path, names: list[str]) -> None:
    """What MATLAB saves with -v7.3: HDF5 behind a header of 512 bytes, cells as references."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = np.empty((len(names), 1), h5py.ref_dtype)
        for index, text in enumerate(cells(names)[0]):
            codes = np.array([[ord(letter)] for letter in text], np.uint16)
            refs[index, 0] = file.create_dataset(f"#refs#/{index}", data=codes).ref
        file.create_dataset("alltest", data=refs)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as file:
        file.write(header)


@pytest.fixture
def sun(tmp_path) -> Path:
    """`the disk/SUNRGBD/...` and `the disk/SUNRGBDtoolbox/...`, with a training sample too."""
    root = tmp_path / "the disk"
    for index, folder in enumerate([*TEST, TRAIN]):
        write_sample(root / "SUNRGBD", folder, index)
    write_split(root / SPLIT, TEST)
    return root


def test_the_list_leads_to_the_exact_depth(sun, tmp_path):
    out = tmp_path / "out"
    done = prepare("--root", sun, "--output", out)
    assert done.code == 0, done.err
    lines = (out / "sun_rgbd_test.txt").read_text().splitlines()
    assert lines[0] == (
        "SUNRGBD/kv1/NYUdata/NYU0001/image/NYU0001.jpg "
        "SUNRGBD/kv1/NYUdata/NYU0001/depth/NYU0001.png 500.5"
    )
    assert len(lines) == 4 and lines[3].endswith(" 503.5")
    data = DataConfig("sun_rgbd", out, 480, 640, 10.0, test_list="sun_rgbd_test.txt")
    found = find_split(data, "test")
    assert len(found.samples) == 4
    for index, sample in enumerate(found.samples):
        assert cv2.imread(sample.image_file) is not None
        stored = read_depth(sample.depth_file, data.data_set.rotated_bits)
        np.testing.assert_array_equal(stored, millimeters(index))
    assert "4 images with raw depth; NOT the published 5,050" in done.out
    assert (out / "SUNRGBD").is_symlink()


def test_filled_depth_is_listed_when_asked_for(sun, tmp_path):
    done = prepare("--root", sun, "--output", tmp_path / "out", "--depth", "filled")
    assert done.code == 0
    pairs = read_list(tmp_path / "out" / "sun_rgbd_test.txt")
    assert pairs[0].depth == "SUNRGBD/kv1/NYUdata/NYU0001/depth_bfx/NYU0001.png"


def test_matlab_files_old_and_new_say_the_same(tmp_path):
    write_split(tmp_path / "old.mat", TEST)
    write_split_v73(tmp_path / "new.mat", TEST)
    assert read_test_folders(tmp_path / "old.mat") == TEST
    assert read_test_folders(tmp_path / "new.mat") == TEST


@pytest.mark.parametrize("damage", ["cut", "text", "other names", "elsewhere"])
def test_a_bad_split_file_is_one_line(sun, tmp_path, damage):
    path = sun / SPLIT
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:300])
    if damage == "text":
        path.write_text("alltest = 1")
    if damage == "other names":
        scipy.io.savemat(path, {"train": cells(TEST)})
    if damage == "elsewhere":
        scipy.io.savemat(path, {"alltest": np.array([["/home/me/pictures/1"]], dtype=object)})
    done = prepare("--root", sun, "--output", tmp_path / "out")
    assert done.code == 2 and len(done.errors) == 1 and "allsplit.mat" in done.errors[0]
    assert not (tmp_path / "out" / "sun_rgbd_test.txt").exists()


@pytest.mark.parametrize("part", ["image", "depth", "intrinsics.txt"])
def test_a_missing_file_is_named_and_may_be_allowed(sun, tmp_path, part):
    (sun / "SUNRGBD" / TEST[1] / part).rename(tmp_path / "aside")
    done = prepare("--root", sun, "--output", tmp_path / "out")
    assert done.code == 2 and f"1 of 4 test samples are not whole (SUNRGBD/{TEST[1]}" in done.err
    assert not (tmp_path / "out" / "sun_rgbd_test.txt").exists()
    allowed = prepare("--root", sun, "--output", tmp_path / "out", "--allow-missing")
    assert allowed.code == 0 and "warning: 1 of 4" in allowed.out
    assert len(read_list(tmp_path / "out" / "sun_rgbd_test.txt")) == 3


def test_depth_that_somebody_converted_is_refused(sun, tmp_path):
    for index, folder in enumerate(TEST):
        write_sample(sun / "SUNRGBD", folder, index, rotate=False)
    done = prepare("--root", sun, "--output", tmp_path / "out")
    assert done.code == 2 and "do not have SUN RGB-D's rotated bits" in done.errors[0]


def pack(sun: Path, folder: Path) -> None:
    """Princeton's two archives."""
    folder.mkdir(parents=True)
    for name in ("SUNRGBD", "SUNRGBDtoolbox"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path in sorted((sun / name).rglob("*")):
                archive.write(path, path.relative_to(sun).as_posix())


def test_archives_give_the_test_samples_alone_and_are_gone_on_with(sun, tmp_path):
    pack(sun, tmp_path / "zips")
    out = tmp_path / "out"
    done = prepare("--root", tmp_path / "zips", "--output", out)
    assert done.code == 0, done.err
    files = sorted(path for path in (out / "SUNRGBD").rglob("*") if path.is_file())
    assert len(files) == 12 and not [path for path in files if "NYU0002" in str(path)]
    files[0].write_bytes(b"cut off")
    files[5].unlink()
    assert prepare("--root", tmp_path / "zips", "--output", out).code == 0
    original = sun / files[0].relative_to(out)
    assert files[0].read_bytes() == original.read_bytes() and files[5].exists()
    assert prepare("--output", out).code == 0  # what is there is enough
    assert len(list((tmp_path / "zips").iterdir())) == 2


def test_a_half_unpacked_folder_beside_its_archive_is_not_enough(sun, tmp_path):
    pack(sun, tmp_path / "zips")
    write_sample(tmp_path / "zips" / "SUNRGBD", TEST[0], 0)
    before = len(list((tmp_path / "zips").rglob("*")))
    out = tmp_path / "out"
    done = prepare("--root", tmp_path / "zips", "--output", out)
    assert done.code == 0, done.err
    assert not (out / "SUNRGBD").is_symlink() and len(read_list(out / "sun_rgbd_test.txt")) == 4
    assert len(list((tmp_path / "zips").rglob("*"))) == before


def test_the_fullest_of_several_folders_is_linked(sun, tmp_path):
    half = tmp_path / "half"
    write_sample(half / "SUNRGBD", TEST[0], 0)
    for roots in ([half, sun], [sun, half]):
        out = tmp_path / f"out {roots[0].name}"
        done = prepare("--root", *roots, "--output", out)
        assert done.code == 0, done.err
        assert (out / "SUNRGBD").resolve() == sun / "SUNRGBD"
    done = prepare("--root", sun, "--output", half)  # not over a folder with files in it
    assert done.code == 2 and f"{half / 'SUNRGBD'} has fewer of the test samples" in done.errors[0]
    again = prepare("--root", sun, "--output", out).out
    command = next(line for line in again.splitlines() if "doctor" in line)
    assert shlex.split(command)[-1] == f"data.root={out}"


def test_an_archive_without_its_top_folder_is_unpacked_all_the_same(sun, tmp_path):
    (tmp_path / "zips").mkdir()
    with zipfile.ZipFile(tmp_path / "zips" / "SUNRGBD.zip", "w") as archive:
        for path in sorted((sun / "SUNRGBD").rglob("*.*")):
            archive.write(path, path.relative_to(sun / "SUNRGBD").as_posix())
    out = tmp_path / "out"
    done = prepare("--root", tmp_path / "zips", sun / "SUNRGBDtoolbox", "--output", out)
    assert done.code == 0, done.err
    assert len(read_list(out / "sun_rgbd_test.txt")) == 4


def test_a_cut_archive_is_one_line(sun, tmp_path):
    pack(sun, tmp_path / "zips")
    archive = tmp_path / "zips" / "SUNRGBD.zip"
    archive.write_bytes(archive.read_bytes()[:2000])
    done = prepare("--root", tmp_path / "zips", "--output", tmp_path / "out")
    assert done.code == 2 and "not a whole zip archive" in done.errors[0]
    assert not (tmp_path / "out" / "SUNRGBD").exists()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def test_download_needs_nothing_and_leaves_no_archives(sun, tmp_path):
    pack(sun, tmp_path / "server")
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "server"))
    out = tmp_path / "out"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}"
        done = prepare("--download", "--server", url, "--output", out)
        running.shutdown()
    assert done.code == 0, done.err
    assert len(read_list(out / "sun_rgbd_test.txt")) == 4
    assert not list((out / "archives").iterdir())
    assert prepare("--download", "--server", "http://127.0.0.1:9", "--output", out).code == 0


def test_nothing_there_says_what_to_do(tmp_path):
    done = prepare("--output", tmp_path)
    assert done.code == 2 and "--root" in done.errors[0] and "--download" in done.errors[0]
    assert prepare("--root", tmp_path / "nowhere").code == 2
    write_split(tmp_path / SPLIT, TEST)
    done = prepare("--root", tmp_path, "--output", tmp_path / "out")
    assert done.code == 2 and "no folder SUNRGBD and no SUNRGBD.zip" in done.errors[0]


def test_names_with_spaces_survive(sun, tmp_path):
    folder = "xtion/sun3ddata/hotel room/0001"
    write_sample(sun / "SUNRGBD", folder, 5)
    write_split(sun / SPLIT, [folder])
    assert prepare("--root", sun, "--output", tmp_path / "out").code == 0
    pair = read_list(tmp_path / "out" / "sun_rgbd_test.txt")[0]
    assert (tmp_path / "out" / pair.image).exists() and (
        tmp_path / "out" / str(pair.depth)
    ).exists()


def test_the_parent_the_data_and_the_output_are_all_good_roots(sun, tmp_path):
    for root in ([sun.parent], [sun / "SUNRGBD", sun / "SUNRGBDtoolbox"], [sun]):
        out = tmp_path / f"out{len(root)}{root[0].name}"
        assert prepare("--root", *root, "--output", out).code == 0
    assert prepare("--output", sun).code == 0 and not (sun / "SUNRGBD").is_symlink()
