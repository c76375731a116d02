"""Training and evaluation items of tiny trees in the layouts of NYU and KITTI."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dataset_trees import one_line, plain, save, stored_depth

from common.data.batch import collate_eval, collate_train
from common.data.sampling import StepSampler, eval_loader, train_loader
from common.data.splits import find_split
from common.errors import UserError
from common.images import transforms
from common.images.reading import read_image
from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore
from common.language.language import Language


def test_nyu_training_item(nyu):
    item = plain(nyu)[4, 11]
    assert item.image.shape == (3, 64, 96)
    assert item.gt_depth.shape == (1, 64, 96)
    assert item.image.dtype == item.gt_depth.dtype == torch.float32
    assert item.key == "kitchen_0001/rgb_00001.jpg"
    assert item.position == 11
    assert item.caption == ""
    stored = stored_depth(480, 640, 1)
    masked = np.zeros_like(stored)
    masked[45:472, 43:608] = stored[45:472, 43:608]
    expected = transforms.resize_depth(masked, 64, 96) / 1000
    np.testing.assert_allclose(item.gt_depth[0].numpy(), expected, rtol=1e-6)
    unmasked = plain(replace(nyu, mask_border=False))[4, 11].gt_depth
    assert (unmasked > 0).sum() > 1.2 * (item.gt_depth > 0).sum()


def test_nyu_evaluation_item_keeps_the_depth_file_whole(nyu):
    dataset = plain(nyu, "test")
    item = dataset[1]
    assert item.image.shape == (3, 64, 96)
    np.testing.assert_allclose(
        item.gt_depth[0].numpy(), stored_depth(480, 640, 1) / 1000, rtol=1e-6
    )
    assert (len(dataset), dataset.split.num_without_gt, item.position) == (2, 0, 1)


def test_rgb_order_and_normalization(nyu):
    path = nyu.root / "sync/kitchen_0000/rgb_00000.jpg"
    color = np.zeros((480, 640, 3), np.uint8)
    color[:] = (10, 120, 240)  # BGR
    save(path, color)
    mean = plain(nyu)[0].image.mean((1, 2)).numpy()
    expected = (np.array([240, 120, 10]) / 255 - transforms.IMAGENET_MEAN) / transforms.IMAGENET_STD
    np.testing.assert_allclose(mean, expected, atol=0.02)


def test_kitti_finds_depth_in_both_archive_folders_and_crops(kitti):
    dataset = plain(kitti, "test")
    assert (len(dataset), dataset.split.num_without_gt) == (3, 1)
    for i in range(3):
        item = dataset[i]
        assert item.image.shape == (3, 352, 1216)
        expected = stored_depth(375, 1242 - i, i) / 256
        np.testing.assert_allclose(item.gt_depth[0].numpy(), expected, rtol=1e-6)
    item = plain(kitti)[1, 0]
    top, left = 375 - 352, int((1241 - 1216) / 2) + (1216 - 704) // 2
    expected = stored_depth(375, 1241, 1)[top:, left : left + 704] / 256
    np.testing.assert_allclose(item.gt_depth[0].numpy(), expected, rtol=1e-6)
    full_image = transforms.normalize(read_image(dataset.samples[1].image_file))
    np.testing.assert_array_equal(item.image.numpy(), full_image[:, top:, left : left + 704])


def test_kitti_random_crop_moves_image_and_depth_together(kitti):
    data = replace(kitti, rotate_degrees=0.0, flip=False, jitter=False)
    dataset = plain(data, augment=True)
    full = dataset[0]
    kb_depth = transforms.bottom_crop(full.gt_depth[0].numpy())
    lefts = set()
    for position in range(6):
        item = dataset[0, position]
        fits = (kb_depth[0, :513] == item.gt_depth[0, 0, 0].item()).nonzero()[0]
        left = next(x for x in fits if (kb_depth[:, x : x + 704] == item.gt_depth[0].numpy()).all())
        assert torch.equal(item.image, full.image[:, :, left : left + 704])
        lefts.add(left)
    assert len(lefts) > 2


def test_augmentation_is_a_function_of_seed_and_position(nyu):
    first, again = plain(nyu, augment=True), plain(nyu, augment=True)
    assert torch.equal(first[3, 7].image, again[3, 7].image)
    assert torch.equal(first[3, 7].gt_depth, again[3, 7].gt_depth)
    assert not torch.equal(first[3, 7].image, first[3, 8].image)
    other_seed = plain(nyu, augment=True, seed=1)
    assert not torch.equal(first[3, 7].image, other_seed[3, 7].image)


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
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.gt_depth, b.gt_depth)
        assert torch.equal(a.position, b.position)
        assert a.key == b.key


def test_collation(kitti):
    dataset = plain(kitti)
    train = collate_train([dataset[0, 8], dataset[1, 9]])
    assert train.image.shape == (2, 3, 352, 704)
    assert train.gt_depth.shape == (2, 1, 352, 704)
    assert train.position.tolist() == [8, 9]
    evaluated = collate_eval([dataset[0], dataset[1]])
    assert evaluated.image.shape == (2, 3, 352, 1216)
    assert [g.shape for g in evaluated.gt_depth] == [(1, 375, 1242), (1, 375, 1241)]
    assert evaluated.caption == ["", ""]


def test_eval_loader_shares_the_images_out(nyu):
    dataset = plain(nyu, "train")
    seen = [
        path
        for rank in range(2)
        for batch in eval_loader(dataset, batch_size=4, rank=rank, world_size=2)
        for path in batch.key
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
    dataset = plain(nyu, language=Language(captions, text, image))
    item = dataset[4, 0]
    assert torch.equal(item.text_feature, torch.full((8,), 4.0))
    assert item.image_feature.shape == (6,)
    assert item.caption == f"caption of {keys[4]}"
    assert list(find_split(nyu, "train").files) == keys
    sampler = StepSampler(15, batch_size=2, micro_batch_size=2)
    batch = next(iter(train_loader(dataset, sampler, num_workers=1)))
    assert batch.text_feature.shape == (2, 8)

    with pytest.raises(UserError) as caught:
        plain(nyu, "val", language=Language(text_features=text))
    assert "2 of 2 images have no text feature, first office_0001/rgb_00000.jpg" in one_line(caught)
    with pytest.raises(UserError) as caught:
        plain(nyu, language=Language(dict(list(captions.items())[:-1])))
    assert "1 of 15 images have no caption, first kitchen_0004/rgb_00002.jpg" in one_line(caught)


def test_validation_is_carved_by_scene_without_a_list(nyu):
    data = replace(nyu, val_list=None, val_share=0.25)
    train, val = plain(data), plain(data, "val", seed=9)
    folders = [{s.key.split("/")[0] for s in d.samples} for d in (train, val)]
    assert (len(train), len(val)) == (12, 3)
    assert not folders[0] & folders[1]
    with pytest.raises(UserError, match="set data.val_share=0.02"):
        plain(replace(data, val_share=0.0), "val")


def test_a_depth_scale_of_its_own(nyu):
    meters = plain(replace(nyu, depth_scale=500.0), "test")[0].gt_depth[0].numpy()
    np.testing.assert_allclose(meters, stored_depth(480, 640, 0) / 500, rtol=1e-6)
