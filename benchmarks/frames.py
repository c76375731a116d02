"""A generated data root in the NYU layout: JPEG images and 16-bit PNG depth maps.

A few different frames are written; further list entries are hard links to them, so that a list of
24,000 costs no disk space, and every entry is a file of its own to the loader all the same.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import torch

from common.data.data_config import DataConfig
from common.language.feature_files import write_features

FRAMES_PER_SCENE = 100


def write_nyu(
    folder: Path,
    num_entries: int,
    num_frames: int = 40,
    size: tuple[int, int] = (480, 640),
    text_dim: int = 1024,
) -> DataConfig:
    """Frames, lists (train, and val of at most 4) and text features of `num_entries` pairs."""
    num_frames = min(num_frames, num_entries)
    frames = [_write_frame(folder / "frames", index, size) for index in range(num_frames)]
    entries = [_link(folder, index, *frames[index % num_frames]) for index in range(num_entries)]
    lines = [f"/{image} /{depth} 518.8579" for image, depth in entries]
    (folder / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "val.txt").write_text("\n".join(lines[:4]), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(num_frames, text_dim, generator=generator)
    rows = torch.arange(num_entries) % num_frames
    keys = [image for image, _ in entries]
    write_features(folder / "text.safetensors", keys, features[rows], {"encoder": "random"})
    return DataConfig(
        "nyu", folder, *size, max_depth=10.0, train_list="train.txt", val_list="val.txt"
    )


def _link(folder: Path, index: int, image_file: Path, depth_file: Path) -> tuple[str, str]:
    """Name the frame once more, as entry `index`; returns the two names below `folder`."""
    scene = f"living_room_{index // FRAMES_PER_SCENE:04d}"
    (folder / scene).mkdir(parents=True, exist_ok=True)
    number = f"{index % FRAMES_PER_SCENE:05d}"
    image, depth = f"{scene}/rgb_{number}.jpg", f"{scene}/sync_depth_{number}.png"
    os.link(image_file, folder / image)
    os.link(depth_file, folder / depth)
    return image, depth


def _write_frame(folder: Path, index: int, size: tuple[int, int]) -> tuple[Path, Path]:
    """An image of about 35 kB and a depth map of about 150 kB at 480x640, as NYU's files are."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(index)
    image = 128 + 400 * _clouds(rng, size, 3)
    meters = np.clip(3.5 + 9 * _clouds(rng, size, 1)[..., 0], 0.5, 9.5)
    levels = np.round(2000 / meters + rng.normal(0, 0.4, size))  # the sensor measures disparity
    millimeters = 1000 * 2000 / levels
    millimeters[rng.random(size) < 0.005] = 0
    image_file, depth_file = folder / f"rgb_{index}.jpg", folder / f"depth_{index}.png"
    cv2.imwrite(str(image_file), np.clip(image, 0, 255).astype(np.uint8))
    cv2.imwrite(str(depth_file), millimeters.astype(np.uint16))
    return image_file, depth_file


def _clouds(rng: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    """Smooth noise about 0 at several scales, [H, W, channels]."""
    height, width = size
    total = np.zeros((height, width, channels))
    for cells in (4, 16, 64):
        coarse = rng.normal(0, 1 / cells, (cells, cells, channels))
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(
            height, width, channels
        )
    return total
