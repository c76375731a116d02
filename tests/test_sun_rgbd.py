"""SUN RGB-D: depth PNGs whose bits are rotated by three, in the archive's own folders."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.splits import find_split

SIZES = {"kv1/NYUdata/NYU0001": (427, 561), "kv2/kinect2data/000002": (530, 730)}


def turn(millimeters: np.ndarray) -> np.ndarray:
    """As the data set stores them: three bits to the left, the highest three come back in."""
    wide = millimeters.astype(np.uint32) << 3
    return (wide & 0xFFFF | wide >> 16).astype(np.uint16)


def depth_of(name: str) -> np.ndarray:
    depth = np.random.default_rng(len(name)).integers(400, 12000, SIZES[name])
    depth[:20] = 0
    depth[20, :3] = 8191, 8192, 60000  # the last two need the rotated-in bits
    return depth


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    lines = []
    for name, size in SIZES.items():
        image = f"SUNRGBD/{name}/image/{Path(name).name}.jpg"
        depth = f"SUNRGBD/{name}/depth_bfx/{Path(name).name}.png"
        for path, array in ((image, np.full((*size, 3), 90)), (depth, turn(depth_of(name)))):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / path), array)
        lines.append(f"{image} {depth} 570.3422")
    (tmp_path / "sun_rgbd_test.txt").write_text("\n".join(lines))
    return DataConfig("sun_rgbd", tmp_path, 64, 96, 10.0, test_list="sun_rgbd_test.txt")


def test_depth_is_meters_at_its_own_size(data):
    dataset = build_dataset(data, find_split(data, "test"))
    assert len(dataset) == 2
    for item, name in zip((dataset[0], dataset[1]), SIZES, strict=True):
        np.testing.assert_allclose(item.gt_depth[0].numpy(), depth_of(name) / 1000, rtol=1e-6)
        assert item.image.shape == (3, 64, 96)
        assert item.key.startswith(f"SUNRGBD/{name}/image/")


def test_the_largest_stored_value_is_no_measurement(data):
    name = "SUNRGBD/kv1/NYUdata/NYU0001/depth_bfx/NYU0001.png"
    stored = np.full((427, 561), 65535, np.uint16)
    stored[0, 0] = 1000 << 3
    assert cv2.imwrite(str(data.root / name), stored)
    dataset = build_dataset(data, find_split(data, "test"))
    depth = dataset[0].gt_depth
    assert depth[0, 0, 0] == 1.0
    assert (depth > 0).sum() == 1
