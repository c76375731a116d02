"""`scripts/prepare_nyu.py`: sync/ as a folder or a zip, and the lists."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from common.data.data_set import ListFile
from common.data.lists import read_list
from common.data.sets import PUBLISHED_SPLITS
from scripts.preparation.nyu_lists import check_list, scan_pairs
from tests.nyu_files import (
    DENSE_LIST,
    SYNC_FILES,
    SYNC_LINES,
    TRAIN_LIST,
    files_in,
    prepared,
    refused,
    write_sync,
    zip_of,
)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "my data" / "nyu"


@pytest.fixture
def sync(tmp_path) -> Path:
    return write_sync(tmp_path / "nyu_depth_v2" / "sync")


@pytest.mark.parametrize("level", ["sync", "nyu_depth_v2"])
def test_a_folder_is_linked_and_listed(root, sync, level):
    source = sync if level == "sync" else sync.parent
    out = prepared(root, "--sync", source)
    assert (root / "sync").resolve() == sync
    for name in (TRAIN_LIST, DENSE_LIST):
        assert (root / name).read_bytes() == "\n".join(SYNC_LINES).encode()
    assert "it is not the published list" in out
    assert "sync is in place" in prepared(root, "--sync", source)


def test_sync_that_is_in_place_needs_no_option(root, sync):
    root.mkdir(parents=True)
    sync.rename(root / "sync")
    prepared(root)
    assert [pair.image for pair in read_list(root / TRAIN_LIST)] == [
        "bathroom_0001a/rgb_00045.jpg",
        "kitchen_0028b/rgb_00045.jpg",
    ]


def test_another_sync_is_not_replaced(root, sync):
    (root / "sync" / "mine").mkdir(parents=True)
    assert "exists already and is not" in refused(root, "--sync", sync)


def test_a_link_to_nowhere_is_replaced(root, sync, tmp_path):
    root.mkdir(parents=True)
    (root / "sync").symlink_to(tmp_path / "gone")
    prepared(root, "--sync", sync)
    assert (root / "sync").resolve() == sync


@pytest.mark.parametrize("prefix", ["sync/", "", "nyu_depth_v2/sync/"])
def test_a_zip_is_unpacked(root, sync, tmp_path, prefix):
    archive = zip_of(sync, tmp_path / "sync.zip", prefix)
    prepared(root, "--sync", archive)
    assert files_in(root / "sync") == sorted(SYNC_FILES)
    for name in SYNC_FILES:
        assert (root / "sync" / name).read_bytes() == (sync / name).read_bytes()
    assert sorted(path.name for path in root.iterdir()) == sorted([DENSE_LIST, TRAIN_LIST, "sync"])
    assert "is there already" in prepared(root, "--sync", archive)


def test_test_images_in_a_zip_are_left_out(root, sync, tmp_path):
    archive = zip_of(sync, tmp_path / "all.zip", "nyu/sync/")
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr("nyu/official_splits/test/bathroom/rgb_00045.jpg", b"x")
        bundle.writestr("nyu/official_splits/test/bathroom/sync_depth_00045.png", b"x")
    prepared(root, "--sync", archive)
    assert files_in(root / "sync") == sorted(SYNC_FILES)


def test_an_interrupted_unpacking_is_gone_on_with(root, sync, tmp_path):
    archive = zip_of(sync, tmp_path / "sync.zip", "sync/")
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as bundle:
        last = bundle.infolist()[-1]
    broken = bytearray(whole)
    broken[last.header_offset + 30 + len(last.filename) + 200] ^= 255
    archive.write_bytes(broken)
    assert "download" in refused(root, "--sync", archive)
    assert not (root / "sync").exists()
    unpacked = [root / "sync.part" / "sync" / name for name in sorted(SYNC_FILES)[:-1]]
    before = [path.stat().st_mtime_ns for path in unpacked]
    archive.write_bytes(whole)
    prepared(root, "--sync", archive)
    assert files_in(root / "sync") == sorted(SYNC_FILES)
    moved = [root / "sync" / path.relative_to(root / "sync.part/sync") for path in unpacked]
    assert [path.stat().st_mtime_ns for path in moved] == before


def test_bad_archives_and_folders(root, sync, tmp_path):
    cut = zip_of(sync, tmp_path / "cut.zip", "sync/")
    cut.write_bytes(cut.read_bytes()[:-100])
    assert "not a whole zip" in refused(root, "--sync", cut)
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as bundle:
        bundle.writestr("../../evil/rgb_00001.jpg", b"x")
    assert "leads out of the folder" in refused(root, "--sync", evil)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as bundle:
        bundle.writestr("readme.txt", b"x")
    assert "no <scene>/rgb_*.jpg" in refused(root, "--sync", other)
    (tmp_path / "empty").mkdir()
    assert "no <scene>/rgb_*.jpg" in refused(root, "--sync", tmp_path / "empty")
    assert "no folder or zip" in refused(root, "--sync", tmp_path / "nowhere")
    assert not list(tmp_path.rglob("evil/*"))


def test_a_list_that_is_there_is_checked_and_kept(root, sync):
    root.mkdir(parents=True)
    lines = [SYNC_LINES[1], "/gone_0001/rgb_1.jpg /gone_0001/sync_depth_1.png 518.8579"]
    content = "\r\n".join(lines).encode()
    (root / TRAIN_LIST).write_bytes(content)
    out = prepared(root, "--sync", sync)
    assert (root / TRAIN_LIST).read_bytes() == content
    assert f"{TRAIN_LIST}: 2 lines, found; NOT the published 24,231 lines" in out
    assert "1 of them name files that are MISSING" in out
    assert (root / DENSE_LIST).read_bytes() == "\n".join(SYNC_LINES).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_published_list_is_known_by_its_hash(sync, tmp_path, end):
    published = "\n".join(SYNC_LINES).encode()
    listed = ListFile("list.txt", 2, 2, hashlib.sha256(published).hexdigest()[:12])
    path = tmp_path / "list.txt"
    path.write_bytes(end.join(SYNC_LINES).encode() + end.encode())
    report = check_list(path, listed, sync)
    assert (report.published, report.num_missing) == (True, 0)
    assert "the published list" in str(report)
    path.write_text("\n".join(reversed(SYNC_LINES)))
    report = check_list(path, listed, sync)
    assert report.published is False
    assert "its sha256 differs: other lines or order" in str(report)


def test_images_without_depth_and_other_files_are_not_listed(sync):
    (sync / "kitchen_0028b" / "sync_depth_00045.png").unlink()
    (sync / "kitchen_0028b" / "INDEX.txt").write_text("")
    (sync / "notes.txt").write_text("")
    assert scan_pairs(sync, "/") == SYNC_LINES[:1]


def test_a_sync_with_more_pairs_than_the_list_does_not_become_that_list(root, sync, monkeypatch):
    """The archive holds about 36,000 pairs: which 24,231 are meant, only the list says."""
    split = PUBLISHED_SPLITS["nyu_bts24k"]
    short = replace(split, train=replace(split.train, num_lines=1))
    monkeypatch.setitem(PUBLISHED_SPLITS, "nyu_bts24k", short)
    out = prepared(root, "--sync", sync)
    assert not (root / TRAIN_LIST).exists()
    assert len(read_list(root / DENSE_LIST)) == 2
    assert "data.split=nyu_dense36k" in out


@pytest.mark.parametrize("place", ["", "official_splits", "official_splits/test"])
def test_the_official_split_never_becomes_training_data(root, sync, tmp_path, place):
    """It is laid out as sync/ is: two levels below, scenes with rgb_* and sync_depth_*."""
    sync.rename(tmp_path / "aside")
    (tmp_path / "nyu" / "official_splits").mkdir(parents=True)
    (tmp_path / "aside").rename(tmp_path / "nyu" / "official_splits" / "test")
    assert "holds test images" in refused(root, "--sync", tmp_path / "nyu" / place)
    assert not (root / "sync").is_symlink() and not (root / TRAIN_LIST).exists()


@pytest.mark.parametrize(("field", "value"), [(6, 1), (8, 9)], ids=["encrypted", "deflate64"])
def test_an_archive_that_python_cannot_unpack_is_one_line(root, sync, tmp_path, field, value):
    archive = zip_of(sync, tmp_path / "sync.zip", "sync/")
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as bundle:
        headers = [member.header_offset for member in bundle.infolist()]
    for start in headers:  # of the members; the same field lies 2 bytes later in the directory
        content[start + field] = value
    start = content.find(b"PK\x01\x02")
    while start >= 0:
        content[start + field + 2] = value
        start = content.find(b"PK\x01\x02", start + 1)
    archive.write_bytes(content)
    assert "unzip it by hand" in refused(root, "--sync", archive)
    assert not (root / "sync").exists()


def test_an_archive_with_backslashes_is_unpacked(root, sync, tmp_path):
    """As some programs on Windows write them."""
    with zipfile.ZipFile(tmp_path / "sync.zip", "w") as bundle:
        for name in SYNC_FILES:
            bundle.writestr("sync\\" + name.replace("/", "\\"), (sync / name).read_bytes())
    prepared(root, "--sync", tmp_path / "sync.zip")
    assert files_in(root / "sync") == sorted(SYNC_FILES)
