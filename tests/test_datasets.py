"""Data sets on tiny trees in the real layouts, and every kind of bad input."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from common.data import transforms
from common.data.dataset import build_dataset, collate_eval, collate_train, image_files
from common.data.reading import read_depth, read_image
from common.data.samples import DataConfig
from common.data.sampling import StepSampler, eval_loader, train_loader
from common.data.text_features import FeatureStore, write_features
from common.errors import UserError

DRIVE = "2011_09_26/2011_09_26_drive_0002_sync"


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def picture(height, width, seed):
    """Smooth, so that JPEG keeps it."""
    noise = np.random.default_rng(seed).uniform(0, 255, (4, 5, 3))
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def stored_depth(height, width, seed):
    return np.random.default_rng(seed).integers(0, 10000, (height, width), dtype=np.uint16)


@pytest.fixture
def nyu(tmp_path):
    """Five training scenes of three frames, one validation and one test scene of two."""
    counts = {f"kitchen_{s:04d}": 3 for s in range(5)}
    lists = {"train": counts, "val": {"office_0001": 2}, "test": {"bathroom": 2}}
    for split, scenes in lists.items():
        below = tmp_path / ("official_splits/test" if split == "test" else "sync")
        lines = []
        for scene, count in scenes.items():
            for i in range(count):
                image, depth = f"{scene}/rgb_{i:05d}.jpg", f"{scene}/sync_depth_{i:05d}.png"
                save(below / image, picture(480, 640, i))
                save(below / depth, stored_depth(480, 640, i))
                lines.append(f"/{image} /{depth} 518.8579")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    return DataConfig(
        "nyu", tmp_path, 64, 96, 10.0, train_list="train.txt", val_list="val.txt",
        test_list="test.txt", train_dir="sync", test_dir="official_splits/test",
    )  # fmt: skip


@pytest.fixture
def kitti(tmp_path):
    """Four frames: one with its depth in `train`, two in `val`, one without ground truth."""
    root, gt_root = tmp_path / "raw", tmp_path / "annotated"
    lines = []
    for i, folder in enumerate(("train", "val", "val", None)):
        image = f"{DRIVE}/image_02/data/{i:010d}.png"
        save(root / image, picture(375, 1242 - i, i))
        depth = f"2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/{i:010d}.png"
        if folder is None:
            lines.append(f"{image} None 721.5377")
        else:
            save(gt_root / folder / depth, stored_depth(375, 1242 - i, i))
            lines.append(f"{image} {depth} 721.5377")
    (root / "list.txt").write_text("\r\n".join(lines))
    return DataConfig(
        "kitti", root, 352, 704, 80.0, gt_root=gt_root, train_list="list.txt",
        val_list="list.txt", test_list="list.txt",
    )  # fmt: skip


def plain(data, split="train", **options):
    settings = {"text_features": None, "image_features": None, "captions": None, "seed": 0}
    return build_dataset(data, split, **{**settings, "augment": False, **options})


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_nyu_training_item(nyu):
    item = plain(nyu)[4, 11]
    assert item["image"].shape == (3, 64, 96)
    assert item["gt_depth"].shape == (1, 64, 96)
    assert item["image"].dtype == item["gt_depth"].dtype == torch.float32
    assert item["image_path"] == "kitchen_0001/rgb_00001.jpg"
    assert item["position"] == 11
    assert item["caption"] == ""
    stored = stored_depth(480, 640, 1)
    masked = np.zeros_like(stored)
    masked[45:472, 43:608] = stored[45:472, 43:608]
    expected = transforms.resize_depth(masked, 64, 96) / 1000
    np.testing.assert_allclose(item["gt_depth"][0].numpy(), expected, rtol=1e-6)
    unmasked = plain(replace(nyu, mask_border=False))[4, 11]["gt_depth"]
    assert (unmasked > 0).sum() > 1.2 * (item["gt_depth"] > 0).sum()


def test_nyu_evaluation_item_keeps_the_depth_file_whole(nyu):
    dataset = plain(nyu, "test")
    item = dataset[1]
    assert item["image"].shape == (3, 64, 96)
    np.testing.assert_allclose(
        item["gt_depth"][0].numpy(), stored_depth(480, 640, 1) / 1000, rtol=1e-6
    )
    assert (len(dataset), dataset.num_without_gt, item["position"]) == (2, 0, 1)


def test_rgb_order_and_normalisation(nyu):
    path = nyu.root / "sync/kitchen_0000/rgb_00000.jpg"
    colour = np.zeros((480, 640, 3), np.uint8)
    colour[:] = (10, 120, 240)  # BGR
    save(path, colour)
    mean = plain(nyu)[0]["image"].mean((1, 2)).numpy()
    expected = (np.array([240, 120, 10]) / 255 - transforms.IMAGENET_MEAN) / transforms.IMAGENET_STD
    np.testing.assert_allclose(mean, expected, atol=0.02)


def test_kitti_finds_depth_in_both_archive_folders_and_crops(kitti):
    dataset = plain(kitti, "test")
    assert (len(dataset), dataset.num_without_gt) == (3, 1)
    for i in range(3):
        item = dataset[i]
        assert item["image"].shape == (3, 352, 1216)
        expected = stored_depth(375, 1242 - i, i) / 256
        np.testing.assert_allclose(item["gt_depth"][0].numpy(), expected, rtol=1e-6)
    item = plain(kitti)[1, 0]
    top, left = 375 - 352, int((1241 - 1216) / 2) + (1216 - 704) // 2
    expected = stored_depth(375, 1241, 1)[top:, left : left + 704] / 256
    np.testing.assert_allclose(item["gt_depth"][0].numpy(), expected, rtol=1e-6)
    full_image = transforms.normalise(read_image(dataset.samples[1].image_file))
    np.testing.assert_array_equal(item["image"].numpy(), full_image[:, top:, left : left + 704])


def test_kitti_random_crop_moves_image_and_depth_together(kitti):
    data = replace(kitti, rotate_degrees=0.0, flip=False, jitter=False)
    dataset = plain(data, augment=True)
    full = dataset[0]
    kb_depth = transforms.kb_crop(full["gt_depth"][0].numpy())
    lefts = set()
    for position in range(6):
        item = dataset[0, position]
        fits = (kb_depth[0, :513] == item["gt_depth"][0, 0, 0].item()).nonzero()[0]
        left = next(
            x for x in fits if (kb_depth[:, x : x + 704] == item["gt_depth"][0].numpy()).all()
        )
        assert torch.equal(item["image"], full["image"][:, :, left : left + 704])
        lefts.add(left)
    assert len(lefts) > 2


def test_augmentation_is_a_function_of_seed_and_position(nyu):
    first, again = plain(nyu, augment=True), plain(nyu, augment=True)
    assert torch.equal(first[3, 7]["image"], again[3, 7]["image"])
    assert torch.equal(first[3, 7]["gt_depth"], again[3, 7]["gt_depth"])
    assert not torch.equal(first[3, 7]["image"], first[3, 8]["image"])
    other_seed = plain(nyu, augment=True, seed=1)
    assert not torch.equal(first[3, 7]["image"], other_seed[3, 7]["image"])


def test_workers_do_not_change_batches_or_global_random_state(nyu):
    dataset = plain(nyu, augment=True)
    sampler = StepSampler(len(dataset), batch_size=4, micro_batch_size=2, num_steps=3)
    torch.manual_seed(5)
    here = list(train_loader(dataset, sampler))
    state = torch.get_rng_state()
    torch.manual_seed(5)
    there = list(train_loader(dataset, sampler, num_workers=2))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(5)
    assert torch.equal(state, torch.get_rng_state())  # loading drew nothing from it
    assert len(here) == len(there) == 6
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["gt_depth"], b["gt_depth"])
        assert torch.equal(a["position"], b["position"])
        assert a["image_path"] == b["image_path"]


def test_collation(kitti):
    dataset = plain(kitti)
    train = collate_train([dataset[0, 8], dataset[1, 9]])
    assert train["image"].shape == (2, 3, 352, 704)
    assert train["gt_depth"].shape == (2, 1, 352, 704)
    assert train["position"].tolist() == [8, 9]
    evaluated = collate_eval([dataset[0], dataset[1]])
    assert evaluated["image"].shape == (2, 3, 352, 1216)
    assert [g.shape for g in evaluated["gt_depth"]] == [(1, 375, 1242), (1, 375, 1241)]
    assert evaluated["caption"] == ["", ""]


def test_eval_loader_shares_the_images_out(nyu):
    dataset = plain(nyu, "train")
    seen = [
        path
        for rank in range(2)
        for batch in eval_loader(dataset, batch_size=4, rank=rank, world_size=2)
        for path in batch["image_path"]
    ]
    assert sorted(seen) == sorted(s.key for s in dataset.samples)


def test_features_and_captions_come_with_the_item(nyu, tmp_path):
    keys = [f"kitchen_{s:04d}/rgb_{i:05d}.jpg" for s in range(5) for i in range(3)]
    write_features(
        tmp_path / "text.safetensors", keys, torch.arange(15.0)[:, None] * torch.ones(8), {}
    )
    write_features(tmp_path / "image.safetensors", keys, torch.ones(15, 6), {})
    text = FeatureStore.open(tmp_path / "text.safetensors")
    image = FeatureStore.open(tmp_path / "image.safetensors")
    captions = {key: f"caption of {key}" for key in keys}
    dataset = plain(nyu, text_features=text, image_features=image, captions=captions)
    item = dataset[4, 0]
    assert torch.equal(item["text_feature"], torch.full((8,), 4.0))
    assert item["image_feature"].shape == (6,)
    assert item["caption"] == f"caption of {keys[4]}"
    assert list(image_files(nyu, "train")) == keys
    sampler = StepSampler(15, batch_size=2, micro_batch_size=2)
    batch = next(iter(train_loader(dataset, sampler, num_workers=1)))
    assert batch["text_feature"].shape == (2, 8)

    with pytest.raises(UserError) as caught:
        plain(nyu, "val", text_features=text)
    assert "2 of 2 images have no text feature, first office_0001/rgb_00000.jpg" in one_line(caught)
    with pytest.raises(UserError) as caught:
        plain(nyu, captions=dict(list(captions.items())[:-1]))
    assert "1 of 15 images have no caption, first kitchen_0004/rgb_00002.jpg" in one_line(caught)


def test_validation_is_carved_by_scene_without_a_list(nyu):
    data = replace(nyu, val_list=None, val_share=0.25)
    train, val = plain(data), plain(data, "val", seed=9)
    folders = [{s.key.split("/")[0] for s in d.samples} for d in (train, val)]
    assert (len(train), len(val)) == (12, 3)
    assert not folders[0] & folders[1]
    with pytest.raises(UserError, match="data.val_list or data.val_share"):
        plain(replace(data, val_share=0.0), "val")


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


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_cut_off_images_are_refused(tmp_path, suffix, share):
    path = tmp_path / f"image.{suffix}"
    save(path, picture(48, 64, 0))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(path) in one_line(caught)
    assert "cut off" in one_line(caught) or share == 0.0


def test_jpeg_with_trailing_bytes_is_fine(tmp_path):
    path = tmp_path / "image.jpg"
    save(path, picture(48, 64, 0))
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    assert read_image(path).shape == (48, 64, 3)


def test_unreadable_files(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_text("<html>404</html>")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path)
    with pytest.raises(UserError, match="cannot read .*nowhere.png"):
        read_image(tmp_path / "nowhere.png")


def test_depth_must_be_16_bit_with_one_channel(tmp_path):
    save(tmp_path / "eight.png", np.zeros((8, 8), np.uint8))
    save(tmp_path / "colour.png", np.zeros((8, 8, 3), np.uint16))
    with pytest.raises(UserError, match="16-bit PNG with one channel, this is 8-bit with 1"):
        read_depth(tmp_path / "eight.png")
    with pytest.raises(UserError, match="this is 16-bit with 3"):
        read_depth(tmp_path / "colour.png")
    save(tmp_path / "full.png", np.array([[0, 1, 65534, 65535]], np.uint16))
    assert read_depth(tmp_path / "full.png").tolist() == [[0, 1, 65534, 0]]


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
        UserError, match="0000000000.png is 300x1242, too small for KITTI's 352x1216"
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
        ({"rotate_degrees": -1.0}, "rotate_degrees: -1.0 is not in"),
        ({"name": "kitti", "height": 384}, "height: 384 is above 352"),
    ],
)
def test_config_ranges(change, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**{"name": "nyu", "root": Path(), "height": 64, "width": 96,
                      "max_depth": 10.0, **change})  # fmt: skip
