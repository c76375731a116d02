"""`scripts/score.py`: other models' depth maps, scored as `eval.py` scores a checkpoint."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from conftest import run_script
from scored_maps import first_of, rows_of
from torch.nn import functional as F

pytest_plugins = ["scored_maps"]


def test_exact_predictions_get_exactly_the_numbers_of_eval(scored, score, tmp_path):
    outcome, result = score(scored / "npy", "--csv", tmp_path / "images.csv")
    assert outcome.code == 0, outcome.err
    expected = json.loads((scored / "out.json").read_text())
    same = [key for key in expected if key not in ("checkpoint", "recipe", "stage")]
    assert {key: result[key] for key in same} == {key: expected[key] for key in same}
    assert rows_of(tmp_path / "images.csv") == rows_of(scored / "out.csv")


def test_saved_png_get_the_numbers_of_eval_to_their_rounding(scored, score):
    assert json.loads((scored / "png/dataset.json").read_text()) == {"depth_scale": 1000.0}
    outcome, result = score(scored / "png")
    assert outcome.code == 0, outcome.err
    expected = json.loads((scored / "out.json").read_text())["metrics"]
    assert result["metrics"] != expected
    assert result["metrics"] == pytest.approx(expected, abs=2e-3)


def test_a_scale_comes_from_the_option_the_file_beside_or_the_folder(scored, score, tmp_path):
    folder = shutil.copytree(scored / "png", tmp_path / "png")
    _, expected = score(folder)
    _, halved = score(folder, "--scale", 2000)
    assert halved["metrics"]["abs_rel"] != expected["metrics"]["abs_rel"]
    (folder / "dataset.json").unlink()
    outcome, _ = score(folder)
    assert "--scale 1000" in outcome.refusal and "dataset.json" in outcome.refusal
    for path in folder.rglob("*.png"):
        path.with_suffix(".json").write_text('{"depth_scale": 1000, "model": "mine"}')
    assert score(folder)[1]["metrics"] == expected["metrics"]
    next(folder.rglob("*.json")).write_text('{"depth_scale": "a meter"}')
    outcome, _ = score(folder)
    assert "depth_scale must be a number above 0, not 'a meter'" in outcome.refusal


def test_a_prediction_of_another_size_is_resized_like_a_networks(maps, score, tmp_path):
    for path in maps.rglob("*.npy"):
        np.save(path, np.load(path)[::2, ::2] * np.linspace(1, 2, 48, dtype=np.float32))
    outcome, result = score(maps)
    assert outcome.code == 0 and "another shape" not in outcome.err
    for path in maps.rglob("*.npy"):
        small = torch.from_numpy(np.load(path))[None, None]
        large = F.interpolate(small, (64, 96), mode="bilinear", align_corners=False)
        np.save(path, large[0, 0].numpy())
    assert score(maps)[1]["metrics"] == result["metrics"]
    np.save(first_of(maps), np.ones((64, 64)))
    assert "1 predictions have another shape than their ground truth" in score(maps)[0].err


def test_missing_and_extra_predictions_are_told(maps, score, tmp_path):
    lost = first_of(maps)
    lost.unlink()
    np.save(maps / "another.npy", np.ones((64, 96)))
    outcome, result = score(maps, "--csv", tmp_path / "images.csv")
    key = lost.relative_to(maps).with_suffix(".png").as_posix()
    assert outcome.refusal.startswith("error: incomplete, only 3 images are scored: ")
    assert f"{key}: no prediction {lost.with_suffix('')}.npy or .png" in outcome.refusal
    assert f"1 of 4 images have no prediction, first {key}" in outcome.err
    assert "1 depth files" in outcome.err and "first another.npy" in outcome.err
    assert result["complete"] is False
    assert [failed["image"] for failed in result["failed"]] == [key]
    assert [row["abs_rel"] == "" for row in rows_of(tmp_path / "images.csv")] == [False] * 3 + [
        True
    ]


def test_a_folder_without_any_says_what_names_are_expected(score, tmp_path):
    np.save(tmp_path / "0001.npy", np.ones((64, 96)))
    outcome, result = score(tmp_path)
    assert "expected test/room_0000/rgb_00000.npy or" in outcome.refusal
    assert "it holds 0001.npy" in outcome.refusal
    assert result is None
    assert "no folder" in score(tmp_path / "nowhere")[0].refusal


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0])
def test_a_prediction_without_any_depth_is_refused_and_the_others_scored(maps, score, value):
    np.save(first_of(maps), np.full((64, 96), value))
    outcome, result = score(maps)
    assert f"{first_of(maps)}: all 6,144 values are 0" in outcome.refusal
    assert (result["num_images"], len(result["failed"])) == (3, 1)


def test_values_that_are_not_finite_are_counted(maps, score):
    depth = np.load(first_of(maps))
    depth[40:, :10] = np.nan
    np.save(first_of(maps), depth)
    outcome, result = score(maps)
    assert outcome.code == 0
    assert result["num_nonfinite"] == 240
    assert "1 predictions have 240 values that are not finite" in outcome.err


def test_a_damaged_file_and_a_picture_are_one_line_each(maps, score):
    first, second, *_ = sorted(maps.rglob("*.npy"))
    first.write_bytes(first.read_bytes()[:-50])
    cv2.imwrite(str(second.with_suffix(".png")), np.zeros((64, 96, 3), np.uint8))
    second.unlink()
    outcome, result = score(maps, "--scale", 1000)
    assert "not a readable .npy file" in outcome.refusal
    reasons = [failed["reason"] for failed in result["failed"]]
    assert any("depth must have one channel" in reason for reason in reasons)


def test_maps_say_whether_a_calibration_is_for_them(maps, score, tmp_path):
    file = tmp_path / "calibration.json"
    content = {"fit": "scale", "factor": 2.0, "num_points": 1, "focal_rule": "scale"}
    file.write_text(json.dumps({"calibration": content}))
    facts = first_of(maps).with_suffix(".json")
    facts.write_text(json.dumps({"focal_rule": "none", "focal_factor": 1.0}))
    refused = score(maps, "--calibration", file)[0].refusal
    assert "focal rule scale, this is with none" in refused and "--focal-rule scale" in refused
    facts.write_text(json.dumps({"focal_rule": "scale", "focal_factor": 1.5}))
    assert score(maps, "--calibration", file)[0].code == 0
    facts.write_text(json.dumps({"focal_rule": "scale", "calibration": content}))
    assert "is calibrated already" in score(maps, "--calibration", file)[0].refusal
    outcome, result = score(maps)
    assert "maps (calibrated)" in outcome.out
    assert result["calibrated"].startswith("1 of the maps")


def test_calibrated_predictions_are_scored_as_such(maps, score, tmp_path):
    file = tmp_path / "calibration.json"
    file.write_text('{"calibration": {"fit": "scale", "factor": 2.0, "num_points": 1}}')
    outcome, result = score(maps, "--calibration", file)
    assert "maps (calibrated)" in outcome.out
    assert result["calibrated"] == f"{file}: 2 * depth, from 1 known distance"
    for path in maps.rglob("*.npy"):
        np.save(path, 2 * np.load(path))
    _, doubled = score(maps)
    assert doubled["metrics"] == result["metrics"]
    assert "calibrated" not in doubled


def test_what_makes_no_sense_is_refused(maps, score, workspace):
    assert "predictions are made already" in score(maps, "eval.flip=true")[0].refusal
    assert "--align medain: must be none, median, scale_shift" in (
        score(maps, "--align", "medain")[0].refusal
    )
    assert "did you mean 'kitti_garg_full'" in score(maps, "--protocol", "garg_full")[0].refusal
    assert "use --protocol none" in score(maps, "--protocol", "nyu_eigen")[0].refusal
    outcome = run_script("score.py", "--predictions", maps)
    assert "expected one CONFIG.yaml, got none" in outcome.refusal
    assert "unknown key 'data.hieght'" in score(maps, "data.hieght=3")[0].refusal


def test_kitti_predictions_are_crops_or_whole_frames(tmp_path):
    rng = np.random.default_rng(0)
    gt = rng.integers(256, 80 * 256, (375, 1242)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "0.png"), rng.integers(0, 256, (375, 1242, 3), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "gt.png"), gt)
    (tmp_path / "test.txt").write_text("0.png gt.png 721.5\n")
    (tmp_path / "data.yaml").write_text(
        f"data: {{name: kitti, root: {tmp_path}, test_list: test.txt, max_depth: 80}}"
    )
    (tmp_path / "maps").mkdir()

    def run(stored):
        cv2.imwrite(str(tmp_path / "maps/0.png"), stored)
        words = ["--scale", 256, "--protocol", "kitti_garg_full", "--json", tmp_path / "o.json"]
        config = tmp_path / "data.yaml"
        return run_script("score.py", "--predictions", tmp_path / "maps", config, *words)

    for stored in (gt, gt[23:, 13:1229]):
        assert run(stored).code == 0
        assert json.loads((tmp_path / "o.json").read_text())["metrics"]["abs_rel"] < 1e-6
    line = run(gt[::2, ::2]).refusal
    assert "is 188x621; predictions of this data set must be of the whole frame, 375x1242" in line
