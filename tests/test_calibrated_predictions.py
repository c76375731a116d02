"""Known distances through the programs: no calibration is used on other depth than it is for."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import evaluate, run_script
from predict_program import save
from prediction_runs import CAPTION, picture

from common.errors import UserError
from common.evaluation.known_distance import DistanceCalibration, read_calibration
from scripts.page.desk import View
from scripts.prediction.result import Asked
from scripts.scoring.predicted_maps import MapFacts, read_facts

pytest_plugins = ["prediction_runs", "predict_program", "page_desk"]
LONG = ("--focal", 150)  # against 64.9 of training's camera


@pytest.fixture
def room(tmp_path) -> Path:
    return save(tmp_path / "room.png", picture())


def depth_of(folder: Path, name: str = "room") -> np.ndarray:
    return np.load(folder / "out" / f"{name}.npy")


def facts_of(folder: Path, name: str = "room") -> dict:
    return json.loads((folder / "out" / f"{name}.json").read_text())


def calibration_file(path: Path, rule: str | None, factor: float = 2.0) -> Path:
    """As of calibrate.py; rule: None: of an earlier version, which did not say it."""
    content = {"fit": "scale", "factor": factor, "num_points": 1}
    if rule is not None:
        content["focal_rule"] = rule
    path.write_text(json.dumps({"calibration": content}))
    return path


def test_a_known_distance_makes_it_metric(predict, room, tmp_path):
    assert predict(room).code == 0
    plain = depth_of(tmp_path)
    assert facts_of(tmp_path)["calibration"] is None
    outcome = predict(room, "--calibrate", "20,10=7.5")
    assert outcome.code == 0, outcome.err
    depth = depth_of(tmp_path)
    assert depth[10, 20] == pytest.approx(7.5, rel=1e-5)
    np.testing.assert_allclose(depth, plain * 7.5 / plain[10, 20], rtol=1e-5)
    facts = facts_of(tmp_path)
    assert any(note.startswith("calibrated: ") for note in facts["notes"])
    assert facts["calibration"]["factor"] == pytest.approx(7.5 / plain[10, 20])
    assert facts["calibration"]["focal_rule"] == "none"
    line = next(line for line in outcome.out.splitlines() if line.startswith("20,10=7.5"))
    assert line.split()[1:] == ["7.500", f"{plain[10, 20]:.3f}", "7.500", "+0.0", "%"]
    assert "too few places to leave one out" in outcome.out
    # The JSON of that picture is a calibration for others, and may not be lost by its use.
    assert "is one of the files that are read" in (
        predict(room, "--calibration", tmp_path / "out/room.json").refusal
    )
    again = predict(room, "--calibration", tmp_path / "out/room.json", out=tmp_path / "out2")
    assert again.code == 0, again.err
    np.testing.assert_allclose(np.load(tmp_path / "out2/room.npy"), depth, rtol=1e-6)


def test_what_calibrate_may_be_given_with(predict, room, tmp_path):
    file = calibration_file(tmp_path / "calibration.json", "none")
    both = ("--calibrate", "20,10=7.5", "--calibration", file)
    assert "and no --calibration" in predict(room, *both).refusal
    other = save(tmp_path / "other.png", picture())
    assert "give that alone" in predict(room, other, "--calibrate", "20,10=7.5").refusal
    assert "not inside the picture" in predict(room, "--calibrate", "900,10=7.5").refusal
    assert "is no known distance" in predict(room, "--calibrate", "7.5").refusal
    assert "--fit: says how --calibrate fits" in predict(room, "--fit", "scale").refusal
    one = ("--calibrate", "20,10=7.5", "--fit", "scale_shift")
    assert "scale_shift needs 2 known distances" in predict(room, *one).refusal
    assert not (tmp_path / "out/room.npy").exists()


def test_calibrate_takes_the_fit_and_shows_what_it_refuses(predict, room, tmp_path):
    assert predict(room).code == 0
    plain = depth_of(tmp_path)
    order = np.argsort(plain, axis=None)
    places = [np.unravel_index(order[n], plain.shape) for n in (0, plain.size // 2, -1)]

    def words(known):
        pairs = zip(places, known, strict=False)
        return [w for (y, x), d in pairs for w in ("--calibrate", f"{x},{y}={d:.6f}")]

    near, far = float(plain[places[0]]), float(plain[places[2]])
    power = [near, float(plain[places[1]]) ** 1.5 / near**0.5, far**1.5 / near**0.5]
    outcome = predict(room, *words(power), "--fit", "scale_shift")
    assert outcome.code == 0, outcome.err
    found = facts_of(tmp_path)["calibration"]
    assert (found["fit"], found["exponent"]) == ("scale_shift", pytest.approx(1.5, rel=1e-2))
    before = depth_of(tmp_path)
    worse = predict(room, *words([near * 1.05, float(plain[places[1]]), far / 1.05]))
    assert "--calibrate: at places that were left out" in worse.refusal
    assert "known m" in worse.out and "places left out of the fit" in worse.out
    assert np.array_equal(depth_of(tmp_path), before)


@pytest.mark.parametrize("rule", ["none", "scale"])
def test_a_file_goes_with_depth_of_its_own_focal_rule(predict, room, tmp_path, rule):
    assert predict(room, *LONG, "--focal-rule", rule).code == 0
    plain, file = depth_of(tmp_path), tmp_path / "calibration.json"
    known = (tmp_path / "out/room.npy", f"20,10={2 * plain[10, 20]:.6f}", "--output", file)
    assert run_script("calibrate.py", *known).code == 0
    assert read_calibration(file).focal_rule == rule
    words = (room, *LONG, "--calibration", file)
    assert predict(*words, "--focal-rule", rule).code == 0
    np.testing.assert_allclose(depth_of(tmp_path), 2 * plain, rtol=1e-4)
    other = {"none": "scale", "scale": "none"}[rule]
    refused = predict(*words, "--focal-rule", other).refusal
    assert f"was made for depth with focal rule {rule}, this is with {other}" in refused
    assert f"predict with --focal-rule {rule}" in refused
    # What is calibrated already tells nothing of the network's own depth.
    again = run_script("calibrate.py", *known[:2])
    assert "room.npy is calibrated already" in again.refusal
    facts = facts_of(tmp_path)
    del facts["calibration"], facts["focal_rule"]  # an earlier version's: the note alone
    (tmp_path / "out/room.json").write_text(json.dumps(facts))
    assert "is calibrated already" in run_script("calibrate.py", *known[:2]).refusal


def test_maps_of_two_focal_rules_fit_nothing(predict, room, tmp_path):
    for rule in ("none", "scale"):
        out = tmp_path / rule
        assert predict(room, *LONG, "--focal-rule", rule, out=out).code == 0
    words = (tmp_path / "none/room.npy", "20,10=3", tmp_path / "scale/room.npy", "30,10=3")
    refused = run_script("calibrate.py", *words).refusal
    assert "depth of two focal rules" in refused and "predict all with one --focal-rule" in refused


def test_files_of_earlier_versions_are_taken_as_before(predict, room, tmp_path):
    file = calibration_file(tmp_path / "old.json", None)
    for rule in ("none", "scale"):
        assert predict(room, *LONG, "--focal-rule", rule).code == 0
        plain = depth_of(tmp_path)
        assert predict(room, *LONG, "--focal-rule", rule, "--calibration", file).code == 0
        np.testing.assert_allclose(depth_of(tmp_path), 2 * plain, rtol=1e-5)
    np.save(tmp_path / "bare.npy", np.ones((4, 4)))
    told = run_script("calibrate.py", tmp_path / "bare.npy", "0,0=2", "--output", file)
    assert "nothing says which --focal-rule the maps are of" in told.err
    assert read_calibration(file).focal_rule is None
    calibration_file(file, "sometimes")
    with pytest.raises(UserError, match="focal_rule must be one of none, scale"):
        read_calibration(file)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"focal_rule": "scale", "focal_factor": 1.0}, MapFacts("scale")),
        ({"focal_factor": 1.0, "notes": ["a note"]}, MapFacts("none")),
        ({"focal_factor": 1.2, "notes": ["calibrated: 2 * depth"]}, MapFacts("scale", True)),
        (
            {"focal_rule": "none", "calibration": {"fit": "scale", "factor": 2}},
            MapFacts("none", True),
        ),
        ({"calibration": {"fit": "scale", "factor": 2}, "notes": None}, MapFacts(None, True)),
        ({"focal_rule": "none", "calibration": {"fx": 500, "fy": 500}}, MapFacts("none")),
        ({"focal_rule": "none", "not_held_by_16_bits": None}, MapFacts("none")),
        ({"not_held_by_16_bits": {"num_far": math.inf}}, MapFacts()),
        ({"not_held_by_16_bits": {"num_far": 3}}, MapFacts(num_far=3)),
        ({"focal_rule": ["x"], "calibration": None}, MapFacts()),
        ({"notes": 3}, MapFacts()),
        ([1], MapFacts()),
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a_sampled.npy"])
def test_what_the_json_beside_a_map_says(tmp_path, name, content, expected):
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_facts(tmp_path / name) == expected
    own = {"focal_rule": "scale"}  # of a picture that is called so
    (tmp_path / name).with_suffix(".json").write_text(json.dumps(own))
    assert read_facts(tmp_path / name) == MapFacts("scale")


def test_eval_takes_calibrations_of_raw_depth_alone(run, encoder, tmp_path):
    words = ["--checkpoint", str(run), "--json", str(tmp_path / "out.json"), encoder]
    words += [f"output_root={tmp_path}"]
    scaled = calibration_file(tmp_path / "scaled.json", "scale")
    refused = evaluate("stage3", *words, "--calibration", str(scaled)).refusal
    assert "was made for depth with focal rule scale, this is with none" in refused
    assert "eval.py never scales by the focal length" in refused
    raw = calibration_file(tmp_path / "raw.json", "none")
    outcome = evaluate("stage3", *words, "--calibration", str(raw))
    assert outcome.code == 0, outcome.err


def test_asked_of_python_compares_the_rules_too():
    with pytest.raises(UserError, match="focal rule scale, this is with none"):
        Asked(calibration=DistanceCalibration("scale", 2.0, focal_rule="scale"))
    Asked("scale", calibration=DistanceCalibration("scale", 2.0, focal_rule="scale"))


def test_the_pages_file_says_the_rule_that_was_chosen_there(desk, photo):
    state = desk.predict(desk.open_picture(photo), View(CAPTION, 150.0, "scale"))
    state = desk.calibrate(desk.know(desk.click(state, 0, 0), 2.0, False))
    (file,) = (path for path in desk.write_files(state).files if path.name == "calibration.json")
    assert read_calibration(file).focal_rule == "scale"


def test_the_page_fits_a_length_again_when_the_camera_changes(desk, predicted):
    focal = predicted.own.intrinsics.fx
    state = predicted
    for column, row in ((60, 30), (420, 240)):
        state = desk.click(state, column, row)
    state = desk.calibrate(desk.know(state, 3.0, True))
    longer = desk.predict(state, View(CAPTION, 3 * focal))
    assert np.array_equal(longer.own.depth, state.own.depth)
    assert longer.calibration is None and longer.known == state.known
    ratio = desk.calibrate(longer).calibration.factor / state.calibration.factor
    assert ratio > 1.05  # the same two pixels are nearer to each other
    same = desk.predict(state, View(CAPTION))
    assert same.calibration == state.calibration
    ruled = desk.predict(state, View(CAPTION, None, "scale"))  # of the same factor, 1
    assert np.array_equal(ruled.own.depth, state.own.depth) and ruled.calibration is None


def test_files_of_other_depth_are_offered_no_longer(desk, predicted):
    state = desk.write_files(desk.know(desk.click(predicted, 0, 0), 2.0, False))
    assert state.files
    calibrated = desk.write_files(desk.calibrate(state))
    assert desk.calibrate(state).files == ()
    assert desk.forget(calibrated).files == ()
    assert desk.predict(calibrated, View(CAPTION)).files == ()
