"""Plant one kind of damage in depth maps or images; the doctor must name its cause and cure."""

import cv2
import doctor_trees as trees
import numpy as np
import pytest
from doctor_trees import kitti_tree, nyu_tree  # noqa: F401  (the fixtures `kitti`, `nyu`)


@pytest.mark.parametrize(
    ("factor", "name", "fix"),
    [
        (0.256, "meters * 256, as KITTI stores it", "data.depth_scale=256"),
        (0.1, "centimeters", "data.depth_scale=100"),
        (0.001, "meters", "data.depth_scale=1"),
        (5, "meters * 5000, as TUM RGB-D stores it", "data.depth_scale=5000"),
        (8, "rotated by 3, as SUN RGB-D stores it", "data.rotated_bits=true"),
    ],
)
def test_a_wrong_unit(nyu, factor, name, fix):
    trees.rewrite(trees.depths(nyu), lambda d: (d * float(factor)).round().astype(np.uint16))
    health = trees.examine_nyu(nyu)
    findings = [f for f in health.content["findings"] if f["code"] == "wrong_unit"]
    assert {f["mend"] for f in findings} == {fix}
    assert all(f["text"].startswith("train") for f in findings)  # test is as it was
    assert f"stored as {name}, and is read as millimeters" in findings[0]["cause"].replace(
        "millimeters with the bits rotated", "rotated"
    )


def test_kitti_in_millimeters(kitti):
    maps = sorted((kitti / "depth").rglob("*.png"))
    trees.rewrite(maps, lambda d: (d * (1000 / 256)).clip(0, 65000).astype(np.uint16))
    finding = trees.examine_kitti(kitti).finding("wrong_unit", "train")
    assert "millimeters, as NYU stores it (12" in finding["cause"]
    assert "data.depth_scale=1310.7 or data.depth_scale=1000" in finding["mend"]


def test_single_maps_of_another_unit(nyu):
    trees.rewrite(trees.depths(nyu)[:1], lambda d: d * 10)
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["wrong_unit"]
    finding = health.finding("wrong_unit")
    assert finding["examples"] == [str(trees.depths(nyu)[0])]
    assert "another unit" in finding["cause"]


def test_sun_rgbd_bits_rotated_back_already(tmp_path):
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
    [setting] = health.finding("swapped_columns")["fix"]["settings"]
    assert setting.endswith("_corrected.txt")


def test_swapped_folders(tmp_path):
    """Your own data has no list whose columns could be swapped."""
    trees.write_folder(tmp_path)
    (tmp_path / "rgb").rename(tmp_path / "other")
    (tmp_path / "depth").rename(tmp_path / "rgb")
    (tmp_path / "other").rename(tmp_path / "depth")
    finding = trees.examine("folder", tmp_path, "--root", str(tmp_path)).finding("swapped_columns")
    assert finding["cause"] == "rgb/ holds the depth maps"
    assert finding["fix"]["settings"] == [f"data.root={tmp_path}_exchanged"]


def test_sizes_that_differ(nyu):
    path = trees.depths(nyu)[0]
    cv2.imwrite(str(path), trees.read_stored(path)[::2, ::2])
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["size_mismatch"]
    assert health.finding("size_mismatch")["examples"][0].endswith("48x64, depth 24x32")


def test_a_map_that_was_turned(nyu):
    trees.rewrite(trees.depths(nyu)[:1], lambda d: d.T.copy())
    assert "90 degrees" in trees.examine_nyu(nyu).finding("size_mismatch")["cause"]


def test_images_too_small_for_kitti(kitti):
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
    fixes = {f["mend"] for f in health.content["findings"] if f["code"] == "beyond_max_depth"}
    assert fixes == {"data.max_depth=10"}


def test_images_without_content(nyu):
    black, gray = trees.images(nyu)[:2]
    trees.rewrite([black], np.zeros_like)
    trees.rewrite([gray], lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["constant_image"]
    assert health.finding("constant_image")["examples"][0] in str(black)
    assert health.finding("rgb_gray")["examples"][0] in str(gray)
    assert health.finding("rgb_gray")["level"] == "note"
