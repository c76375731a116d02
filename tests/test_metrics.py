"""Metrics against an independent numpy rendering, hand-made cases and the reference numbers."""

import math

import numpy as np
import pytest
import torch

from common.evaluation.metrics import (
    METRIC_NAMES,
    average_over_images,
    average_over_pixels,
    compute_metrics,
    sanitize,
    score_image,
)


def numpy_metrics(pred: np.ndarray, gt: np.ndarray) -> dict[str, float]:
    pred, gt = pred.astype(np.float64), gt.astype(np.float64)
    e = np.log(pred) - np.log(gt)
    factor = np.maximum(pred / gt, gt / pred)
    return {
        "abs_rel": np.mean(np.abs(pred - gt) / gt),
        "sq_rel": np.mean((pred - gt) ** 2 / gt),
        "rmse": np.sqrt(np.mean((pred - gt) ** 2)),
        "rmse_log": np.sqrt(np.mean(e**2)),
        "log10": np.mean(np.abs(np.log10(pred) - np.log10(gt))),
        "d1": np.mean(factor < 1.25),
        "d2": np.mean(factor < 1.25**2),
        "d3": np.mean(factor < 1.25**3),
        "silog": 100 * np.sqrt(np.mean(e**2) - np.mean(e) ** 2),
    }


def random_case(seed: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    gt = rng.uniform(0.3, 12, (height, width)).astype(np.float32)
    pred = (gt * np.exp(rng.normal(0.1, 0.3, gt.shape))).astype(np.float32)
    valid = rng.random(gt.shape) < 0.6
    valid[0, 0] = True
    return torch.from_numpy(pred), torch.from_numpy(gt), torch.from_numpy(valid)


@pytest.mark.parametrize(
    ("seed", "height", "width"), [(0, 1, 1), (1, 7, 5), (2, 64, 48), (3, 1, 3)]
)
def test_metrics_equal_numpy(seed, height, width):
    pred, gt, valid = random_case(seed, height, width)
    expected = numpy_metrics(pred[valid].numpy(), gt[valid].numpy())
    assert compute_metrics(pred, gt, valid) == pytest.approx(expected, rel=1e-9, abs=1e-7)


def test_an_image_of_many_chunks_equals_numpy():
    pred, gt, valid = random_case(4, 300, 401)
    valid[100:200] = False  # whole chunks without a valid pixel
    expected = numpy_metrics(pred[valid].numpy(), gt[valid].numpy())
    scores = score_image(pred, gt, valid, max_depth=100)
    assert {name: scores[name] for name in METRIC_NAMES} == pytest.approx(expected, rel=1e-10)
    assert [scores[f"num_{kind}"] for kind in ("pixels", "clamped", "nonfinite")] == [
        int(valid.sum()),
        0,
        0,
    ]


def test_names_and_plain_floats():
    metrics = compute_metrics(*random_case(5, 8, 8))
    assert tuple(metrics) and set(metrics) == set(METRIC_NAMES) and len(METRIC_NAMES) == 9
    assert all(type(value) is float for value in metrics.values())


def test_perfect_prediction():
    gt = torch.tensor([[0.5, 3.0, 9.0]])
    metrics = compute_metrics(gt.clone(), gt, torch.ones_like(gt, dtype=torch.bool))
    shares = {"d1": 1.0, "d2": 1.0, "d3": 1.0}
    assert metrics == {name: shares.get(name, 0.0) for name in METRIC_NAMES}


def test_a_constant_factor_costs_no_silog_and_each_threshold_is_strict():
    gt = torch.tensor([1.0, 2.0, 4.0, 8.0])
    everywhere = torch.ones_like(gt, dtype=torch.bool)
    scores = score_image(
        gt * 1.25, gt, everywhere, max_depth=20
    )  # exact in binary: the ratio is 1.25, not below it
    assert scores["d1"] == 0.0
    assert scores["d2"] == 1.0
    assert scores["silog"] == pytest.approx(0.0, abs=1e-5)
    assert scores["log_ratio"] == pytest.approx(math.log(1.25), rel=1e-12)


def test_masked_pixels_do_not_matter():
    pred, gt, valid = random_case(6, 20, 30)
    spoiled = torch.where(valid, pred, math.nan)
    assert compute_metrics(spoiled, torch.where(valid, gt, 0.0), valid) == compute_metrics(
        pred, gt, valid
    )


def test_bad_arguments_are_refused():
    pred, gt, valid = random_case(7, 4, 6)
    with pytest.raises(ValueError, match=r"\(6, 4\).*\(4, 6\)"):
        compute_metrics(pred.T, gt, valid)
    with pytest.raises(ValueError, match="no valid pixel"):
        compute_metrics(pred, gt, torch.zeros_like(valid))


def test_score_image_sanitizes_and_counts_scored_pixels_only():
    gt = torch.full((2, 5), 3.0)
    pred = gt.clone()
    pred[0] = torch.tensor([math.nan, math.inf, -math.inf, -2.0, 50.0])
    pred[1, :2] = math.nan
    valid = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])
    scores = score_image(pred, gt, valid, max_depth=10.0)
    clean = torch.tensor([[1e-3, 10, 1e-3, 1e-3, 10], [3] * 5])
    counts = {"num_pixels": 8, "num_clamped": 2, "num_nonfinite": 3}
    expected = {**compute_metrics(clean, gt, valid), **counts, "log_ratio": scores["log_ratio"]}
    assert scores == pytest.approx(expected, rel=1e-9)
    nothing = score_image(pred, gt, torch.zeros_like(valid), max_depth=10.0)
    assert nothing == dict.fromkeys(counts, 0)


def test_sanitize_counts_each_pixel_once():
    pred = torch.tensor([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-3, 5.0, 10.0, 10.5])
    clean, *counts = sanitize(pred, max_depth=10.0)
    assert clean.tolist() == pytest.approx([1e-3, 10, 1e-3, 1e-3, 1e-3, 1e-3, 5, 10, 10])
    assert counts == [3, 3]
    assert pred[6] == 5.0 and torch.isnan(pred[0])  # the input is left alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sanitize_leaves_good_depth_alone(dtype):
    pred = torch.rand(50, 50, dtype=dtype) * 9 + 0.5
    clean, *counts = sanitize(pred, 10.0)
    assert torch.equal(clean, pred) and clean.dtype == dtype and counts == [0, 0]


def test_average_over_pixels_equals_one_big_image():
    cases = [random_case(seed, 10, 5 + 9 * seed) for seed in range(1, 5)]
    pixels = [(pred[valid], gt[valid]) for pred, gt, valid in cases]
    rows = [score_image(*case, max_depth=100) for case in cases]
    everything = numpy_metrics(*(np.concatenate(side) for side in zip(*pixels, strict=True)))
    assert average_over_pixels(rows) == pytest.approx(everything, rel=1e-9)
    plain = {name: np.mean([row[name] for row in rows]) for name in METRIC_NAMES}
    assert average_over_images(rows) == pytest.approx(plain, rel=1e-12)
    assert average_over_images(rows)["rmse"] != pytest.approx(everything["rmse"], rel=1e-4)
