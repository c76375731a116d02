"""Depth maps as 16-bit PNG files: their names, their values, and a disk that is full."""

import errno
import re
from pathlib import Path

import cv2
import pytest
import torch
from conftest import evaluate

from common.errors import UserError
from common.images.depth_files import Changed, DepthWriter, depth_names, describe_changed
from common.images.reading import read_depth


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
    assert depth.tolist() == [[128, 20480, 0, 0, 65534, 1]]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]
    assert write.changed == [Changed(num_far=1, num_near=1, num_nonfinite=2, farthest=1e6)]


@pytest.mark.parametrize("meters", [65.534, 65.535, 65.6, 80.0, 0.0004, 1e-9])
def test_a_prediction_is_never_read_back_as_no_measurement(tmp_path, meters):
    write = DepthWriter(tmp_path, 1000.0, {"1.jpg": "/elsewhere/1.jpg"})
    write("1.jpg", torch.full((2, 3), meters))
    assert (read_depth(tmp_path / "1.png") > 0).all()
    assert bool(write.changed) == (not 0.0005 < meters < 65.5345)


def test_what_was_lost_is_one_line_with_the_key():
    assert describe_changed([], 1000.0) is None
    lost = [Changed(10, 0, 0, farthest=80.0), Changed(5, 2, 1, farthest=70.0)]
    assert describe_changed(lost, 1000.0) == (
        "warning: in 2 predicted depth maps 15 pixels beyond 65.534 m were saved as that, 2 pixels "
        "below 0.001 m were saved as that, 1 pixels that are not finite were saved as 0, no value; "
        "eval.saved_depth_scale=256 holds all of them"
    )
    assert "=10 holds all" in describe_changed([Changed(1, farthest=700.0)], 256.0)


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, monkeypatch):
    write = DepthWriter(tmp_path, 1000.0, {"1.jpg": "/elsewhere/1.jpg"})

    def fail(path, data):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match="cannot write .*1.png: No space left on device"):
        write("1.jpg", torch.ones(2, 3))
    assert not list(tmp_path.iterdir())


def test_predictions_beyond_16_bits_are_counted_and_the_key_it_names_keeps_them(trained, tmp_path):
    saved = torch.load(trained / "tiny/stage1/checkpoints/best.pt", weights_only=True)
    saved["model"]["depth_conv.bias"].fill_(4.0)  # about 100 m
    torch.save(saved, tmp_path / "far.pt")
    out = tmp_path / "out"
    words = ["stage1", "--checkpoint", str(tmp_path / "far.pt"), "--save-predictions", str(out)]
    outcome = evaluate(*words)
    assert outcome.code == 0, outcome.err
    [line] = [line for line in outcome.err.splitlines() if line.startswith("warning: in 4 pred")]
    maps = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in out.rglob("*.png")]
    assert max(depth.max() for depth in maps) == 65534
    [key] = re.findall(r"eval\.saved_depth_scale=\S+", line)
    outcome = evaluate(*words, key)
    assert "predicted depth maps" not in outcome.err
    maps = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in out.rglob("*.png")]
    assert 66 < max(depth.max() for depth in maps) / 256 < 256


@pytest.mark.parametrize("depth", ["a/1.png", "link/1.png"])
def test_predictions_never_replace_ground_truth(tmp_path, depth):
    """`1.jpg` beside `1.png`, or depth in a folder of its own that has the images' names."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match=r"a/1\.png is ground truth of the data set; name another"):
        DepthWriter(tmp_path, 1000.0, {"a/1.jpg": "/elsewhere/1.jpg"}, [str(tmp_path / depth)])
