"""Known distances: the fits against numpy, what is kept, and `eval.py` with a calibration."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from conftest import evaluate, run_script, train

from common.errors import UserError
from common.evaluation.known_distance import (
    DistanceCalibration,
    calibrate,
    describe_fit,
    read_calibration,
    read_known_distance,
)


@pytest.fixture(scope="module")
def run(workspace, tmp_path_factory):
    """Stage 1, two steps old."""
    folder = tmp_path_factory.mktemp("runs")
    assert train("stage1", *workspace.arguments("stage1", folder)).code == 0
    return folder / "tiny/stage1"


def test_one_distance_gives_the_scale_and_two_exact_ones_scale_and_shift():
    one = calibrate([2.0], [3.0]).calibration
    assert (one.fit, one.factor, one.exponent) == ("scale", pytest.approx(1.5), 1.0)
    true = DistanceCalibration("scale_shift", 1.2, 0.8)
    predicted = np.array([1.0, 4.0])
    two = calibrate(predicted, true.apply(predicted), "scale_shift").calibration
    assert (two.factor, two.exponent) == (pytest.approx(1.2), pytest.approx(0.8))
    assert calibrate(predicted, true.apply(predicted)).calibration.fit == "scale"


@pytest.mark.parametrize(("true", "fit"), [((1.3, 1.0), "scale"), ((1.5, 0.6), "scale_shift")])
def test_of_many_points_the_better_fit_is_that_of_least_squares(true, fit):
    rng = np.random.default_rng(0)
    predicted = rng.uniform(1, 8, 30)
    known = true[0] * predicted ** true[1] * np.exp(rng.normal(0, 0.02, 30))
    fitted = calibrate(predicted, known)
    assert fitted.calibration.fit == fit and fitted.helps
    p, d = np.log(predicted), np.log(known)
    exponent, shift = np.polyfit(p, d, 1) if fit == "scale_shift" else (1.0, (d - p).mean())
    assert fitted.calibration.exponent == pytest.approx(exponent)
    assert fitted.calibration.factor == pytest.approx(math.exp(shift))
    assert fitted.residuals == pytest.approx(exponent * p + shift - d, abs=1e-9)
    left_out = []
    for row in range(30):
        others = np.arange(30) != row
        slope, level = np.polyfit(p[others], d[others], 1)
        left_out.append(slope * p[row] + level - d[row])
    assert fitted.held_out["scale_shift"] == pytest.approx(np.sqrt(np.mean(np.square(left_out))))


def test_what_does_not_help_is_not_kept():
    fitted = calibrate([1.0, 2.0, 4.0], [1.01, 2.0, 3.97])
    assert fitted.error_after <= fitted.error_before
    assert fitted.held_out["none"] < fitted.held_out["scale"]
    assert not fitted.helps
    assert calibrate([1.0, 2.0], [1.01, 2.0]).helps  # nothing can be said
    forced = calibrate([1.0, 2.0, 4.0], [1.01, 2.0, 3.97], "scale_shift")
    assert forced.helps and "scale_shift" not in forced.held_out


def test_a_power_that_the_others_of_a_place_do_not_allow_is_not_kept():
    predicted = [2.0, 2.0, 2.0, 2.0, 4.0]  # without the last one there is nothing to fit
    fitted = calibrate(predicted, [2.0, 2.1, 1.9, 2.0, 6.0], "scale_shift")
    assert "scale_shift" not in fitted.held_out and not fitted.helps
    assert "no scale_shift for some of the others" in describe_fit(fitted)[1]
    falling = calibrate([1.0, 1.1, 1.2, 9.0], [3.0, 2.0, 1.0, 9.0], "scale_shift")
    assert not falling.helps
    assert calibrate(predicted, [4.0, 4.1, 3.9, 4.0, 8.2]).helps  # the scale, unforced


def test_points_that_allow_no_fit():
    with pytest.raises(UserError, match="needs 2 known distances or more, not 1"):
        calibrate([1.0], [2.0], "scale_shift")
    with pytest.raises(UserError, match="do not grow with the predicted"):
        calibrate([1.0, 2.0], [2.0, 1.0], "scale_shift")
    with pytest.raises(UserError, match="do not grow with the predicted"):
        calibrate([2.0, 2.0], [2.0, 1.0], "scale_shift")
    assert calibrate([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]).calibration.fit == "scale"


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_arrays_and_tensors_are_calibrated_alike_and_nan_stays(power):
    calibration = DistanceCalibration("scale_shift", 2.0, power)
    depth = np.array([[1.0, 4.0], [np.nan, 0.0]], np.float32)
    expected = [[2.0, 2 * 4**power], [np.nan, 0.0]]
    np.testing.assert_allclose(calibration.apply(depth), expected)
    np.testing.assert_allclose(calibration.apply(torch.from_numpy(depth)).numpy(), expected)


@pytest.mark.parametrize("wrong", [
    {"factor": "2"}, {"factor": True}, {"factor": 10**400}, {"exponent": None},
    {"num_points": "three"}, {"num_points": None}, {"pixels": 3},
])  # fmt: skip
def test_a_file_with_something_else_for_a_number_is_refused_when_it_is_read(tmp_path, wrong):
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"calibration": {"fit": "scale", "factor": 2, **wrong}}))
    with pytest.raises(UserError, match="is no calibration"):
        read_calibration(file)


def test_pixels_and_boxes():
    depth = np.arange(1.0, 13.0).reshape(3, 4)
    assert read_known_distance("3,0=2.5").predicted(depth) == 4
    box = read_known_distance("2,2,1,1=2")
    assert (box.x0, box.y0, box.x1, box.y1) == (1, 1, 2, 2)
    depth[1, 1] = np.nan
    assert box.predicted(depth) == 10
    for text in ("1=2", "1,2,3=1", "1,2=0", "1,2=far", "1,2=inf", "a,b=1"):
        with pytest.raises(UserError, match="is no known distance; write x,y=METERS"):
            read_known_distance(text)
    with pytest.raises(UserError, match=r"4,0=1: not inside the picture of 3x4; x \(the column\)"):
        read_known_distance("4,0=1").predicted(depth)
    with pytest.raises(UserError, match="no depth was predicted there"):
        read_known_distance("1,1=1").predicted(depth)


def test_the_program_shows_residuals_and_saves_what_helps(tmp_path):
    one, two = tmp_path / "one.npy", tmp_path / "two.npy"
    np.save(one, np.linspace(1, 4, 12).reshape(3, 4))
    np.save(two, np.full((3, 4), 5.0))
    out = tmp_path / "deep/calibration.json"
    first = [one, "0,0=2", "3,2=8.4", two, "0,0,3,2=10"]
    outcome = run_script("calibrate.py", *first, "--output", out)
    assert outcome.code == 0, outcome.err
    assert f"{one} 3,2=8.4" in outcome.out and f"{two} 0,0,3,2=10" in outcome.out
    assert "at places left out of the fit:" in outcome.out
    calibration = read_calibration(out)
    assert calibration.fit in ("scale", "scale_shift") and calibration.num_points == 3
    out.unlink()
    worse = run_script("calibrate.py", one, "0,0=1", "3,2=4", two, "0,0=5.05", "--output", out)
    assert "not kept: at places that were left out" in worse.refusal
    assert not out.exists()
    assert "name a depth map before 0,0=1" in run_script("calibrate.py", "0,0=1").refusal
    assert "no known distance" in run_script("calibrate.py", one).refusal


@pytest.mark.parametrize("num_far, is_told", [(3, True), (0, False)])
def test_depth_that_16_bits_did_not_hold_is_told(tmp_path, num_far, is_told):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8), 2000, np.uint16))
    facts = {"depth_scale": 1000, "not_held_by_16_bits": {"num_far": num_far}}
    (tmp_path / "a.json").write_text(json.dumps(facts))
    outcome = run_script("calibrate.py", tmp_path / "a.png", "4,4=3.0")
    assert outcome.code == 0, outcome.err
    told = "3 pixels are farther than its 16 bits can say; take a.npy"
    assert (told in outcome.err) == is_told


def test_eval_scores_calibrated_depth_and_says_so(run, tmp_path):
    file, out = tmp_path / "calibration.json", tmp_path / "out.json"
    words = ["--checkpoint", str(run), "--json", str(out), "--csv", str(tmp_path / "out.csv")]

    def medians():
        lines = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()]
        return [float(line[lines[0].index("pred_median")]) for line in lines[1:]]

    assert evaluate("stage1", *words).code == 0
    plain = medians()
    assert "calibrated" not in json.loads(out.read_text())
    np.save(tmp_path / "map.npy", np.ones((4, 4)))
    place = [tmp_path / "map.npy", "0,0=1.25"]
    assert run_script("calibrate.py", *place, "--output", file).code == 0
    outcome = evaluate("stage1", *words, "--calibration", str(file))
    assert outcome.code == 0, outcome.err
    assert "stage1 (calibrated)" in outcome.out
    told = json.loads(out.read_text())["calibrated"]
    assert told == f"{file}: 1.25 * depth, from 1 known distance"
    assert medians() == pytest.approx([1.25 * median for median in plain], rel=1e-5)
    for name, calibration in (("raw", ()), ("calibrated", ("--calibration", str(file)))):
        folder = tmp_path / name
        assert evaluate("stage1", *words, "--save-predictions", str(folder), *calibration).code == 0
        saved = next(folder.rglob("*.png"))
        again = run_script("calibrate.py", saved, "0,0=2", "--scale", 1000)
        assert (again.code == 0) == (name == "raw"), again.err
        assert ("is calibrated already" in again.err) == (name == "calibrated")
    refused = evaluate("stage1", *words, "--calibration", str(file), "--samples", "100")
    assert "not with --samples" in refused.refusal
    file.write_text('{"calibration": {"fit": "scale", "factor": -1}}')
    assert "above 0" in evaluate("stage1", *words, "--calibration", str(file)).refusal
    file.write_text("{}")
    assert "is no calibration" in evaluate("stage1", *words, "--calibration", str(file)).refusal
