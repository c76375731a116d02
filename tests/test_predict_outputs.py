"""What predict.py leaves alone, what it does without a camera, and names and shapes of any kind."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predict_program import save, write_video
from prediction_runs import CAPTION, picture

from common.config_values import output_path
from common.files import write_errors_told
from scripts.page.drawings import draw_picture, shown_size, to_picture
from scripts.prediction.inputs import find_inputs
from scripts.prediction.names import ENDINGS, output_stems
from scripts.prediction.outputs import PictureWriter, draw_depth, drawn_height
from scripts.prediction.pictures import Picture
from scripts.prediction.result import Prediction

pytest_plugins = ["prediction_runs", "predict_program"]
PICTURE_FILES = {"a.npy", "a.png", "a.json", "a_color.png"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", ["a.npy", "a.png", "a.json", "a.ply", "a_sampled.npy"])
def test_files_that_are_no_predictions_are_never_written_over(predict, tmp_path, name):
    photos = tmp_path / "photos"
    room = save(photos / "a.jpg", picture())
    (photos / name).write_bytes(b'{"depth_scale": 5000}' if name == "a.json" else b"measured")
    before = contents(photos)
    refused = predict(room, out=photos).refusal
    assert f"{name} is there and no earlier prediction" in refused
    assert "name another folder with --output" in refused
    assert contents(photos) == before


def test_earlier_predictions_give_way_also_half_written_ones(predict, tmp_path):
    photos = tmp_path / "photos"
    room = save(photos / "a.jpg", picture())
    assert predict(room, "--ply", "--samples", 2, out=photos).code == 0
    assert predict(room, out=photos).code == 0
    assert set(contents(photos)) == {
        "a.jpg",
        *PICTURE_FILES,
    }
    depth = (photos / "a.npy").read_bytes()
    for name in ("a.npy", "a_color.png"):  # a kill between the files
        (photos / name).unlink()
    assert predict(room, out=photos).code == 0
    assert (photos / "a.npy").read_bytes() == depth


def test_whose_a_file_is_shows_before_its_depth_is_there(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.prediction.outputs.write_array", killed)
    with pytest.raises(KeyboardInterrupt):
        found = Prediction(np.ones((20, 30), np.float32), None, None)
        PictureWriter(tmp_path, 1000.0, {}).write("a", Picture(picture(20, 30)), found)
    assert set(contents(tmp_path)) == {"a.json"}


def test_a_video_of_somebody_else_is_not_written_over(predict, tmp_path):
    video = write_video(tmp_path / "v.mp4", [picture(32, 32)] * 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/v_depth.mp4").write_bytes(b"somebody's")
    assert "v_depth.mp4 is there and no earlier prediction" in predict(video).refusal
    (tmp_path / "out/v_depth.mp4").unlink()
    of_a_picture = {"picture": "v_depth.jpg", "depth_scale": 1000, "focal_factor": 1.0}
    (tmp_path / "out/v_depth.json").write_text(json.dumps({**of_a_picture, "caption_origin": ""}))
    assert "v_depth.json is there and no earlier prediction" in predict(video).refusal
    (tmp_path / "out/v_depth.json").unlink()
    assert predict(video).code == predict(video).code == 0


def test_a_picture_without_a_camera_keeps_its_depth_and_stops_no_other(predict, tmp_path):
    for name in ("a", "c"):
        save(tmp_path / f"in/{name}.png", picture())
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    Image.fromarray(picture()).save(tmp_path / "in/b.jpg", exif=exif)
    outcome = predict(tmp_path / "in", "--ply", "--glb", "data.name=folder")
    assert "no camera is known for its points, its depth is written" in outcome.refusal
    assert "a.png" in outcome.refusal and "(1 more failed)" in outcome.refusal
    assert "3 of 3 written" in outcome.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"b.ply", "b.glb", "a.npy", "b.npy", "c.npy", "c.json"} <= names
    assert not names & {"a.ply", "a.glb", "c.ply", "c.glb"}
    assert "points" not in json.loads((tmp_path / "out/a.json").read_text())
    one = predict(tmp_path / "in/a.png", "--ply", "data.name=folder", out=tmp_path / "one")
    assert "no camera is known" in one.refusal
    assert (tmp_path / "one/a.npy").is_file()


def test_a_write_that_fails_stops_no_other_picture(predict, tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"in/{name}.jpg", picture())
    (tmp_path / "out").mkdir()
    facts = {"picture": "", "depth_scale": 1, "focal_factor": 1, "caption_origin": ""}
    (tmp_path / "out/a.json").write_text(json.dumps(facts))
    (tmp_path / "out/a_color.png").mkdir()
    (tmp_path / "out/a_color.png/x").write_text("in the way")
    outcome = predict(tmp_path / "in")
    assert "a_color.png" in outcome.refusal
    assert (tmp_path / "out/b.npy").is_file()


def test_a_full_disk_stops_all(predict, tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        save(tmp_path / f"in/{name}.jpg", picture())
    tried = []

    def full(path, array):
        tried.append(path)
        with write_errors_told(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("scripts.prediction.outputs.write_array", full)
    outcome = predict(tmp_path / "in", "--batch", 1)
    assert "cannot write" in outcome.refusal and "No space left" in outcome.refusal
    assert [path.name for path in tried] == ["a.npy"]


def test_depth_of_a_picture_that_is_called_as_files_of_another_stays(predict, tmp_path):
    for name in ("room", "room_sampled"):
        save(tmp_path / f"{name}.jpg", picture())
        assert predict(tmp_path / f"{name}.jpg").code == 0
    before = contents(tmp_path / "out")
    refused = predict(tmp_path / "room.jpg").refusal
    assert "room_sampled.npy is of" in refused and "room_sampled.json" in refused
    assert contents(tmp_path / "out") == before
    assert predict(tmp_path / "room_sampled.jpg").code == 0
    both = predict(tmp_path / "room.jpg", tmp_path / "room_sampled.jpg", out=tmp_path / "both")
    assert both.code == 0
    again = predict(tmp_path / "room.jpg", "--samples", 2, out=tmp_path / "both")
    assert again.code == 0


def test_names_that_are_nobodys_home_or_longer_than_a_file_may_be_called(
    predict, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("~bak.jpg", "~nobody_of_this_name/a.jpg"):
        assert f"no file, folder or match for {name}" in predict(name).refusal
    save(tmp_path / "~bak.jpg", picture())
    assert list(find_inputs(["~bak.jpg"], tmp_path / "out").pictures) == ["~bak.jpg"]
    assert output_path("~nobody_of_this_name/x").name == "x"
    for name in ("x" * 300 + ".jpg", f"{tmp_path}/{'y' * 300}"):
        assert "no file, folder or match for" in predict(name).refusal
    assert "no checkpoint in" in predict("~bak.jpg", checkpoint=tmp_path / ("x" * 300)).refusal
    long = [save(tmp_path / f"{'z' * 244}{n}.jpg", picture()) for n in range(2)]
    outcome = predict(*long, "--samples", 2)
    assert outcome.code == 0, outcome.err
    told = [json.loads(path.read_text())["picture"] for path in (tmp_path / "out").glob("*.json")]
    assert sorted(told) == sorted(map(str, long))


@pytest.mark.parametrize("letter", ["z", "é", "深"])
def test_stems_have_room_for_endings_and_stay_apart(letter):
    keys = [f"in/{letter * 80}{letter * 90}{n}.jpg" for n in range(3)]
    stems = output_stems(keys)
    for stem in stems.values():
        name = stem.removeprefix("in/")
        assert len(os.fsencode(name)) + max(map(len, ENDINGS)) + len(".12345678.tmp.") <= 255
        assert name.encode("utf-8", "strict")
    written = {f"{stem}{ending}" for stem in stems.values() for ending in ENDINGS}
    assert len(written) == len(keys) * len(ENDINGS)
    assert output_stems(["in/short.jpg"]) == {"in/short.jpg": "in/short"}


@pytest.mark.parametrize("shape", [(20_000, 1), (60_000, 3)])
def test_thin_pictures_are_drawn_small(shape):
    drawn = draw_depth(np.linspace(1, 2, shape[0] * shape[1]).reshape(shape), CAPTION)
    assert drawn.nbytes < 20e6
    assert draw_picture(np.zeros((*shape, 3), np.uint8), [(0, 9)]).nbytes < 20e6
    width, height = shown_size(shape)
    column, row = to_picture(shape, width - 1, height - 1)
    assert column == shape[1] - 1 and row >= shape[0] - 1 - shape[0] / height


@pytest.mark.parametrize("shape", [(1, 20_000), (48, 80), (3000, 1000), (480, 640)])
def test_other_pictures_keep_their_shape(shape):
    for width in (320, 960, 1280):
        assert drawn_height(shape, width) == max(round(shape[0] * width / shape[1]), 1)


def test_samples_without_a_value_are_null(tmp_path, recwarn):
    depth = np.full((20, 30), np.nan, np.float32)
    found = Prediction(depth, depth, None, sampled_depth=depth)
    PictureWriter(tmp_path, 1000.0, {}).write("a", Picture(picture(20, 30)), found)
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text and json.loads(text)["mean_log_depth_std"] is None
    assert not [w for w in recwarn if "empty slice" in str(w.message)]
    half = depth.copy()
    half[0] = 0.25
    found = Prediction(depth, half, None, sampled_depth=depth)
    PictureWriter(tmp_path, 1000.0, {}).write("a", Picture(picture(20, 30)), found)
    assert json.loads((tmp_path / "a.json").read_text())["mean_log_depth_std"] == 0.25
