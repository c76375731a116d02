"""Image and depth transforms against independent numpy."""

import numpy as np
import pytest

from common.images import transforms as T

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def picture(height=24, width=40, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, rng.integers(0, 10000, (height, width), dtype=np.uint16)


def test_normalize_is_imagenet():
    image, _ = picture()
    expected = ((image / 255.0 - MEAN) / STD).transpose(2, 0, 1)
    out = T.normalize(image)
    assert out.dtype == np.float32
    assert out.shape == (3, 24, 40)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_normalize_with_color_change_equals_per_pixel_arithmetic():
    image, _ = picture()
    jitter = T.Jitter(gamma=1.08, brightness=1.2, color=(0.91, 1.0, 1.09))
    value = np.clip((image / 255.0) ** 1.08 * 1.2 * np.array([0.91, 1.0, 1.09]), 0, 1)
    expected = ((value - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(T.normalize(image, jitter), expected, atol=1e-6)
    assert value.max() == 1.0  # the clip was exercised


def test_normalize_accepts_views():
    image, _ = picture()
    np.testing.assert_array_equal(
        T.normalize(image[2:20, 5:30]), T.normalize(image[2:20, 5:30].copy())
    )


def test_jitter_ranges():
    rng = np.random.default_rng(0)
    drawn = [T.draw_jitter((0.75, 1.25), rng) for _ in range(500)]
    gamma = np.array([j.gamma for j in drawn])
    brightness = np.array([j.brightness for j in drawn])
    color = np.array([j.color for j in drawn])
    for values, low, high in ((gamma, 0.9, 1.1), (brightness, 0.75, 1.25), (color, 0.9, 1.1)):
        assert low <= values.min() < low + 0.05
        assert high - 0.05 < values.max() <= high
    assert color.std(axis=1).min() > 0  # one factor per channel


def rotation_source(height, width, degrees):
    """Where each output pixel comes from, turning counter-clockwise about the center."""
    cy, cx, angle = (height - 1) / 2, (width - 1) / 2, np.deg2rad(degrees)
    y, x = np.mgrid[:height, :width].astype(float)
    dx, dy = x - cx, y - cy
    return cy + np.sin(angle) * dx + np.cos(angle) * dy, cx + np.cos(angle) * dx - np.sin(
        angle
    ) * dy


@pytest.mark.parametrize("degrees", [2.5, -1.3, 20.0])
def test_rotate_against_numpy(degrees):
    height, width = 40, 60
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 3 + 20, y * 4 + 20, x + y + 30], -1).astype(np.uint8)
    depth = (1000 + 100 * y + x).astype(np.uint16)
    turned, turned_depth = T.move(image, depth, T.Motion(degrees))

    sy, sx = rotation_source(height, width, degrees)
    inside = (sy > 0.6) & (sy < height - 1.6) & (sx > 0.6) & (sx < width - 1.6)
    expected = np.stack([sx * 3 + 20, sy * 4 + 20, sx + sy + 30], -1)  # the image is linear
    assert np.abs(turned[inside] - expected[inside]).max() < 0.7
    rows, cols = (turned_depth.astype(int) - 1000) // 100, turned_depth.astype(int) % 100
    assert np.abs(rows - sy)[inside].max() <= 0.51 + 1 / 32  # nearest, on OpenCV's 1/32 grid
    assert np.abs(cols - sx)[inside].max() <= 0.51 + 1 / 32
    outside = (sy < -1) | (sy > height) | (sx < -1) | (sx > width)
    assert (turned_depth[outside] == 0).all()
    assert (turned[outside] == 0).all()


def test_rotation_makes_no_new_depth_values():
    image, depth = picture(48, 64)
    _, turned = T.move(image, depth, T.Motion(2.2))
    assert set(np.unique(turned)) <= {0, *np.unique(depth)}


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_zoom_magnifies_about_a_point_and_brings_depth_nearer(kind):
    height, width = 40, 60
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 3 + 20, y * 4 + 20, x + y + 30], -1).astype(np.uint8)
    depth = np.where(x + y == 31, 0, 5000 + 100 * y + x).astype(kind)
    center, zoom = (20.0, 11.0), 2.0
    larger, nearer = T.move(image, depth, T.Motion(zoom=zoom, center=center))

    source_x, source_y = center[0] + (x - center[0]) / zoom, center[1] + (y - center[1]) / zoom
    expected = np.stack([source_x * 3 + 20, source_y * 4 + 20, source_x + source_y + 30], -1)
    inside = (source_y < height - 1) & (source_x < width - 1)
    assert np.abs(larger[inside] - expected[inside]).max() < 0.7
    assert nearer.dtype == kind
    measured = (nearer > 0) & inside
    expected_depth = (5000 + 100 * source_y + source_x) / zoom
    assert np.abs(nearer - expected_depth)[measured].max() <= 101 / 2 / zoom + 1
    assert set(np.unique(nearer[nearer > 0])) <= set(np.rint(depth / 2).astype(kind).ravel()) | set(
        (depth / np.float32(2)).ravel()
    ), "no depth is a mixture of two"
    assert (nearer == 0).any(), "what is not measured stays so"


def test_zooms_are_drawn_from_one_to_the_setting_anywhere():
    settings = T.Augmentation(0, 1.5, flip=False, jitter=False, brightness=(1, 1))
    rng = np.random.default_rng(0)
    drawn = [T.draw_motion(settings, (48, 64), rng) for _ in range(500)]
    zooms = np.array([each.zoom for each in drawn])
    assert 1 <= zooms.min() < 1.01 < 1.49 < zooms.max() <= 1.5
    x, y = np.array([each.center for each in drawn]).T
    assert x.min() < 2 < 61 < x.max() <= 63
    assert y.min() < 2 < 45 < y.max() <= 47
    assert {each.degrees for each in drawn} == {0.0}


def test_augment_flips_image_and_depth_together():
    image, depth = picture()
    settings = T.Augmentation(rotate_degrees=0, zoom=1, flip=True, jitter=False, brightness=(1, 1))
    flips = 0
    for seed in range(200):
        out, out_depth, jitter = T.augment(image, depth, settings, np.random.default_rng(seed))
        flipped = not np.array_equal(out, image)
        flips += flipped
        np.testing.assert_array_equal(out, image[:, ::-1] if flipped else image)
        np.testing.assert_array_equal(out_depth, depth[:, ::-1] if flipped else depth)
        assert jitter == T.Jitter()
    assert 70 < flips < 130


def test_augment_uses_every_switch_and_its_generator_only():
    image, depth = picture()
    settings = T.Augmentation(2.5, 1.3, flip=True, jitter=True, brightness=(0.9, 1.1))
    jittered = 0
    for seed in range(100):
        first = T.augment(image, depth, settings, np.random.default_rng(seed))
        again = T.augment(image, depth, settings, np.random.default_rng(seed))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert first[2] == again[2]
        jittered += first[2] != T.Jitter()
    assert 30 < jittered < 70


def test_bottom_crop_window():
    for height, width in ((375, 1242), (370, 1226), (376, 1241), (352, 1216)):
        array = np.arange(height * width).reshape(height, width)
        out = T.bottom_crop(array)
        top, left = height - 352, int((width - 1216) / 2)
        np.testing.assert_array_equal(out, array[top:, left : left + 1216])
        assert out.shape == (352, 1216)
    with pytest.raises(ValueError, match="351x1242 is smaller"):
        T.bottom_crop(np.zeros((351, 1242)))


def test_draw_crop_reaches_both_ends():
    rng = np.random.default_rng(0)
    drawn = {T.draw_crop((5, 9), 4, 6, rng) for _ in range(200)}
    assert drawn == {(top, left) for top in range(2) for left in range(4)}


def test_resize():
    image, depth = picture(48, 64)
    assert T.resize_image(image, 48, 64) is image
    assert T.resize_depth(depth, 48, 64) is depth
    small = T.resize_image(image, 24, 32)
    area = image.reshape(24, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(small - area).max() <= 1
    nearest = T.resize_depth(depth, 16, 16)  # factors 3 and 4
    assert set(np.unique(nearest)) <= set(np.unique(depth))
    np.testing.assert_array_equal(nearest, depth[1::3, 2::4])


def test_mask_border_and_meters():
    depth = np.full((480, 640), 2500, np.uint16)
    masked = T.mask_border(depth, (45, 472), (43, 608))
    assert (masked > 0).sum() == (472 - 45) * (608 - 43)
    assert masked[45, 43] == masked[471, 607] == 2500
    assert masked[44, 43] == masked[472, 607] == masked[45, 42] == masked[471, 608] == 0
    assert (depth == 2500).all()  # the input is left alone
    meters = T.to_meters(masked, 1000.0)
    assert meters.shape == (1, 480, 640)
    assert meters.dtype == np.float32
    assert meters.max() == 2.5
