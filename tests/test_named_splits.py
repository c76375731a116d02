"""Named splits: their lists, where these are looked for, and how many lines they must have."""

from dataclasses import replace

import pytest

from common.config import REPO_ROOT, load_config
from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.sets import DATA_SETS, PUBLISHED_SPLITS
from common.data.splits import SplitFinder, configured_splits, find_split
from common.errors import UserError
from stage3_depth.config import Stage3Config


@pytest.fixture
def data(tmp_path):
    """Lists without any images, as `data.root` holds them."""
    root = tmp_path / "raw"
    root.mkdir()
    return DataConfig("nyu", root, 64, 96, 10.0, split="nyu_labeled795")


def write_list(path, num_lines, num_without=0):
    lines = [
        f"/room_{i // 10:04d}/{i}.jpg /room_{i // 10:04d}/{i}.png 518" for i in range(num_lines)
    ]
    for i in range(num_without):
        lines[i] = f"{lines[i].split()[0]} None 518"
    path.write_text("\r\n".join(lines))


def write_labeled(root, num_train=795, num_test=654):
    write_list(root / "nyu_labeled_train_files_with_gt.txt", num_train)
    write_list(root / "nyudepthv2_test_files_with_gt.txt", num_test)


def test_published_counts():
    counts = {
        split.name: (
            data_set.name,
            split.train.num_lines,
            split.test.num_lines,
            split.test.num_with_gt,
        )
        for data_set in DATA_SETS.values()
        for split in data_set.splits
    }
    assert counts == {
        "nyu_bts24k": ("nyu", 24231, 654, 654),
        "nyu_labeled795": ("nyu", 795, 654, 654),
        "nyu_dense36k": ("nyu", 36253, 654, 654),
        "kitti_eigen": ("kitti", 23158, 652, 652),
        "kitti_eigen697": ("kitti", 23158, 697, 652),
    }
    assert set(PUBLISHED_SPLITS) == set(counts)
    files = {listed.file for s in PUBLISHED_SPLITS.values() for listed in (s.train, s.test)}
    assert len(files) == 7


@pytest.mark.parametrize("beside", [False, True])
def test_lists_are_found_in_the_root_or_beside_it(data, beside):
    write_labeled(data.root.parent if beside else data.root)
    train, val, test = (SplitFinder(data).pairs(split) for split in ("train", "val", "test"))
    assert (len(train[0]) + len(val[0]), len(test[0])) == (795, 654)
    assert train[1] == test[1] == []
    scenes = sorted({pair.image.split("/")[0] for pair in val[0]})
    assert not {pair.image.split("/")[0] for pair in train[0]} & set(scenes)
    assert val[1] == [
        f"val: 15 images of 2 scene(s), set apart from training with seed 0: {', '.join(scenes)}"
    ]


def test_a_list_that_is_cut_off_stops_the_run(data):
    write_labeled(data.root, num_train=788)  # 99 % of 795 are 787.05
    short = "nyu_labeled_train_files_with_gt.txt has 788 of 795 lines"
    assert short in SplitFinder(data).pairs("train")[1][0]
    write_labeled(data.root, num_train=787, num_test=100)
    with pytest.raises(UserError) as caught:
        SplitFinder(data).pairs("train")
    text = str(caught.value)
    path = data.root / "nyu_labeled_train_files_with_gt.txt"
    assert text.startswith(f"data.split=nyu_labeled795: {path} has 787 of 795 lines;")
    assert "data.allow_missing=true" in text
    assert "data.train_list" in text
    allowed = replace(data, allow_missing=True)
    assert "has 100 of 654 lines" in SplitFinder(allowed).pairs("test")[1][0]
    assert len(SplitFinder(allowed).pairs("test")[0]) == 100


@pytest.mark.parametrize("num_test", [100, 650, 654])
def test_lines_that_the_test_list_lost_count_as_missing(data, num_test):
    """Also the few that do not stop a run: the table must not look like one of 654 images."""
    write_labeled(data.root, num_test=num_test)
    allowed = replace(data, allow_missing=True)
    pairs, notes = SplitFinder(allowed).pairs("test")
    assert SplitFinder(allowed).num_lost_lines("test", pairs) == 654 - num_test
    assert len(notes) == (2 if num_test < 654 else 0)
    mine = replace(data, test_list="mine.txt")
    assert SplitFinder(mine).num_lost_lines("test", pairs) == 0
    assert SplitFinder(allowed).num_lost_lines("train", pairs) == 0
    for pair in pairs:
        for name in (pair.image, str(pair.depth)):
            path = data.root / "official_splits" / "test" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    there = replace(allowed, test_dir="official_splits/test")
    dataset = build_dataset(there, find_split(there, "test"))
    assert (len(dataset), dataset.split.num_missing) == (num_test, 654 - num_test)


def test_lines_without_ground_truth_count_too(data):
    kitti = replace(data, name="kitti", split="kitti_eigen697")
    path = kitti.root / "eigen_test_697_files_with_gt.txt"
    write_list(path, 697, num_without=45)
    assert len(SplitFinder(kitti).pairs("test")[0]) == 697
    write_list(path, 697, num_without=60)
    with pytest.raises(UserError, match="has 637 of 652 lines with ground truth"):
        SplitFinder(kitti).pairs("test")
    # BTS ships the 697 lines under the name that others give the 652: the same scored images.
    write_list(kitti.root / "eigen_test_files_with_gt.txt", 697, num_without=45)
    assert len(SplitFinder(replace(kitti, split="kitti_eigen")).pairs("test")[0]) == 697


def test_another_list_under_the_expected_name(data):
    write_labeled(data.root, num_train=2000)
    with pytest.raises(
        UserError, match="has 2000 lines with ground truth, this split has only 795"
    ):
        SplitFinder(replace(data, allow_missing=True)).pairs("train")


def test_explicit_lists_win_and_are_not_counted(data):
    write_labeled(data.root)
    write_list(data.root / "mine.txt", 30)
    assert len(SplitFinder(replace(data, test_list="mine.txt")).pairs("test")[0]) == 30
    own = replace(data, train_list="mine.txt")
    assert len(SplitFinder(own).pairs("train")[0]) + len(SplitFinder(own).pairs("val")[0]) == 30
    assert len(SplitFinder(own).pairs("test")[0]) == 654


def test_a_list_that_is_not_there(data):
    with pytest.raises(UserError) as caught:
        SplitFinder(data).pairs("test")
    text = str(caught.value)
    assert "no list file nyudepthv2_test_files_with_gt.txt (data.split=nyu_labeled795)" in text
    assert f"in {data.root} or {data.root.parent}" in text
    assert "data.test_list" in text


@pytest.mark.parametrize(("name", "split"), [("nyu", "nyu_bts24k"), ("kitti", "kitti_eigen")])
def test_the_configs_name_their_split(name, split):
    data = load_config(Stage3Config, REPO_ROOT / f"configs/{name}/stage3.yaml", []).data
    assert (data.split, data.train_list, data.test_list) == (split, None, None)


def test_a_misspelled_split_lists_the_valid_ones():
    path = REPO_ROOT / "configs/nyu/stage3.yaml"
    with pytest.raises(UserError, match="data.split: must be one of .* not 'nyu'") as caught:
        load_config(Stage3Config, path, ["data.split=nyu"])
    assert ", ".join(PUBLISHED_SPLITS) in str(caught.value)


def test_which_splits_there_are(data):
    assert configured_splits(data) == ["train", "val", "test"]
    bare = replace(data, split=None)
    assert configured_splits(bare) == []
    assert configured_splits(replace(bare, test_list="t.txt")) == ["test"]
    assert configured_splits(replace(bare, train_list="t.txt", val_share=0.0)) == ["train"]
    folder = replace(bare, name="folder")
    assert configured_splits(folder) == ["train", "val", "test"]
    assert configured_splits(replace(folder, test_share=1)) == ["test"]
    assert configured_splits(replace(folder, test_share=0)) == ["train", "val"]
    assert configured_splits(replace(folder, train_list="t.txt")) == ["train", "val"]
