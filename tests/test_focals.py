"""Focal lengths of many pictures out of a data set's list."""

import json
from pathlib import Path

import numpy as np
import pytest
from predict_program import save

from common.errors import UserError
from scripts.prediction.focals import FocalSource

pytest_plugins = ["prediction_runs", "predict_program"]

LISTS = {
    "/kitchen/rgb_1.jpg /kitchen/depth_1.png 518.8579": 518.8579,  # NYU
    "kitchen/rgb_1.jpg None 721.5377": 721.5377,  # KITTI
    "rgb_1.jpg 812.5": 812.5,  # below another folder, no depth map
    '"kitchen/rgb_1.jpg", "kitchen/depth_1.png", 600': 600,
    "kitchen/rgb_1.jpg;kitchen/depth_1.png;600;": 600,
}


@pytest.mark.parametrize(("line", "focal"), LISTS.items())
def test_lines_of_lists(tmp_path, line, focal):
    (tmp_path / "list.txt").write_text(f"# image depth focal\n\n{line}\nb.jpg c.png\n")
    source = FocalSource(400, tmp_path / "list.txt")
    assert source.of(Path("/data/kitchen/rgb_1.jpg")) == focal
    assert source.of(Path("/data/b.jpg")) == 400  # its line has none
    assert source.of(Path("/data/rgb_2.jpg")) == 400 and source.of(None) == 400


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no line ends with a focal length"),
        (b"a.jpg b.png\nc.jpg d.png 0\ne.jpg f.png nan\n", "no line ends with a focal length"),
        (b"\0\1", "it is no text"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_list_of_them(tmp_path, content, words):
    file = tmp_path / "list.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words):
        FocalSource(None, file)


def test_each_picture_has_its_own(predict, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name, rng.integers(0, 255, (64, 96, 3), np.uint8))
    (tmp_path / "list.txt").write_text("photos/a.png photos/a_depth.png 90.5\n")
    outcome = predict(tmp_path / "photos", "--focals", tmp_path / "list.txt", "--focal", 70)
    assert outcome.code == 0, outcome.err
    facts = [json.loads((tmp_path / f"out/{name}.json").read_text()) for name in "ab"]
    assert [of["intrinsics"]["fx"] for of in facts] == [90.5, 70]
