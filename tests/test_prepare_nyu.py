"""`scripts/prepare_nyu.py`: the official split from the two MATLAB files, and downloading."""

import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from common.data.lists import read_list
from common.images.reading import read_depth, read_image, read_pair
from scripts.preparation import nyu_sources
from scripts.preparation.nyu_official import to_millimeters
from tests.nyu_files import (
    CAPTIONS_AND_LISTS,
    LABELED_LIST,
    SYNC_FILES,
    TEST_INDICES,
    TEST_LIST,
    TRAIN_INDICES,
    TRAIN_LIST,
    files_in,
    filled_depth,
    image_of,
    prepare,
    prepared,
    raw_depth,
    refused,
    write_labeled,
    write_splits,
    write_sync,
    zip_of,
)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory) -> Path:
    return write_labeled(tmp_path_factory.mktemp("labeled") / "nyu_depth_v2_labeled.mat")


@pytest.fixture(scope="module")
def splits(labeled) -> Path:
    return write_splits(labeled.with_name("splits.mat"))


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "my data" / "nyu"


@pytest.fixture
def sync(tmp_path) -> Path:
    return write_sync(tmp_path / "nyu_depth_v2" / "sync")


def test_the_official_split_is_laid_out_as_bts_does(root, labeled, splits):
    prepared(root, "--labeled", labeled, "--splits", splits)
    stems = [
        "test/bathroom/{}_00002",
        "test/bathroom/{}_00004",
        "test/kitchen/{}_00001",
        "train/kitchen/{}_00000",
        "train/office/{}_00003",
    ]
    images = [stem.format("rgb") + ".jpg" for stem in stems]
    depths = [stem.format("sync_depth") + ".png" for stem in stems]
    made = [*images, *depths, "about.json", *CAPTIONS_AND_LISTS]
    assert files_in(root / "official_splits") == sorted(made)


@pytest.mark.parametrize("kind", ["raw", "filled"])
def test_depth_is_exact_to_the_millimeter(root, labeled, splits, kind):
    prepared(root, "--labeled", labeled, "--splits", splits, "--depth", kind)
    meters = {"raw": raw_depth, "filled": filled_depth}[kind]
    for place, index in (("test/bathroom", 4), ("train/office", 3)):
        depth = read_depth(root / "official_splits" / place / f"sync_depth_{index:05d}.png")
        expected = (meters(index) * 1000.0).astype(np.uint16)  # as BTS converts
        np.testing.assert_array_equal(depth, expected)
        assert (depth[105, 210] == 0) == (kind == "raw")


def test_images_are_upright_in_color_and_black_at_the_border(root, labeled, splits):
    prepared(root, "--labeled", labeled, "--splits", splits)
    image = read_image(root / "official_splits/test/bathroom/rgb_00002.jpg").astype(int)
    assert image.shape == (480, 640, 3)
    inside = (slice(16, 464), slice(16, 624))
    assert np.abs(image[inside] - image_of(2)[inside]).max() <= 4  # JPEG
    for border in (image[:5], image[476:], image[:, :5], image[:, 634:]):
        assert border.max() <= 12
    assert image[200, 9].max() > 40
    assert image[200, 630].max() > 40


def test_the_lists_of_the_official_split(root, labeled, splits):
    out = prepared(root, "--labeled", labeled, "--splits", splits)
    assert (root / TEST_LIST).read_bytes() == (
        b"bathroom/rgb_00002.jpg bathroom/sync_depth_00002.png 518.8579\n"
        b"bathroom/rgb_00004.jpg bathroom/sync_depth_00004.png 518.8579\n"
        b"kitchen/rgb_00001.jpg kitchen/sync_depth_00001.png 518.8579"
    )
    assert [pair.image for pair in read_list(root / LABELED_LIST)] == [
        "kitchen/rgb_00000.jpg",
        "office/rgb_00003.jpg",
    ]
    assert "3 lines, written from the images found; NOT the published 654 lines" in out
    assert "2 lines, written from the images found; NOT the published 795 lines" in out
    for pair in read_list(root / TEST_LIST):
        test = root / "official_splits" / "test"
        image, depth = read_pair(f"{test}/{pair.image}", f"{test}/{pair.depth}")
        assert image.shape[:2] == depth.shape == (480, 640)


def test_a_second_run_writes_nothing_and_one_after_a_loss_only_what_is_lost(root, labeled, splits):
    arguments = ("--labeled", labeled, "--splits", splits)
    prepared(root, *arguments)
    paths = [root / name for name in files_in(root)]
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert "0 pairs written" in prepared(root, *arguments)
    lost, emptied = (p for p in paths if p.name in ("rgb_00002.jpg", "sync_depth_00003.png"))
    lost.unlink()
    emptied.write_bytes(b"")
    assert "2 pairs written" in prepared(root, *arguments)
    changed = {path.name for path in paths if path.stat().st_mtime_ns != before[path]}
    assert changed == {
        "rgb_00002.jpg",
        "sync_depth_00002.png",
        "rgb_00003.jpg",
        "sync_depth_00003.png",
    }
    assert lost.stat().st_size > 1000
    assert emptied.stat().st_size > 1000


def test_an_interrupted_run_leaves_no_half_file_and_is_gone_on_with(
    root, labeled, splits, monkeypatch
):
    encode, calls = cv2.imencode, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return encode(*arguments)

    monkeypatch.setattr(cv2, "imencode", interrupted)
    assert prepare("--root", root, "--labeled", labeled, "--splits", splits).code == 130
    assert len(files_in(root / "official_splits")) == 1 + 3
    assert not (root / TEST_LIST).exists()
    assert "4 pairs written" in prepared(root, "--labeled", labeled, "--splits", splits)
    assert len(files_in(root / "official_splits")) == 1 + 10 + len(CAPTIONS_AND_LISTS)


def test_raw_and_filled_depth_are_not_mixed(root, labeled, splits):
    arguments = ("--labeled", labeled, "--splits", splits)
    prepared(root, *arguments)
    assert "holds raw depth, not filled" in refused(root, *arguments, "--depth", "filled")
    (root / "official_splits/about.json").unlink()  # as if BTS's own program had written it
    assert "holds raw depth, not filled" in refused(root, *arguments, "--depth", "filled")


def test_files_in_the_root_are_found_without_options(root, labeled, splits):
    (root / "downloads").mkdir(parents=True)
    (root / labeled.name).symlink_to(labeled)
    (root / "downloads" / "splits.mat").symlink_to(splits)
    assert "5 pairs written" in prepared(root)


def test_splits_in_the_newer_matlab_format(root, labeled, tmp_path):
    with h5py.File(tmp_path / "splits.mat", "w") as file:
        file["trainNdxs"] = np.array([[i + 1 for i in TRAIN_INDICES]], float)
        file["testNdxs"] = np.array([[i + 1 for i in TEST_INDICES]], float)
    prepared(root, "--labeled", labeled, "--splits", tmp_path / "splits.mat")
    assert len(read_list(root / TEST_LIST)) == 3


@pytest.mark.parametrize(
    ("train", "test"), [((0, 3), (1, 2)), ((0, 3), (1, 2, 3, 4)), ((0, 3), (1, 2, 5))]
)
def test_splits_of_other_frames_are_refused(root, labeled, tmp_path, train, test):
    wrong = write_splits(tmp_path / "splits.mat", train, test)
    assert "do not split the 5 labeled frames" in refused(
        root, "--labeled", labeled, "--splits", wrong
    )
    assert not root.exists()


def cut_off(labeled: Path, path: Path) -> Path:
    path.write_bytes(labeled.read_bytes()[:-5000])
    return path


def with_damaged_frames(labeled: Path, path: Path) -> Path:
    content = bytearray(labeled.read_bytes())
    with h5py.File(labeled) as file:
        block = file["images"].id.get_chunk_info(file["images"].id.get_num_chunks() - 1)
    start = block.byte_offset
    content[start : start + block.size] = b"\xff" * block.size
    path.write_bytes(content)
    return path


def without_scene_types(labeled: Path, path: Path) -> Path:
    path.write_bytes(labeled.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["sceneTypes"]
    return path


def web_page(_: Path, path: Path) -> Path:
    path.write_text("<html>try again later</html>")
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_off, "is not a whole MATLAB v7.3"),
        (with_damaged_frames, "is damaged or cut off; download it again"),
        (without_scene_types, "no array 'sceneTypes'"),
        (web_page, "is not a whole MATLAB v7.3"),
    ],
)
def test_damaged_labeled_files_are_one_line(root, labeled, splits, tmp_path, damage, message):
    path = damage(labeled, tmp_path / "nyu.mat")
    assert message in refused(root, "--labeled", path, "--splits", splits)


def test_the_two_files_exchanged(root, labeled, splits):
    assert "is not a whole MATLAB v7.3" in refused(root, "--labeled", splits, "--splits", labeled)


def test_other_files_as_splits(root, labeled, tmp_path):
    page = web_page(labeled, tmp_path / "splits.mat")
    assert "not a readable MATLAB file" in refused(root, "--labeled", labeled, "--splits", page)
    assert "no trainNdxs" in refused(root, "--labeled", labeled, "--splits", labeled)
    assert "needs splits.mat" in refused(root, "--labeled", labeled)
    assert "--splits: no file" in refused(root, "--labeled", labeled, "--splits", tmp_path / "x")


def test_what_sixteen_bits_cannot_hold_is_no_measurement():
    meters = np.array([[np.nan, np.inf, -1, 0, 0.0004, 1.9999, 65.5, 65.536, 1e9]], np.float32)
    assert to_millimeters(meters).tolist() == [[0, 0, 0, 0, 0, 1999, 65500, 0, 0]]


def test_nothing_found(root):
    assert "nothing of NYU Depth V2 was found" in refused(root)
    assert not root.exists()


def test_a_place_that_cannot_be_written(labeled, splits, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ("--labeled", labeled, "--splits", splits)
    assert "cannot write" in refused(tmp_path / "file" / "nyu", *arguments)


@pytest.fixture
def server(labeled, splits, sync, tmp_path, monkeypatch) -> Iterator[str]:
    """Serves small files; the program's sources name them, all but the training list."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / labeled.name).write_bytes(labeled.read_bytes())
    (folder / splits.name).write_bytes(splits.read_bytes())
    zip_of(sync, folder / "sync.zip", "sync/")
    (folder / TEST_LIST).write_text("kitchen/rgb_00001.jpg kitchen/sync_depth_00001.png 518.8579")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}"
        for name in ("LABELED", "SPLITS", "SYNC", "TRAIN_LIST", "TEST_LIST"):
            file = getattr(nyu_sources, name).file
            known = folder / file if name in ("LABELED", "SPLITS") else None
            sha256 = known and hashlib.sha256(known.read_bytes()).hexdigest()
            source = nyu_sources.DownloadSource(file, (f"{address}/{file}",), sha256)
            monkeypatch.setattr(nyu_sources, name, source)
        yield address
        running.shutdown()


def test_everything_is_downloaded_and_prepared(root, server):
    outcome = prepare("--root", root, "--download")
    assert outcome.code == 2  # the training list is not on this server
    assert outcome.errors == [f"error: not downloaded: {TRAIN_LIST}; the warnings above say why"]
    assert "HTTP 404" in outcome.err
    assert "sync.zip: its checksum is not published" in outcome.out
    assert f"{TEST_LIST}: 1 lines, found" in outcome.out
    assert f"{LABELED_LIST}: 2 lines, written" in outcome.out
    assert files_in(root / "sync") == sorted(SYNC_FILES)
    assert json.loads((root / "official_splits/about.json").read_text()) == {"depth": "raw"}
    for path in (root / "downloads").iterdir():
        path.unlink()
    prepared(root, "--download", "labeled", "splits", "sync")  # done: nothing is fetched again
    assert list((root / "downloads").iterdir()) == []


def test_what_is_there_is_not_downloaded(root, server, labeled, splits, sync):
    root.mkdir(parents=True)
    (root / "splits.mat").symlink_to(splits)
    prepared(root, "--download", "labeled", "splits", "sync", "--labeled", labeled, "--sync", sync)
    assert not (root / "downloads").exists()


def test_a_download_of_other_content_is_refused(root, server, monkeypatch):
    wrong = nyu_sources.DownloadSource("splits.mat", nyu_sources.SPLITS.urls, "0" * 64)
    monkeypatch.setattr(nyu_sources, "SPLITS", wrong)
    outcome = prepare("--root", root, "--download", "splits")
    assert outcome.code == 2
    assert "wrong content: its sha256 begins with" in outcome.err
    assert not (root / "downloads" / "splits.mat").exists()


def test_an_own_address_is_tried_first(root, server, monkeypatch):
    dead = nyu_sources.DownloadSource("sync.zip", ("http://127.0.0.1:9/sync.zip",), None)
    monkeypatch.setattr(nyu_sources, "SYNC", dead)
    prepared(root, "--download", "sync", "--url", f"sync={server}/sync.zip")
    assert files_in(root / "sync") == sorted(SYNC_FILES)


def test_help_shows_an_example(capsys):
    outcome = prepare("--help")
    assert outcome.code == 0
    assert "python scripts/prepare_nyu.py --download" in outcome.out
