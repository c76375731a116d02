"""Pictures of depth: shapes, what must stay visible, and inputs that must not break a panel."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from common.evaluation.canvas import (
    INVALID_COLOR,
    depth_to_color,
    draw_color_bar,
    wrap_text,
)
from common.evaluation.panels import (
    ERROR_COLORS,
    MIN_TILE_HEIGHT,
    MIN_TILE_WIDTH,
    denormalize,
    depth_range,
    panel,
    relative_error,
    stack_panels,
    tile_size,
    write_png,
)
from common.pages.axes import nice_ticks

RNG = np.random.default_rng(7)


def random_image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def ramp(height: int, width: int) -> np.ndarray:
    return np.tile(np.linspace(1.0, 4.0, width, dtype=np.float32), (height, 1))


def count_drawn(picture: np.ndarray) -> int:
    return int((picture != INVALID_COLOR).any(axis=-1).sum())


def test_depth_colors_differ_from_invalid_and_saturate():
    depth = np.array([[0.5, 1.0, 2.0, 3.0, np.nan, np.inf]])
    valid = np.array([[True, True, False, True, True, True]])
    colors = depth_to_color(depth, 1.0, 3.0, valid)
    assert colors.shape == (1, 6, 3)
    assert colors.dtype == np.uint8
    assert (colors[0, [2, 4, 5]] == INVALID_COLOR).all()
    assert (colors[0, 0] == colors[0, 1]).all()
    assert colors[0, 1, 2] > colors[0, 1, 0], "near is blue"
    assert colors[0, 3, 0] > colors[0, 3, 2], "far is red"


def test_errors_are_relative_and_count_non_finite_as_largest():
    gt = np.array([[1.0, 10.0, 1.0, 1.0, 0.0]])
    pred = np.array([[1.1, 11.0, 1.5, np.nan, 3.0]])
    error = relative_error(pred, gt, gt > 0)
    np.testing.assert_allclose(error, [[0.1, 0.1, 0.5, np.inf, 0.0]])


def test_denormalize_undoes_imagenet_normalization():
    image = random_image(6, 5)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = ((torch.from_numpy(image) / 255.0 - mean) / std).permute(2, 0, 1)
    np.testing.assert_array_equal(denormalize(normalized), image)


@pytest.mark.parametrize(
    ("image_shape", "gt_shape", "pred_shape"),
    [
        ((96, 128), (96, 128), (96, 128)),
        ((480, 640), (480, 640), (480, 640)),
        ((375, 1242), (375, 1242), (375, 1242)),
        ((352, 1216), (375, 1242), (352, 1216)),
        ((48, 64), (96, 128), (48, 64)),
    ],
)
def test_panel_has_four_tiles_for_every_size(image_shape, gt_shape, pred_shape):
    picture = panel(random_image(*image_shape), ramp(*gt_shape), ramp(*pred_shape), "a room")
    width, height = tile_size(*image_shape)
    assert width >= MIN_TILE_WIDTH
    assert height >= MIN_TILE_HEIGHT
    assert picture.dtype == np.uint8
    assert 4 * width < picture.shape[1] < 4 * width + 100
    assert picture.shape[0] > height


@pytest.mark.parametrize(
    ("gt", "pred"),
    [
        (np.zeros((24, 32)), ramp(24, 32)),
        (np.zeros((24, 32)), np.full((24, 32), np.nan)),
        (ramp(24, 32), np.full((24, 32), np.nan)),
        (ramp(24, 32), np.where(ramp(24, 32) > 2, np.inf, 1e30)),
        (np.full((24, 32), 2.0), np.full((24, 32), 2.0)),
        (np.full((24, 32), np.nan), np.zeros((24, 32))),
    ],
    ids=["no-gt", "nothing", "nan-pred", "huge-pred", "constant", "nan-gt"],
)
def test_panel_survives_degenerate_depth(gt, pred):
    assert panel(random_image(24, 32), gt, pred, "a room").shape[2] == 3


def test_panel_grows_with_caption_but_not_without_end():
    image, depth = random_image(24, 32), ramp(24, 32)
    heights = [
        panel(image, depth, depth, caption).shape[0]
        for caption in ("", "a room", "a room with a chair " * 30, "word " * 9000, "x" * 5000)
    ]
    assert heights[0] == heights[1] < heights[2] < heights[3] == heights[4] < 1000
    assert panel(image, depth, depth, "", title="step 5").shape[0] > heights[0]


def test_wrap_text_replaces_what_the_font_lacks_and_fits():
    assert wrap_text("café\n 咖啡  bar", 500) == ["caf? ?? bar"]
    assert wrap_text("", 500) == []
    lines = wrap_text("a fairly long sentence " * 50, 200, max_lines=3)
    assert len(lines) == 3
    assert lines[-1].endswith("...")
    assert all(cv2.getTextSize(line, 0, 0.5, 1)[0][0] <= 200 for line in lines)


def test_sparse_ground_truth_stays_visible_after_shrinking():
    gt = np.zeros((375, 1242))
    gt[RNG.integers(0, 375, 400), RNG.integers(0, 1242, 400)] = 20.0
    full = panel(random_image(375, 1242), gt, np.full_like(gt, 20.0), "")
    width, height = tile_size(375, 1242)
    tile = full[60 : 30 + height, width + 40 : 2 * width]
    assert count_drawn(tile) > 2000


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.42, 0.57), (1.0, 80.0), (1.9999, 2.0001), (-3.0, 1e6)]
)
def test_ticks_are_round_increasing_and_inside(low, high):
    ticks = nice_ticks(low, high, max_count=6)
    labels = [float(f"{tick:g}") for tick in ticks]
    assert 2 <= len(ticks) <= 7
    assert low - 1e-6 <= ticks[0]
    assert ticks[-1] <= high + 1e-6
    assert all(before < after for before, after in zip(labels, labels[1:], strict=False))


def test_ticks_refuse_an_empty_interval():
    with pytest.raises(ValueError, match="low < high"):
        nice_ticks(1.0, 1.0, max_count=6)


def test_depth_range_is_never_empty_and_ignores_invalid():
    depth = np.array([[1.0, 2.0, 500.0]])
    low, high = depth_range(depth, np.array([[True, True, False]]))
    assert 0.9 < low < high < 2.1
    low, high = depth_range(np.full((2, 2), 3.0), np.ones((2, 2), dtype=bool))
    assert low < 3.0 < high
    low, high = depth_range(depth, np.zeros((1, 3), dtype=bool))
    assert low < high


def test_color_bar_brightens_monotonically():
    bar = draw_color_bar(300, 0.0, 50.0, ERROR_COLORS, "%").astype(int)
    brightness = bar[12].sum(axis=-1)
    assert bar.shape[1] == 300
    assert (np.diff(brightness) >= -6).all()
    assert brightness[-1] > brightness[0] + 300


def test_stack_and_write(tmp_path: Path):
    wide, narrow = random_image(10, 40), random_image(6, 30)
    stacked = stack_panels([wide, narrow])
    assert stacked.shape == (16, 40, 3)
    np.testing.assert_array_equal(stacked[10:, :30], narrow)
    path = tmp_path / "panels" / "step_1.png"
    write_png(path, stacked)
    read = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read, stacked)
    assert [each.name for each in path.parent.iterdir()] == ["step_1.png"]
    with pytest.raises(ValueError, match="at least one"):
        stack_panels([])
