"""Plant one kind of damage in a healthy data set; the doctor must name it, its cause and cure."""

import shutil

import cv2
import doctor_trees as trees
import numpy as np
import pytest


@pytest.fixture(scope="session")
def healthy_nyu(tmp_path_factory):
    return trees.write_nyu(tmp_path_factory.mktemp("nyu"))


@pytest.fixture(scope="session")
def healthy_kitti(tmp_path_factory):
    return trees.write_kitti(tmp_path_factory.mktemp("kitti"))


@pytest.fixture
def nyu(healthy_nyu, tmp_path):
    return shutil.copytree(healthy_nyu, tmp_path / "disk/nyu")


@pytest.fixture
def kitti(healthy_kitti, tmp_path):
    return shutil.copytree(healthy_kitti, tmp_path / "kitti")


# Files that are missing, or elsewhere.


def test_single_missing_depth_maps(nyu):
    gone = trees.depths(nyu)[3:5]
    for path in gone:
        path.unlink()
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["missing_depth"]
    finding = health.finding("missing_depth")
    assert finding["text"] == "train: 2 of 12 depth maps are missing"
    assert set(finding["examples"]) == {str(path) for path in gone}
    assert "deleted" in finding["cause"]
    assert finding["mend"].startswith("python scripts/prepare_nyu.py --root")


def test_a_scene_that_was_not_unpacked(nyu):
    shutil.rmtree(nyu / "sync/bedroom_0003")
    (nyu / "sync.zip").write_bytes(b"PK")
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["missing_depth", "missing_image"]
    finding = health.finding("missing_image")
    assert "bedroom_0003" in finding["cause"]
    assert "sync.zip" in finding["cause"]


@pytest.mark.parametrize("level", ["root above", "root below", "root far above"])
def test_a_root_at_the_wrong_level(nyu, level):
    lists = f"data.train_list={nyu / trees.NYU_TRAIN_LIST}", f"data.test_list={trees.NYU_TEST_LIST}"
    folder = {"root above": nyu.parent, "root below": nyu / "sync"}.get(level, nyu.parent.parent)
    words = *lists, "text.captions=null", f"data.root={folder}", f"data.test_list={lists[0][16:]}"
    health = trees.examine("nyu", nyu, "data.val_share=0", "data.test_dir=sync", *words)
    assert "wrong_root" in health.codes()
    mends = {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"}
    assert mends == {f"data.root={nyu}"}


def test_list_paths_that_start_one_folder_too_deep(nyu):
    health = trees.examine_nyu(nyu, "data.train_dir=.")
    assert health.codes() == ["wrong_root"]
    assert health.finding("wrong_root")["mend"] == "data.train_dir=sync"


def test_a_leading_folder_that_is_doubled(nyu):
    trees.edit_list(nyu, lambda lines: [line.replace("/", "/sync/", 1) for line in lines])
    trees.edit_list(nyu, lambda lines: [line.replace(" /", " /sync/") for line in lines])
    health = trees.examine_nyu(nyu, "text.captions=null")
    finding = health.finding("wrong_root")
    assert "doubled" in finding["cause"]
    assert finding["mend"] == "data.train_dir=."
    assert trees.examine_nyu(nyu, "text.captions=null", "data.train_dir=.").codes() == []


def test_list_paths_of_windows(nyu):
    trees.edit_list(nyu, lambda lines: [line[1:].replace("/", "\\") for line in lines])
    health = trees.examine_nyu(nyu, "text.captions=null", "data.val_share=0")
    assert health.codes() == ["missing_depth", "missing_image"]
    assert "Windows" in health.finding("missing_image")["cause"]


def test_images_converted_to_another_format(nyu):
    for path in trees.images(nyu):
        path.rename(path.with_suffix(".png"))
    finding = trees.examine_nyu(nyu).finding("missing_image")
    assert "the list says .jpg, on disk they end in .png" in finding["cause"]


def test_kitti_ground_truth_folder_one_level_off(kitti):
    assert trees.examine_kitti(kitti).codes() == []
    (kitti / "deeper").mkdir()
    (kitti / "depth").rename(kitti / "deeper/depth")
    health = trees.examine_kitti(kitti, f"data.gt_root={kitti / 'deeper'}")
    assert health.codes() == ["wrong_root"]
    mends = {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"}
    assert mends == {f"data.gt_root={kitti / 'deeper/depth'}"}


def test_kitti_roots_exchanged(kitti):
    roots = f"data.root={kitti / 'depth'}", f"data.gt_root={kitti / 'raw'}"
    health = trees.examine_kitti(kitti, *roots)
    assert health.codes() == ["wrong_root"]
    mend = f"data.root={kitti / 'raw'} data.gt_root={kitti / 'depth'}"
    assert {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"} == {mend}


def test_another_drive_is_not_the_missing_one(kitti):
    """Frames have the same names in all drives; the advice must not move one over another."""
    shutil.rmtree(kitti / "depth/val")
    for path in sorted((kitti / "raw").rglob("image_02")):
        path.rename(path.with_name("image_03"))
    shutil.rmtree(kitti / "raw/2011_09_26/2011_09_26_drive_0002_sync")
    health = trees.examine_kitti(kitti)
    assert health.codes() == ["missing_depth", "missing_image"]
    for finding in health.content["findings"]:
        if finding["level"] == "problem":
            assert finding["mend"].startswith("python scripts/prepare_kitti.py")
            assert "are missing as a whole" in finding["cause"]


def test_a_setting_is_named_only_if_it_finds_the_files(kitti, nyu):
    """data.train_dir would move KITTI's depth too, and NYU's data.root the test images."""
    (kitti / "raw").rename(kitti / "new")
    (kitti / "raw").mkdir()
    (kitti / "new").rename(kitti / "raw/new")
    health = trees.examine_kitti(kitti)
    mends = {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"}
    assert mends == {f"data.root={kitti / 'raw/new'}"}
    assert trees.examine_kitti(kitti, *mends).codes() == []
    (nyu / "sync").rename(nyu / "inner")
    (nyu / "sync").mkdir()
    (nyu / "inner").rename(nyu / "sync/sync")
    assert trees.examine_nyu(nyu).finding("wrong_root")["mend"] == "data.train_dir=sync/sync"
    assert trees.examine_nyu(nyu, "data.train_dir=sync/sync").codes() == []


# Files that cannot be read.


def test_links_that_lead_nowhere(nyu):
    path = trees.images(nyu)[0]
    path.unlink()
    path.symlink_to("/nonexistent/picture.jpg")
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["unreadable"]
    finding = health.finding("unreadable", "links that lead nowhere")
    assert (finding["count"], finding["examples"]) == (1, [str(path)])


def test_empty_and_cut_off_files(nyu):
    image, depth = trees.images(nyu)[0], trees.depths(nyu)[0]
    image.write_bytes(b"")
    depth.write_bytes(depth.read_bytes()[:-20])
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["unreadable"]
    finding = health.finding("unreadable", "empty")
    assert "1 files are empty, 1 are cut off" in finding["text"]
    assert finding["examples"] == [str(image), str(depth)]


def test_cut_off_files_are_found_outside_the_sample(nyu):
    for path in (trees.images(nyu)[0], trees.images(nyu)[-1]):
        path.write_bytes(path.read_bytes()[:-30])
    health = trees.examine_nyu(nyu, "--sample", "1")
    assert health.finding("unreadable", "cut off")["count"] == 2


def test_a_text_file_in_place_of_an_image(nyu):
    trees.images(nyu)[1].write_text("<html>404</html>")
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["unreadable"]
    assert "not a readable image" in health.finding("unreadable")["examples"][0]


# Depth.


@pytest.mark.parametrize(
    ("factor", "name", "mend"),
    [
        (0.256, "metres * 256, as KITTI stores it", "data.depth_scale=256"),
        (0.1, "centimetres", "data.depth_scale=100"),
        (0.001, "metres", "data.depth_scale=1"),
        (5, "metres * 5000, as TUM RGB-D stores it", "data.depth_scale=5000"),
        (8, "rotated by 3, as SUN RGB-D stores it", "data.name=sun_rgbd"),
    ],
)
def test_a_wrong_unit(nyu, factor, name, mend):
    trees.rewrite(trees.depths(nyu), lambda d: (d * float(factor)).round().astype(np.uint16))
    health = trees.examine_nyu(nyu)
    findings = [f for f in health.content["findings"] if f["code"] == "wrong_unit"]
    assert {f["mend"] for f in findings} == {mend}
    assert all(f["text"].startswith("train") for f in findings)  # test is as it was
    assert f"stored as {name}, and is read as millimetres" in findings[0]["cause"].replace(
        "millimetres with the bits rotated", "rotated"
    )


def test_kitti_in_millimetres(kitti):
    maps = sorted((kitti / "depth").rglob("*.png"))
    trees.rewrite(maps, lambda d: (d * (1000 / 256)).clip(0, 65000).astype(np.uint16))
    finding = trees.examine_kitti(kitti).finding("wrong_unit", "train")
    assert "stored as millimetres" in finding["cause"]
    assert finding["mend"] == "data.depth_scale=1000"


def test_single_maps_of_another_unit(nyu):
    trees.rewrite(trees.depths(nyu)[:1], lambda d: d * 10)
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["wrong_unit"]
    finding = health.finding("wrong_unit")
    assert finding["examples"] == [str(trees.depths(nyu)[0])]
    assert "another unit" in finding["cause"]


def test_sun_rgbd_bits_turned_back_already(tmp_path):
    trees.write_folder(tmp_path)
    lines = [f"rgb/{i}.png depth/{i}.png" for i in range(6)]
    (tmp_path / "sun_rgbd_test.txt").write_text("\n".join(lines))
    health = trees.examine("sun_rgbd", tmp_path, "--root", str(tmp_path))
    assert "rotated bits" in health.finding("wrong_unit")["text"]
    trees.rewrite(sorted((tmp_path / "depth").iterdir()), lambda d: (d << 3) | (d >> 13))
    assert trees.examine("sun_rgbd", tmp_path, "--root", str(tmp_path)).codes() == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda d: (d // 40).astype(np.uint8), "8-bit with 1 channel"),
        (lambda d: cv2.applyColorMap((d // 40).astype(np.uint8), 2), "8-bit with 3 channels"),
    ],
)
def test_eight_bit_depth(nyu, change, kind):
    trees.rewrite(trees.depths(nyu)[2:4], change)
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["eight_bit_depth"]
    assert kind in health.finding("eight_bit_depth")["text"]


def test_swapped_columns(nyu):
    def swap(lines):
        columns = [line.split() for line in lines]
        return [f"{depth} {image} {focal}" for image, depth, focal in columns]

    trees.edit_list(nyu, swap)
    health = trees.examine_nyu(nyu, "text.captions=null")
    assert health.codes() == ["swapped_columns"]
    assert "exchanged" in health.finding("swapped_columns")["text"]
    assert "list line" in health.finding("swapped_columns")["mend"]


def test_swapped_folders(tmp_path):
    """Your own data has no list whose columns could be swapped."""
    trees.write_folder(tmp_path)
    (tmp_path / "rgb").rename(tmp_path / "other")
    (tmp_path / "depth").rename(tmp_path / "rgb")
    (tmp_path / "other").rename(tmp_path / "depth")
    finding = trees.examine("folder", tmp_path, "--root", str(tmp_path)).finding("swapped_columns")
    assert finding["cause"] == "rgb/ holds the depth maps"
    assert finding["mend"] == "pictures belong into rgb/, depth maps into depth/"


def test_a_folder_without_pairs(tmp_path):
    trees.write_folder(tmp_path)
    health = trees.examine("folder", tmp_path, "--root", str(tmp_path / "rgb"))
    assert health.finding("no_pairs")["mend"] == f"data.root={tmp_path}"
    for path in sorted((tmp_path / "depth").iterdir()):
        path.rename(path.with_name(f"{path.stem}_depth.png"))
    finding = trees.examine("folder", tmp_path, "--root", str(tmp_path)).finding("no_pairs")
    assert "6 depth files are there, first depth/0_depth.png" in finding["text"]
    assert "depth of the same names" in finding["mend"]


def test_sizes_that_differ(nyu):
    path = trees.depths(nyu)[0]
    cv2.imwrite(str(path), trees.read_stored(path)[::2, ::2])
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["size_mismatch"]
    assert health.finding("size_mismatch")["examples"][0].endswith("48x64, depth 24x32")


def test_a_map_that_was_turned(nyu):
    trees.rewrite(trees.depths(nyu)[:1], lambda d: d.T.copy())
    assert "90 degrees" in trees.examine_nyu(nyu).finding("size_mismatch")["cause"]


def test_pictures_too_small_for_kitti(kitti):
    pairs = sorted((kitti / "raw").rglob("*.png")) + sorted((kitti / "depth").rglob("*.png"))
    trees.rewrite(pairs, lambda a: a[::3, ::3])
    health = trees.examine_kitti(kitti)
    assert health.codes() == ["image_too_small"]
    assert "below 352x1216" in health.finding("image_too_small", "train")["text"]


def test_depth_maps_without_content(nyu):
    empty, flat, few = trees.depths(nyu)[:3]
    trees.rewrite([empty], np.zeros_like)
    trees.rewrite([flat], lambda d: np.full_like(d, 2000))
    sparse = np.zeros((48, 64), np.uint16)
    sparse[40:44, 5] = 2000, 2100, 2200, 2300
    cv2.imwrite(str(few), sparse)
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["constant_depth", "empty_depth", "few_valid"]
    for code, path in (("empty_depth", empty), ("constant_depth", flat), ("few_valid", few)):
        assert health.finding(code)["examples"] == [str(path)]


def test_inverse_depth(nyu):
    trees.rewrite(
        [*trees.depths(nyu), *trees.depths(nyu, "official_splits")],
        lambda d: np.where(d > 0, 6.25e6 / np.maximum(d, 1), 0).astype(np.uint16),
    )
    assert "inverted_depth" in trees.examine_nyu(nyu).codes()


def test_depth_beyond_the_maximum(nyu):
    health = trees.examine_nyu(nyu, "data.max_depth=2")
    assert set(health.codes()) == {"beyond_max_depth"}
    mends = {f["mend"] for f in health.content["findings"] if f["code"] == "beyond_max_depth"}
    assert mends == {"data.max_depth=10 or more, if the unit is right"}


# Pictures.


def test_pictures_without_content(nyu):
    black, grey = trees.images(nyu)[:2]
    trees.rewrite([black], np.zeros_like)
    trees.rewrite([grey], lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["constant_image"]
    assert health.finding("constant_image")["examples"][0] in str(black)
    assert health.finding("rgb_grey")["examples"][0] in str(grey)
    assert health.finding("rgb_grey")["level"] == "note"


# The disk.


def test_a_full_disk(nyu, monkeypatch):
    usage = shutil.disk_usage(nyu)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["disk_space"]
    assert "0.0 GB are free" in health.finding("disk_space")["text"]
