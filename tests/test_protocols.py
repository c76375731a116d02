"""The published crops and frames."""

import math

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.evaluation.protocols import find_protocol, valid_mask

# Every frame size in KITTI's raw recordings.
KITTI_SIZES = [(375, 1242), (370, 1224), (370, 1226), (374, 1238), (376, 1241)]


@pytest.mark.parametrize(("height", "width"), KITTI_SIZES)
@pytest.mark.parametrize("name", ["kitti_garg_full", "kitti_eigen_full"])
def test_kitti_crops_lie_inside_the_pasted_prediction(name, height, width):
    protocol = find_protocol(name)
    frame, _ = protocol.align(torch.ones(352, 1216), torch.zeros(height, width), "image")
    rows, cols = protocol.crop(height, width)
    assert frame.shape == (height, width) and frame.sum() == 352 * 1216
    assert frame[rows, cols].min() == 1


def test_kb_crop_is_at_the_bottom_and_centered():
    gt = torch.arange(375 * 1241, dtype=torch.float32).view(375, 1241)
    full, _ = find_protocol("kitti_garg_full").align(torch.ones(352, 1216), gt, "image")
    assert full[23:, 12:1228].min() == 1 and full.sum() == 352 * 1216
    pred, cropped = find_protocol("kitti_garg_kbcrop").align(gt, gt, "image")
    assert torch.equal(pred, gt[23:, 12:1228]) and torch.equal(cropped, pred)


def test_none_scores_a_kb_crop_where_it_lies():
    gt = torch.rand(375, 1242)
    pred = gt[23:, 13:1229].clone()
    aligned = find_protocol("none", is_cropped=True).align(pred, gt, "image")
    assert torch.equal(*aligned) and aligned[0].shape == (352, 1216)
    stretched, whole = find_protocol("none").align(pred, gt, "image")
    assert stretched.shape == whole.shape == gt.shape and not torch.equal(stretched, gt)
    crop = find_protocol("none", is_cropped=True).crop(352, 1216)
    assert crop == (slice(0, 352), slice(0, 1216))


@pytest.mark.parametrize("name", ["kitti_garg_full", "kitti_garg_kbcrop", "nyu_eigen"])
def test_other_protocols_know_their_own_frame(name):
    assert find_protocol(name, is_cropped=True) is find_protocol(name)


@pytest.mark.parametrize(
    ("name", "size", "rows", "cols"),
    [
        ("nyu_eigen", (480, 640), (45, 471), (41, 601)),
        ("kitti_garg_full", (375, 1242), (153, 371), (44, 1197)),
        ("kitti_garg_kbcrop", (352, 1216), (143, 349), (43, 1172)),
        ("kitti_eigen_full", (375, 1242), (124, 342), (44, 1197)),
        ("none", (30, 50), (0, 30), (0, 50)),
    ],
)
def test_valid_mask(name, size, rows, cols):
    gt = torch.full(size, 5.0)
    gt[200 % size[0], 300 % size[1]] = 0
    gt[201 % size[0], 301 % size[1]] = 10
    gt[202 % size[0], 302 % size[1]] = math.nan
    expected = np.zeros(size, dtype=bool)
    expected[slice(*rows), slice(*cols)] = True
    expected &= gt.numpy() == 5
    mask = valid_mask(gt, find_protocol(name), max_depth=10)
    assert mask.dtype == torch.bool and np.array_equal(mask.numpy(), expected)


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(UserError, match="'kitti_garg_full'"):
        find_protocol("kitti_grag_full")
    with pytest.raises(UserError, match="did you mean"):
        find_protocol("")
