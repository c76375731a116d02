"""Remove, move or cut off files of a healthy data set; the doctor must name the cause and cure."""

import shutil

import doctor_trees as trees
import pytest
from doctor_trees import kitti_tree, nyu_tree  # noqa: F401  (the fixtures `kitti`, `nyu`)

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
    arguments = (
        *lists,
        "text.captions=null",
        f"data.root={folder}",
        f"data.test_list={lists[0][16:]}",
    )
    health = trees.examine("nyu", nyu, "data.val_share=0", "data.test_dir=sync", *arguments)
    assert "wrong_root" in health.codes()
    fixes = {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"}
    assert fixes == {f"data.root={nyu}"}


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
    fixes = {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"}
    assert fixes == {f"data.gt_root={kitti / 'deeper/depth'}"}


def test_kitti_roots_exchanged(kitti):
    roots = f"data.root={kitti / 'depth'}", f"data.gt_root={kitti / 'raw'}"
    health = trees.examine_kitti(kitti, *roots)
    assert health.codes() == ["wrong_root"]
    fix = f"data.root={kitti / 'raw'} data.gt_root={kitti / 'depth'}"
    assert {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"} == {fix}


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
    fixes = {f["mend"] for f in health.content["findings"] if f["code"] == "wrong_root"}
    assert fixes == {f"data.root={kitti / 'raw/new'}"}
    assert trees.examine_kitti(kitti, *fixes).codes() == []
    (nyu / "sync").rename(nyu / "inner")
    (nyu / "sync").mkdir()
    (nyu / "inner").rename(nyu / "sync/sync")
    assert trees.examine_nyu(nyu).finding("wrong_root")["mend"] == "data.train_dir=sync/sync"
    assert trees.examine_nyu(nyu, "data.train_dir=sync/sync").codes() == []


def test_a_folder_without_pairs(tmp_path):
    trees.write_folder(tmp_path)
    health = trees.examine("folder", tmp_path, "--root", str(tmp_path / "rgb"))
    assert health.finding("no_pairs")["mend"] == f"data.root={tmp_path}"
    for path in sorted((tmp_path / "depth").iterdir()):
        path.rename(path.with_name(f"{path.stem}_depth.png"))
    finding = trees.examine("folder", tmp_path, "--root", str(tmp_path)).finding("no_pairs")
    assert "6 depth files are there, first depth/0_depth.png" in finding["text"]
    assert "depth of the same names" in finding["mend"]


# Files that cannot be read, and a full disk.


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


def test_a_full_disk(nyu, monkeypatch):
    usage = shutil.disk_usage(nyu)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["disk_space"]
    assert "0.0 GB are free" in health.finding("disk_space")["text"]
