"""Data sets on disk with something wrong: missing, misplaced or of the wrong kind."""

from dataclasses import replace
from pathlib import Path

import pytest
from dataset_trees import DRIVE, one_line, picture, plain, save, stored_depth

from common.data.data_config import DataConfig
from common.data.sampling import StepSampler, train_loader
from common.data.splits import find_split
from common.errors import UserError


def test_missing_files_are_counted_and_named(nyu):
    for i in range(3):
        (nyu.root / f"sync/kitchen_0002/rgb_{i:05d}.jpg").unlink()
    (nyu.root / "sync/kitchen_0003/rgb_00000.jpg").unlink()
    with pytest.raises(UserError) as caught:
        plain(nyu)
    text = one_line(caught)
    assert text.startswith("4 of 15 images are missing, first ")
    assert text.count("rgb_") == 3
    assert "data.root, data.train_dir" in text
    (nyu.root / "official_splits/test/bathroom/sync_depth_00001.png").unlink()
    with pytest.raises(
        UserError, match="1 of 2 depth maps are missing.*data.gt_root, data.test_dir"
    ):
        plain(nyu, "test")


def test_a_file_in_a_hundred_may_be_missing_and_is_reported(nyu):
    lines = (nyu.root / "train.txt").read_text().splitlines()
    (nyu.root / "train.txt").write_text("\n".join(lines + lines[:2] * 45))  # 105 pairs
    lost = lines[3].split()[0]
    (nyu.root / f"sync{lost}").unlink()
    dataset = plain(nyu)
    assert (len(dataset), dataset.split.num_missing, dataset.split.num_without_gt) == (104, 1, 0)
    assert dataset.notes == (
        f"train: 1 of 105 pairs are missing, first {nyu.root}/sync{lost}",
        "train: 2 images are listed more than once, first kitchen_0000/rgb_00000: each time counts",
    )
    assert lost.strip("/") not in find_split(nyu, "train").files
    (nyu.root / "sync/kitchen_0004/sync_depth_00002.png").unlink()
    with pytest.raises(UserError, match="1 of 105 images are missing.*data.allow_missing=true"):
        plain(nyu)
    dataset = plain(replace(nyu, allow_missing=True))
    assert (len(dataset), dataset.split.num_missing) == (103, 2)
    assert "sync_depth_00002.png" in dataset.notes[0]


def test_nothing_found_is_an_error_even_where_missing_files_are_allowed(nyu):
    data = replace(nyu, allow_missing=True, train_dir="elsewhere")
    with pytest.raises(UserError, match="15 of 15 images are missing") as caught:
        plain(data)
    assert "allow_missing" not in one_line(caught)


def test_absolute_paths_in_a_list(nyu):
    image = nyu.root / "sync/kitchen_0000/rgb_00000.jpg"
    depth = nyu.root / "sync/kitchen_0000/sync_depth_00000.png"
    (nyu.root / "train.txt").write_text(f"{image} {depth}\n{image}\t/kitchen_0001/../{depth.name}")
    (nyu.root / f"sync/{depth.name}").write_bytes(depth.read_bytes())
    samples = plain(replace(nyu, train_dir="sync")).samples
    assert [s.image_file for s in samples] == [str(image)] * 2
    assert samples[0].depth_file == str(depth)
    assert samples[0].key == str(image)[1:]  # captions and features: no leading slash either


def test_missing_root_list_and_ground_truth(nyu, kitti):
    with pytest.raises(UserError, match="data.root: no folder"):
        plain(replace(nyu, root=nyu.root / "nowhere"))
    with pytest.raises(UserError, match="no list file nowhere.txt"):
        plain(replace(nyu, train_list="nowhere.txt"))
    with pytest.raises(UserError, match="data.test_list is not set"):
        plain(replace(nyu, test_list=None), "test")
    (kitti.root / "list.txt").write_text(f"{DRIVE}/image_02/data/0000000000.png None 721\n")
    with pytest.raises(UserError, match="none of the 1 images of the test list has ground truth"):
        plain(kitti, "test")


def test_image_and_depth_of_different_sizes(nyu):
    save(nyu.root / "sync/kitchen_0000/sync_depth_00000.png", stored_depth(240, 320, 0))
    with pytest.raises(UserError) as caught:
        plain(nyu)[0]
    text = one_line(caught)
    assert "480x640" in text
    assert "240x320" in text
    assert "rgb_00000.jpg" in text


def test_image_too_small_for_kitti(kitti):
    image = kitti.root / f"{DRIVE}/image_02/data/0000000000.png"
    save(image, picture(300, 1242, 0))
    save(next(kitti.gt_root.rglob("0000000000.png")), stored_depth(300, 1242, 0))
    with pytest.raises(
        UserError,
        match="0000000000.png is 300x1242, too small for the 352x1216 crop of data.name=kitti",
    ):
        plain(kitti)[0]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bad_file_met_in_a_worker_is_one_line(nyu, num_workers):
    (nyu.root / "sync/kitchen_0002/sync_depth_00001.png").write_bytes(b"\x89PNG broken")
    dataset = plain(nyu)
    sampler = StepSampler(len(dataset), batch_size=15, micro_batch_size=15)
    with pytest.raises(UserError) as caught:
        list(train_loader(dataset, sampler, num_workers=num_workers))
    text = one_line(caught)
    assert text.startswith(str(nyu.root / "sync/kitchen_0002/sync_depth_00001.png"))
    assert text.endswith("copy it again")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 100}, "height: 100 is not divisible by 32; use 96 or 128"),
        ({"width": 20}, "width: 20 is not divisible by 32; use 32"),
        ({"max_depth": 0.0}, "max_depth: 0.0 is not above"),
        ({"val_share": 1.0}, "val_share: 1.0 is not in"),
        ({"test_share": 1.5}, "test_share: 1.5 is not in"),
        ({"depth_scale": 0.0}, "depth_scale: 0.0 is not above 0"),
        ({"split": "kitti_eigen"}, "split: kitti_eigen is no split of nyu"),
        ({"rotate_degrees": -1.0}, "rotate_degrees: -1.0 is not in"),
        ({"zoom": 0.9}, "zoom: 0.9 is not in"),
        ({"name": "kitti", "height": 384}, "height: 384 is above 352"),
    ],
)
def test_config_ranges(change, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(
            **{
                "name": "nyu",
                "root": Path(),
                "height": 64,
                "width": 96,
                "max_depth": 10.0,
                **change,
            }
        )
