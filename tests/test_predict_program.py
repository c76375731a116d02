"""scripts/predict.py: what it takes, what it writes, and what it refuses in one line."""

import json
import os

import cv2
import numpy as np
import pytest
from captioning_models import make_blip
from predict_program import save, write_video
from prediction_runs import CAPTION, open_run, picture

from common.errors import UserError
from common.images.reading import read_image
from scripts.prediction.cameras import Intrinsics
from scripts.prediction.clouds import make_cloud
from scripts.prediction.inputs import CaptionSource, find_inputs
from scripts.prediction.names import ENDINGS, output_stems
from scripts.prediction.outputs import PictureWriter, draw_depth
from scripts.prediction.pictures import Picture
from scripts.prediction.result import Prediction

pytest_plugins = ["prediction_runs", "predict_program"]


def test_what_is_written_for_a_picture(predict, run, encoder, tmp_path):
    place = save(tmp_path / "in/room.png", picture(48, 80))
    outcome = predict(place, "--samples", 2, "--ply", "--focal", 70, "--focal-rule", "scale")
    assert outcome.code == 0, outcome.err
    assert "room.png: " in outcome.out and "1 of 1 written to" in outcome.out
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"room.npy", "room.png", "room.json", "room_color.png", "room.ply",
                     "room_sampled.npy", "room_log_depth_std.npy"}  # fmt: skip
    depth = np.load(tmp_path / "out/room.npy")
    factor = 70 / (518.8579 * 80 / 640)
    expected = open_run(run, encoder).predict(place, CAPTION).depth * factor
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    stored = cv2.imread(str(tmp_path / "out/room.png"), cv2.IMREAD_UNCHANGED)
    facts = json.loads((tmp_path / "out/room.json").read_text())
    assert stored.dtype == np.uint16
    assert np.abs(stored / facts["depth_scale"] - depth).max() <= 0.5001 / facts["depth_scale"]
    assert facts["focal_factor"] == pytest.approx(factor)
    assert facts["intrinsics"]["source"] == "given" and facts["intrinsics"]["fx"] == 70
    assert (facts["caption"], facts["size"]) == (CAPTION, [48, 80])
    assert facts["checkpoint"].endswith("best.pt") and facts["mean_log_depth_std"] > 0
    assert any("trained for the NYU camera" in note for note in facts["notes"])
    assert "note: trained for the NYU camera" in outcome.err
    assert "points by given" in outcome.err
    assert read_image(tmp_path / "out/room_color.png").shape[1] == 320 + 28
    header, _, body = (tmp_path / "out/room.ply").read_bytes().partition(b"end_header\n")
    assert b"element vertex 3840\n" in header and len(body) == 3840 * 15
    x, y, z = np.frombuffer(body[:12], "<f4")
    assert z == depth[0, 0]
    assert (x, y) == pytest.approx((-39.5 * z / 70, -23.5 * z / 70), rel=1e-5)


def test_glb_has_the_same_points(predict, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    assert predict(save(tmp_path / "a.png", picture()), "--glb").code == 0
    (points,) = trimesh.load(tmp_path / "out/a.glb").geometry.values()
    depth = np.load(tmp_path / "out/a.npy")
    np.testing.assert_allclose(-points.vertices[:, 2], depth.ravel(), rtol=1e-6)


def test_values_beyond_16_bits_are_counted_and_told(predict, tmp_path):
    place = save(tmp_path / "a.png", picture())
    outcome = predict(place, "eval.saved_depth_scale=1e6")
    assert outcome.code == 0
    facts = json.loads((tmp_path / "out/a.json").read_text())
    assert facts["not_held_by_16_bits"]["num_far"] == picture()[..., 0].size
    assert "warning: in 1 predicted depth maps 3,840 pixels beyond" in outcome.err
    assert "eval.saved_depth_scale=1000 holds all" in outcome.err


def test_folders_globs_and_files_in_batches(predict, tmp_path):
    for name in ("in/b/1.jpg", "in/a/1.png", "in/a/2.png", "other/3.png"):
        save(tmp_path / name, picture(40, 60))
    cv2.imwrite(str(tmp_path / "in/a/depth.png"), np.ones((4, 4), np.uint16))
    (tmp_path / "in/notes.txt").write_text("no picture")
    words = (tmp_path / "in", tmp_path / "other/*.png", tmp_path / "in/a/1.png")
    outcome = predict(*words, "--batch", 3)
    assert outcome.code == 0, outcome.err
    assert "4 of 4 written" in outcome.out
    assert "in: left out: 1 with one channel of 16 bits or more" in outcome.err
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.npy")}
    assert found == {"in/b/1.npy", "in/a/1.npy", "in/a/2.npy", "other/3.npy"}
    first = np.load(tmp_path / "out/in/a/1.npy")
    assert predict(tmp_path / "in/a/1.png").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "out/1.npy"), first, rtol=1e-5)


def test_earlier_output_is_no_input_of_a_folder(tmp_path):
    save(tmp_path / "a.png", picture())
    save(tmp_path / "predictions/a_color.png", picture())
    inputs = find_inputs([str(tmp_path)], tmp_path / "predictions")
    assert list(inputs.pictures) == ["a.png"]
    assert list(find_inputs([f"{tmp_path}/**"], tmp_path / "predictions").pictures) == ["a.png"]


def test_no_two_pictures_write_one_file():
    keys = ["a.jpg", "a.png", "a_color.png", "b/a.png", "../x.png", "/etc/y.png", "b.png",
            "b_color.jpg", "B.jpg", "a_sampled.png", "v.mp4", "v_depth.png", "v.jpg"]  # fmt: skip
    stems = output_stems(keys)
    written = [f"{stem}{end}".lower() for stem in stems.values() for end in ENDINGS]
    assert len(set(written)) == len(written) and list(stems) == keys
    assert not any(stem.startswith(("/", "..")) for stem in stems.values())
    assert (stems["b/a.png"], stems["/etc/y.png"]) == ("b/a", "etc/y")


def test_a_picture_is_never_written_over(predict, tmp_path):
    place = save(tmp_path / "out/a.png", picture())
    before = place.read_bytes()
    told = "out/a.png is one of the files that are read; name another folder"
    assert told in predict(place).refusal
    assert place.read_bytes() == before and len(list((tmp_path / "out").iterdir())) == 1


def test_one_bad_picture_stops_no_other(predict, tmp_path):
    names = ("a.png", "c.png")
    for name in names:
        save(tmp_path / "in" / name, picture())
    (tmp_path / "in/b.png").write_bytes(b"")
    (tmp_path / "in/d.png").write_text("no picture")
    outcome = predict(tmp_path / "in")
    assert "b.png: not a readable image (0 bytes)" in outcome.refusal
    assert "(1 more failed)" in outcome.refusal
    assert outcome.err.count("left out: ") == 2
    assert "2 of 4 written" in outcome.out
    assert all((tmp_path / "out" / name).is_file() for name in names)
    only = predict(tmp_path / "in/b.png")
    assert "not a readable image" in only.refusal and not only.out


@pytest.mark.parametrize(
    ("words", "caption", "message"),
    [
        ((), None, "give one (--caption TEXT), have it made (--caption auto)"),
        ((), "", "the caption is empty"),
        (("--focal", "0"), CAPTION, "focal length 0.0: it must be above 0"),
        (("--samples", "1"), CAPTION, "samples: 1 has no spread"),
        (("--captions", "nowhere.jsonl"), None, "no caption file"),
        (("data.nmae=x",), CAPTION, "data.nmae"),
    ],
)
def test_mistakes_are_one_line(predict, tmp_path, words, caption, message):
    place = save(tmp_path / "a.png", picture())
    assert message in predict(place, *words, caption=caption).refusal
    assert not list((tmp_path / "out").glob("*"))


def test_names_that_are_nothing(predict, tmp_path):
    assert "no file, folder or match for" in predict(tmp_path / "nothing*").refusal
    (tmp_path / "empty").mkdir()
    assert "no pictures or videos in" in predict(tmp_path / "empty").refusal
    (tmp_path / "no.pt").write_text("x")
    place = save(tmp_path / "a.png", picture())
    assert "not a checkpoint" in predict(place, checkpoint=tmp_path / "no.pt").refusal
    assert "no checkpoint in" in predict(place, checkpoint=tmp_path / "empty").refusal


def test_captions_of_a_file(predict, tmp_path):
    for name in ("in/a.png", "in/b.png", "in/c.png"):
        save(tmp_path / name, picture())
    lines = [{"image": "in/a.png", "caption": "a kitchen"},
             {"image": "b.png", "captions": ["a room", "a photo"]}]  # fmt: skip
    file = tmp_path / "captions.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    outcome = predict(tmp_path / "in", "--captions", file, caption=None)
    assert "c.png: " in outcome.refusal and "has no caption for it" in outcome.refusal
    facts = {n: json.loads((tmp_path / f"out/{n}.json").read_text()) for n in ("a", "b")}
    assert (facts["a"]["caption"], facts["b"]["caption"]) == ("a kitchen", "a room")
    source = CaptionSource("others", file)
    assert source.of(tmp_path / "in/c.png") == source.of(None) == "others"
    with pytest.raises(UserError, match="has no caption"):
        CaptionSource(None, file).of(tmp_path / "in/c.png")


def test_a_captioner_says_what_a_picture_shows(predict, tmp_path):
    model = tmp_path / "captioner"
    model.mkdir()
    make_blip(model)
    place = save(tmp_path / "a.png", picture())
    outcome = predict(place, "--captioner", model, caption="auto")
    assert outcome.code == 0, outcome.err
    facts = json.loads((tmp_path / "out/a.json").read_text())
    assert facts["caption"] and facts["caption"] != "auto"
    assert facts["caption_origin"] == f"made by {model}"
    video = write_video(tmp_path / "v.mp4", [picture(48, 64)] * 2)
    assert predict(video, "--captioner", model, caption="auto").code == 0
    said = json.loads((tmp_path / "out/v_depth.json").read_text())["caption"]
    assert said and said != "auto"


def test_names_that_are_not_utf8(predict, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    outcome = predict(save(tmp_path / "in" / name, picture()))
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.npy")).is_file()
    text = (tmp_path / "out" / os.fsdecode(b"caf\xe9.json")).read_text()
    assert "caf" in json.loads(text)["picture"]


@pytest.mark.parametrize("value", [1.0, 0.0, 1e-30, 1e30, np.inf, np.nan, -1.0])
def test_maps_of_any_values_are_drawn_and_stored(value, tmp_path):
    depth = np.full((20, 30), 2.0, np.float32)
    depth[5:] = value
    assert draw_depth(depth, "a room").shape[1] == 320 + 28
    assert draw_depth(np.full((3000, 2), value, np.float32), "").dtype == np.uint8
    found = Prediction(depth, None, None)
    PictureWriter(tmp_path, 1000.0, {}).write("a", Picture(picture(20, 30)), found)
    facts = json.loads((tmp_path / "a.json").read_text())
    changed = facts["not_held_by_16_bits"]
    assert facts["intrinsics"] is None
    assert (sum(changed[key] for key in changed if key != "farthest") > 0) == (value != 1.0)


def test_points_of_a_large_picture_are_thinned_and_holes_left_out():
    depth = np.ones((3000, 1000), np.float32)
    depth[:, 500:] = np.nan
    rgb = np.zeros((3000, 1000, 3), np.uint8)
    cloud = make_cloud(depth, rgb, Intrinsics(100, 100, 0, 0, "given"))
    assert cloud.step == 2 and len(cloud.points) == 1500 * 250
    assert cloud.points[1] == pytest.approx((0.02, 0, 1))
