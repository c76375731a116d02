"""The page's desk, without a browser: what visitors do."""

import json
import math
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from prediction_runs import CAPTION, make_run, open_run, picture

from common.errors import UserError
from common.evaluation.metrics import compute_metrics
from scripts.page import texts
from scripts.page.attempts import UNEXPECTED, attempt
from scripts.page.desk import KEPT_FOLDERS, Desk, View
from scripts.page.drawings import draw_picture, draw_scene, shown_size, to_picture
from scripts.page.examples import copy_examples
from scripts.page.lengths import KnownSpan
from scripts.page.state import PageState
from scripts.prediction.result import Asked

OTHER = "a photo of a room"

pytest_plugins = ["prediction_runs", "page_desk"]


def test_depth_is_that_of_the_model_and_follows_the_caption(desk, model, photo, predicted):
    expected = model.predict(photo, CAPTION)
    assert np.array_equal(predicted.own.depth, expected.depth)
    assert predicted.own.depth.shape == (48, 80)
    again = desk.predict(predicted, View(OTHER))
    assert np.array_equal(again.own.depth, model.predict(photo, OTHER).depth)
    assert not np.array_equal(again.own.depth, expected.depth)
    longer = desk.predict(predicted, View(CAPTION, 500.0, "scale")).own
    assert longer.focal_factor != 1
    np.testing.assert_allclose(longer.depth, expected.depth * longer.focal_factor, rtol=1e-6)


def test_other_words_are_compared_pixel_by_pixel(desk, model, photo, predicted):
    state = desk.compare(predicted, View(CAPTION), OTHER)
    first, second = model.predict(photo, CAPTION).depth, model.predict(photo, OTHER).depth
    np.testing.assert_allclose(state.own.depth, first, rtol=1e-4)
    np.testing.assert_allclose(state.other.depth, second, rtol=1e-4)
    told = re.search(r"depth is (\S+) times", texts.describe_comparison(state))[1]
    assert float(told) == pytest.approx(np.median(second / first), rel=0.005)


def test_every_sampled_scene_can_be_looked_at(desk, model, photo):
    Image.fromarray(picture(64, 96)).save(photo)  # the network's own size
    state = desk.draw_scenes(desk.open_picture(photo), View(CAPTION), 5, 3)
    expected = model.predict(photo, CAPTION, asked=Asked(samples=5, seed=3))
    scenes = state.drawn.scenes
    assert scenes.shape == (5, 64, 96)
    np.testing.assert_allclose(np.exp(np.log(scenes).mean(0)), expected.sampled_depth, rtol=1e-4)
    np.testing.assert_allclose(np.log(scenes).std(0), expected.log_depth_std, atol=1e-5)
    shown = [draw_scene(state.drawn, number) for number in range(5)]
    assert not any(np.array_equal(shown[0], other) for other in shown[1:])
    doubled = desk.know(desk.click(state, 0, 0), 2 * float(state.own.depth[0, 0]), False)
    doubled = desk.calibrate(doubled)
    np.testing.assert_allclose(doubled.shown(doubled.drawn).scenes, 2 * scenes, rtol=1e-5)
    with pytest.raises(UserError, match="scenes: from 2 to"):
        desk.draw_scenes(state, View(CAPTION), 1000, 0)


@pytest.mark.parametrize("size", [(48, 80), (1500, 2000), (31, 900)])
def test_a_click_finds_the_pixel_that_is_drawn_there(size):
    rgb = np.zeros((*size, 3), np.uint8)
    width, height = shown_size(rgb.shape)
    point = (size[1] * 2 // 3, size[0] // 3)
    ring = np.any(draw_picture(rgb, [point])[:height, :width] > 0, axis=-1)
    text_free = ring[:, : int((point[0] + 0.5) * width / size[1]) + 9]  # the number is right of it
    rows, columns = np.nonzero(text_free)
    found = to_picture(
        rgb.shape, (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    )
    tolerance = max(2 * size[1] / width, 1)
    assert abs(found[0] - point[0]) <= tolerance
    assert abs(found[1] - point[1]) <= tolerance + 4  # near an edge the ring is cut
    assert to_picture(rgb.shape, -5, 10_000) == (0, size[0] - 1)


def test_one_known_depth_fits_the_scale_of_all(desk, predicted):
    state = desk.click(predicted, *(v * shown_size((48, 80))[0] / 80 for v in (30, 12)))
    assert state.points == ((30, 12),)
    own = predicted.own.depth
    state = desk.calibrate(desk.know(state, 3 * float(own[12, 30]), False))
    np.testing.assert_allclose(state.shown(state.own).depth, 3 * own, rtol=1e-5)
    assert "3 * depth, from 1 known distance" in texts.describe_points(state)
    assert "calibrated: 3 * depth" in texts.describe_prediction(state.shown(state.own))
    cleared = desk.forget(state)
    assert (cleared.points, cleared.known, cleared.calibration) == ((), (), None)
    again = desk.predict(state, View(OTHER))  # other depth: fit it again
    assert again.calibration is None
    assert again.known == state.known


def test_a_length_between_two_points_fits_the_scale(desk, predicted):
    depth, camera = predicted.own.depth.astype(float), predicted.own.intrinsics
    (x0, y0), (x1, y1) = ends = ((10, 5), (70, 40))
    z0, z1 = depth[y0, x0], depth[y1, x1]
    dx = (x0 - camera.cx) / camera.fx * z0 - (x1 - camera.cx) / camera.fx * z1
    dy = (y0 - camera.cy) / camera.fy * z0 - (y1 - camera.cy) / camera.fy * z1
    length = math.sqrt(dx**2 + dy**2 + (z0 - z1) ** 2)
    assert KnownSpan(1.0, *ends).predicted(predicted.own) == pytest.approx(length)
    state = predicted
    for point in ends:
        state = desk.click(state, *((v + 0.5) * 480 / 80 - 0.5 for v in point))
    assert state.points == ends
    state = desk.calibrate(desk.know(state, 2 * length, True))
    assert state.calibration.factor == pytest.approx(2)
    assert state.calibration.fit == "scale"


def test_distances_that_are_none_or_do_not_help_are_refused(desk, predicted):
    for meters in (None, 0, -1, math.nan, math.inf, "2"):
        with pytest.raises(UserError, match="a number above 0"):
            desk.know(desk.click(predicted, 0, 0), meters, False)
    with pytest.raises(UserError, match="click a point"):
        desk.know(predicted, 2.0, False)
    one = desk.click(predicted, 0, 0)
    with pytest.raises(UserError, match="click two points"):
        desk.know(one, 2.0, True)
    with pytest.raises(UserError, match="the two points are one"):
        desk.know(desk.click(one, 0, 0), 2.0, True)
    with pytest.raises(UserError, match="no distance is known yet"):
        desk.calibrate(predicted)
    own, state = predicted.own.depth, predicted
    for number, factor in enumerate((0.1, 10.0, 0.1, 10.0, 0.1)):
        state = desk.click(state, 60 * number + 3, 3)
        x, y = state.points[-1]
        state = desk.know(state, factor * float(own[y, x]), False)
    with pytest.raises(UserError, match="not calibrated"):
        desk.calibrate(state)


@pytest.mark.parametrize("suffix", ["npy", "png"])
def test_ground_truth_scores_what_is_shown(desk, predicted, tmp_path, suffix):
    gt = predicted.own.depth / 2
    gt[:5] = 0  # not measured
    path = tmp_path / f"gt.{suffix}"
    if suffix == "npy":
        np.save(path, gt)
    else:
        cv2.imwrite(str(path), (gt * 5000).round().astype(np.uint16))
        gt = np.float32(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 5000)
    state = desk.score(predicted, path, 5000)
    pred, truth = torch.from_numpy(predicted.own.depth), torch.from_numpy(gt)
    expected = compute_metrics(pred, truth, (truth > 1e-3) & (truth < 10))
    rows = dict(state.scored.rows)
    assert float(rows["abs_rel"]) == pytest.approx(1.0, abs=0.01)
    assert rows == {name: f"{value:.4f}" for name, value in expected.items()}
    assert state.scored.panel.ndim == 3
    halved = desk.know(
        desk.click(predicted, 240, 240), float(predicted.own.depth[40, 40]) / 2, False
    )
    calibrated = desk.score(desk.calibrate(halved), path, 5000)
    assert float(dict(calibrated.scored.rows)["abs_rel"]) < 0.01


def test_nothing_to_work_on_is_one_line(desk, photo):
    empty, opened = PageState(), desk.open_picture(photo)
    for work in (
        lambda: desk.predict(empty, View(CAPTION)),
        lambda: desk.click(empty, 1, 1),
        lambda: desk.calibrate(empty),
        lambda: desk.write_files(empty),
    ):
        assert attempt(work)[1].startswith("there is no picture yet")
    for work in (
        lambda: desk.calibrate(opened),
        lambda: desk.score(opened, photo, 1000),
        lambda: desk.draw_points(opened),
    ):
        assert attempt(work)[1].startswith("there is no depth yet")


def test_an_error_of_the_program_is_a_line_too_and_logged(caplog):
    assert attempt(lambda: 1 / 0) == (None, f"ZeroDivisionError: {UNEXPECTED}")
    assert "ZeroDivisionError" in caplog.text
    assert "Traceback" in caplog.text

    def exhausted():
        raise MemoryError

    found, message = attempt(exhausted)
    assert found is None
    assert message.startswith("out of memory")


@pytest.mark.parametrize(
    ("name", "stage", "override", "reasons"),
    [
        ("control", "stage3", "language.mode=none", ["reads no words", "no distribution"]),
        ("wordless", "joint", "text.control=none", ["the same words for every picture"]),
        ("llm_mde", "llm_mde", "seed=0", ["no distribution of scenes"]),
    ],
)
def test_what_a_model_cannot_do_is_off_and_the_page_says_why(
    workspace, encoder, tmp_path, photo, trained, name, stage, override, reasons
):
    run = make_run(workspace, stage, tmp_path / name, override)
    desk = Desk(open_run(run, encoder), tmp_path / "page")
    told = texts.describe_model(desk)
    assert all(reason in told for reason in reasons), told
    state = desk.predict(desk.open_picture(photo), View("a room" if desk.reads_words else ""))
    assert np.isfinite(state.own.depth).all()
    assert desk.reads_words == (name == "llm_mde")
    assert desk.can_draw == (name == "wordless")
    if not desk.reads_words:
        with pytest.raises(UserError, match="reads no words of yours"):
            desk.compare(state, View("a"), "b")
    if not desk.can_draw:
        with pytest.raises(UserError, match="no distribution of scenes"):
            desk.draw_scenes(state, View("a room"), 2, 0)


def test_files_to_download_are_those_of_predict_and_tell_no_places(desk, predicted, tmp_path):
    state = desk.know(desk.click(predicted, 0, 0), 2.0, False)
    state = desk.write_files(desk.calibrate(state))
    names = {path.name for path in state.files}
    assert names == {
        *("depth.npy", "depth.png", "depth.json", "depth_color.png", "depth.ply", "depth.glb"),
        "calibration.json",
    }
    by_name = {path.name: path for path in state.files}
    assert np.array_equal(np.load(by_name["depth.npy"]), state.shown(state.own).depth)
    told = by_name["depth.json"].read_text()
    assert json.loads(told)["caption"] == CAPTION
    assert str(tmp_path) not in told
    for _ in range(KEPT_FOLDERS):
        desk.write_files(predicted)
    assert not by_name["depth.npy"].exists()
    assert len(list(desk.folder.iterdir())) == KEPT_FOLDERS


def test_points_are_sent_with_all_that_draws_them(desk, predicted):
    html = desk.draw_points(predicted)
    assert f"COUNT = {48 * 80}," in html
    assert "http" not in html
    assert "@" not in html.split("</style>")[0]


def test_what_visitors_type_is_never_html(predicted):
    evil = "<script>alert(1)</script>"
    noted = replace(predicted.own, notes=(evil,))
    for text in (texts.describe_prediction(noted), texts.describe_error(evil)):
        assert "<script" not in text
        assert "&lt;script" in text


def test_examples_are_copied_from_the_demo(tmp_path):
    rooms = tmp_path / "rooms"
    for name in ("bedroom", "dollhouse_bedroom"):
        (rooms / name).mkdir(parents=True)
        Image.fromarray(picture()).save(rooms / name / "rgb.jpg")
        cv2.imwrite(str(rooms / name / "depth.png"), np.full((48, 80), 1500, np.uint16))
    keys = ["bedroom/rgb.jpg", "dollhouse_bedroom/rgb.jpg"]
    (rooms / "test_files_with_gt.txt").write_text(
        "".join(f"{key} {key.replace('rgb.jpg', 'depth.png')} 518.8\n" for key in keys)
    )
    for file, words in (("captions", "ab"), ("captions_swapped", "ba")):
        lines = [json.dumps({"image": k, "caption": w}) for k, w in zip(keys, words, strict=True)]
        (rooms / f"{file}.jsonl").write_text("\n".join(lines))
    found = copy_examples(rooms, tmp_path / "page")
    assert [(one.caption, one.other, one.depth_scale) for one in found] == [
        ("a", "b", 1000.0),
        ("b", "a", 1000.0),
    ]
    assert all(
        tmp_path / "page" in file.parents for one in found for file in (one.picture, one.depth)
    )
    assert copy_examples(tmp_path / "nowhere", tmp_path / "page2") == []
