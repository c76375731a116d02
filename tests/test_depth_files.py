"""Depth maps as 16-bit PNG files: their names, their values, and a disk that is full."""

import errno
from pathlib import Path

import cv2
import pytest
import torch

from common.errors import UserError
from common.images.depth_files import DepthWriter, depth_names


def test_names_of_depth_files():
    keys = ["a/rgb_1.jpg", "a/rgb_2.jpg", "a/rgb_2.png", "b.c/1", "/data/x.jpg", "../y.png"]
    assert list(depth_names(keys).values()) == [
        "a/rgb_1.png",
        "a/rgb_2.jpg.png",
        "a/rgb_2.png.png",
        "b.c/1.png",
        "data/x.png",
        "y.png",
    ]


def test_a_depth_file_is_meters_times_scale_and_0_where_not_finite(tmp_path):
    write = DepthWriter(tmp_path, 256.0, {"a/b.jpg": "/elsewhere/a/b.jpg"})
    write("a/b.jpg", torch.tensor([[0.5, 80.0, torch.nan, torch.inf, 1e6, -1.0]]))
    depth = cv2.imread(str(tmp_path / "a/b.png"), cv2.IMREAD_UNCHANGED)
    assert depth.tolist() == [[128, 20480, 0, 0, 65535, 0]]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, monkeypatch):
    write = DepthWriter(tmp_path, 1000.0, {"1.jpg": "/elsewhere/1.jpg"})

    def fail(path, data):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match="cannot write .*1.png: No space left on device"):
        write("1.jpg", torch.ones(2, 3))
    assert not list(tmp_path.iterdir())
