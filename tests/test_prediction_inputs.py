"""What predict.py and `predict_all` are given: folders, devices, settings, lists of captions."""

import cv2
import numpy as np
import pytest
from conftest import run_script
from prediction_runs import CAPTION, make_run, open_run, picture

from common.errors import UserError
from scripts.prediction.inputs import find_inputs
from scripts.prediction.load import load

pytest_plugins = ["prediction_runs"]


@pytest.fixture(scope="module")
def run(workspace, tmp_path_factory):
    return make_run(workspace, "joint", tmp_path_factory.mktemp("run"))


@pytest.fixture
def folder(tmp_path):
    """One that holds a depth map, a picture of a phone that cannot be read, and an output."""
    (tmp_path / "in/out").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in/depth.png"), np.ones((4, 4), np.uint16))
    cv2.imwrite(str(tmp_path / "in/out/a.png"), picture())
    (tmp_path / "in/phone.HEIC").write_bytes(b"heic")
    return tmp_path / "in"


def test_what_a_folder_leaves_out_is_told(folder):
    with pytest.raises(UserError) as caught:
        find_inputs([str(folder)], folder / "out")
    for part in ("1 with one channel of 16 bits", "first depth.png", "1 in the output", "1 .heic"):
        assert part in str(caught.value)
    (folder / "moving.gif").write_bytes(b"GIF")
    found = find_inputs([str(folder)], folder / "out")
    assert list(found.pictures) == ["moving.gif"] and "1 .heic" in found.notes[0]


def test_nothing_of_an_earlier_prediction_stays_beside_new_depth(run, encoder, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    words = ("--checkpoint", run, tmp_path / "a.png", "--output", tmp_path / "out", encoder)
    for caption, more in ((CAPTION, ("--glb", "--samples", 2)), ("a hall", ())):
        assert run_script("predict.py", *words, "--caption", caption, *more).code == 0
        names = {path.name for path in (tmp_path / "out").iterdir()}
        extra = {"a.glb", "a_sampled.npy", "a_log_depth_std.npy"}
        assert names & extra == (extra if more else set())


@pytest.mark.parametrize("setting", ["train.lr=1", "evall.flip=true", "device=cpu"])
def test_a_setting_that_predict_does_not_take(run, encoder, tmp_path, setting):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    words = (tmp_path / "a.png", "--caption", "none", setting, encoder)
    refusal = run_script("predict.py", "--checkpoint", run, *words).refusal
    assert f"{setting}: of the settings, data.*, text.* and eval.* can be changed" in refusal


@pytest.mark.parametrize("device", ["abacus", "cuda:77"])
def test_a_device_that_is_not_there(run, device):
    with pytest.raises(UserError, match=f"device {device}: .*; name another"):
        load(run, device)


def test_arguments_of_another_kind(run, encoder):
    model = open_run(run, encoder)
    for captions in ("a kitchen", [CAPTION], [CAPTION, 3], [CAPTION, ["a"]]):
        with pytest.raises(ValueError, match="^captions: "):
            model.predict_all([picture(), picture()], captions)
    with pytest.raises(ValueError, match="^focals: '500' is a str"):
        model.predict(picture(), CAPTION, focal="500")
    for nothing in (None, b"bytes"):
        with pytest.raises(ValueError, match="a picture must be a path, a PIL image"):
            model.predict(nothing, CAPTION)
