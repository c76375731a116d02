"""score.py --align: numbers under names of their own, beside the metric ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scored_maps import first_of, rows_of

from common.evaluation.alignment import aligned_scores, fit_alignment
from common.evaluation.metrics import METRIC_NAMES

pytest_plugins = ["scored_maps"]


def test_aligned_numbers_have_names_of_their_own_and_forget_the_scale(maps, score, tmp_path):
    words = ["--align", "none", "median", "scale_shift", "--csv", tmp_path / "images.csv"]
    outcome, plain = score(maps, *words)
    for path in maps.rglob("*.npy"):
        np.save(path, 4 * np.load(path))
    _, scaled = score(maps, *words)
    for path in maps.rglob("*.npy"):
        np.save(path, np.load(path) + 0.5)
    _, shifted = score(maps, *words)
    assert scaled["metrics"] != plain["metrics"]
    assert list(plain["metrics"]) == list(METRIC_NAMES)
    for alignment in ("median", "scale_shift"):
        aligned = plain["aligned"][alignment]
        assert aligned["is_metric"] is False
        assert list(aligned["metrics"]) == [f"{name}_{alignment}_aligned" for name in METRIC_NAMES]
        assert scaled["aligned"][alignment]["metrics"] == pytest.approx(aligned["metrics"])
        assert outcome.out.count(f"NOT METRIC, aligned by {alignment}") == 1
        assert f"abs_rel_{alignment}_aligned" in outcome.out
    ours, theirs = (r["aligned"]["scale_shift"]["metrics"] for r in (plain, shifted))
    assert theirs == pytest.approx(ours, rel=1e-4)
    assert shifted["aligned"]["median"] != plain["aligned"]["median"]
    rows = rows_of(tmp_path / "images.csv")
    mean = np.mean([float(row["abs_rel_scale_shift_aligned"]) for row in rows])
    assert mean == pytest.approx(theirs["abs_rel_scale_shift_aligned"])
    assert {"scale_median_aligned", "shift_scale_shift_aligned"} <= set(rows[0])


def test_aligned_scores_are_those_of_numpy(maps, score, workspace, tmp_path):
    _, result = score(maps, "--align", "scale_shift", "median", "--csv", tmp_path / "images.csv")
    row = rows_of(tmp_path / "images.csv")[0]
    gt_file = workspace.data / row["image_path"].replace("rgb_", "sync_depth_")
    gt = cv2.imread(str(gt_file), cv2.IMREAD_UNCHANGED) / 1000
    valid = (gt > 1e-3) & (gt < 10)
    pred, gt = np.load(first_of(maps)).astype(np.float64)[valid], gt[valid]
    system = np.stack([pred, np.ones_like(pred)], axis=1)
    (scale, shift), *_ = np.linalg.lstsq(system, gt, rcond=None)
    assert float(row["scale_scale_shift_aligned"]) == pytest.approx(scale, rel=1e-5)
    assert float(row["shift_scale_shift_aligned"]) == pytest.approx(shift, rel=1e-5)
    for alignment, fitted in (
        ("scale_shift", (scale * pred + shift).clip(1e-3, 10)),
        ("median", (pred * np.median(gt) / np.median(pred)).clip(1e-3, 10)),
    ):
        expected = (np.abs(fitted - gt) / gt).mean()
        assert float(row[f"abs_rel_{alignment}_aligned"]) == pytest.approx(expected, rel=1e-5)
    assert result["num_images"] == 4


def test_disparity_is_recognized(maps, score, workspace):
    for path in maps.rglob("*.npy"):
        gt_file = workspace.data / path.relative_to(maps).with_suffix(".png")
        gt_file = gt_file.with_name(gt_file.name.replace("rgb_", "sync_depth_"))
        gt = cv2.imread(str(gt_file), cv2.IMREAD_UNCHANGED) / 1000
        np.save(path, 1 / np.where(gt > 0, gt, 1))
    outcome, _ = score(maps, "--align", "scale_shift")
    assert "4 of 4 predictions fall where depth grows" in outcome.err


def test_a_constant_prediction_has_no_scale_and_a_median_of_zero_no_answer():
    gt = np.array([1.0, 2.0, 6.0])
    assert fit_alignment(np.ones(3), gt, "scale_shift") == (0.0, 3.0)
    assert fit_alignment(np.array([1.0, 1.0, 5.0]), gt, "median") == (2.0, 0.0)
    with pytest.raises(ValueError, match="the median of the prediction is 0"):
        fit_alignment(np.array([0.0, 0.0, 5.0]), gt, "median")


@pytest.mark.parametrize("alignment", ["median", "scale_shift"])
def test_where_nothing_is_finite_there_are_no_aligned_numbers(alignment):
    gt, valid = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    pred = torch.full((2, 3), torch.nan)
    assert aligned_scores(pred, gt, valid, 10.0, [alignment]) == {}
    pred[0] = 2.0
    assert aligned_scores(pred, gt, valid, 10.0, [alignment])


@pytest.mark.parametrize("place", ["first", "last"])
def test_an_image_that_cannot_be_aligned_keeps_its_metric_numbers(maps, score, tmp_path, place):
    words = ["--align", "median", "scale_shift", "--csv", tmp_path / "images.csv"]
    _, before = score(maps, *words)
    path = sorted(maps.rglob("*.npy"))[0 if place == "first" else -1]
    depth = np.load(path)
    depth.flat[: depth.size * 2 // 3] = -1.0
    np.save(path, depth)
    _, alone = score(maps)
    outcome, result = score(maps, *words)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("cannot be aligned by median") == 1
    assert "1 of 4 predictions" in outcome.err and path.stem in outcome.err
    assert result["metrics"] == alone["metrics"] and "complete" not in result
    counts = {how: result["aligned"][how]["num_images"] for how in ("median", "scale_shift")}
    assert counts == {"median": 3, "scale_shift": 4}
    rows = rows_of(tmp_path / "images.csv")
    (row,) = (row for row in rows if Path(row["image_path"]).stem == path.stem)
    assert row["abs_rel_median_aligned"] == "" and float(row["abs_rel_scale_shift_aligned"]) > 0
    assert float(row["abs_rel"]) > 0
    others = [float(r["abs_rel_median_aligned"]) for r in rows if r is not row]
    found = result["aligned"]["median"]["metrics"]["abs_rel_median_aligned"]
    assert found == pytest.approx(np.mean(others))
    assert before["aligned"]["median"]["num_images"] == 4


def test_an_alignment_that_no_image_allows_leaves_the_metric_numbers(maps, score):
    for path in maps.rglob("*.npy"):
        depth = np.full_like(np.load(path), -1.0)
        depth.flat[0] = 1.0
        np.save(path, depth)
    outcome, result = score(maps, "--align", "median", "scale_shift")
    assert outcome.code == 0, outcome.err
    assert "4 of 4 predictions cannot be aligned by median" in outcome.err
    assert list(result["aligned"]) == ["scale_shift"] and result["metrics"]["abs_rel"] > 0
