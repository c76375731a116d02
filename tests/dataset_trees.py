"""Tiny data sets in the real layouts of NYU and KITTI, for the tests of the loaders."""

from pathlib import Path

import cv2
import numpy as np

from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.samples import SplitName
from common.data.splits import find_split

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


def write_nyu(folder: Path) -> DataConfig:
    """Five training scenes of three frames, one validation and one test scene of two."""
    counts = {f"kitchen_{s:04d}": 3 for s in range(5)}
    lists = {"train": counts, "val": {"office_0001": 2}, "test": {"bathroom": 2}}
    for split, scenes in lists.items():
        below = folder / ("official_splits/test" if split == "test" else "sync")
        lines = []
        for scene, count in scenes.items():
            for i in range(count):
                image, depth = f"{scene}/rgb_{i:05d}.jpg", f"{scene}/sync_depth_{i:05d}.png"
                save(below / image, picture(480, 640, i))
                save(below / depth, stored_depth(480, 640, i))
                lines.append(f"/{image} /{depth} 518.8579")
        (folder / f"{split}.txt").write_text("\n".join(lines))
    return DataConfig(
        "nyu",
        folder,
        64,
        96,
        10.0,
        train_list="train.txt",
        val_list="val.txt",
        test_list="test.txt",
        train_dir="sync",
        test_dir="official_splits/test",
    )


def write_kitti(folder: Path) -> DataConfig:
    """Four frames: one with its depth in `train`, two in `val`, one without ground truth."""
    root, gt_root = folder / "raw", folder / "annotated"
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
        "kitti",
        root,
        352,
        704,
        80.0,
        gt_root=gt_root,
        train_list="list.txt",
        val_list="list.txt",
        test_list="list.txt",
    )


def plain(data: DataConfig, split: SplitName = "train", **options) -> DepthDataset:
    """A split without augmentation and words, unless `options` say otherwise."""
    return build_dataset(data, find_split(data, split), **options)


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text
