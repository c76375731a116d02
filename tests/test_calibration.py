"""Calibration of draws against independent renderings, and against distributions that are known."""

import numpy as np
import pytest
from scipy import stats

from common.evaluation.calibration import (
    LEVELS,
    MIN_DRAWS,
    calibrate,
    calibrate_groups,
    central_intervals,
    crps,
    format_calibration,
    gaussian_draws,
    gaussian_nll,
    pit,
    r_squared,
)
from common.evaluation.calibration import describe as describe_calibration
from common.evaluation.ridge import fit_ridge

MANY = 4000


def drawn(seed: int, num_images: int = MANY, num_draws: int = MIN_DRAWS, spread: float = 1.0):
    """Draws about means of their own, and truths of the same distribution if `spread` is 1."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(1, 0.4, num_images), rng.uniform(0.1, 0.5, num_images)
    draws = mean[:, None] + spread * std[:, None] * rng.normal(size=(num_images, num_draws))
    return draws, mean + std * rng.normal(size=num_images)


@pytest.mark.parametrize("num_draws", [MIN_DRAWS, 100])
def test_truths_of_the_same_distribution_are_covered_as_promised(num_draws):
    """Few draws included, whose plain quantiles would be too narrow."""
    found = calibrate(*drawn(0, num_draws=num_draws))
    assert list(found.coverage) == ["50", "80", "90", "95"]
    for level in LEVELS:
        assert found.coverage[f"{100 * level:g}"] == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize(("spread", "covered"), [(0.5, (0.2, 0.75)), (2.0, (0.8, 1.0))])
def test_too_narrow_and_too_wide_are_told_apart(spread, covered):
    found = calibrate(*drawn(1, spread=spread))
    assert found.coverage["50"] == pytest.approx(covered[0], abs=0.08)
    assert found.coverage["95"] == pytest.approx(covered[1], abs=0.08)
    right = calibrate(*drawn(1))
    assert min(found.nll - right.nll, found.crps - right.crps) > 0.005


def test_scores_equal_plain_renderings():
    draws, truth = drawn(2, num_images=5)
    for n, (row, y) in enumerate(zip(draws, truth, strict=True)):
        gaussian = stats.norm(row.mean(), row.std(ddof=1))
        assert gaussian_nll(draws, truth)[n] == pytest.approx(-gaussian.logpdf(y), rel=1e-9)
        pairs = [abs(a - b) for i, a in enumerate(row) for j, b in enumerate(row) if i != j]
        expected = np.mean(np.abs(row - y)) - np.mean(pairs) / 2
        assert crps(draws, truth)[n] == pytest.approx(expected, rel=1e-9)
        assert pit(draws, truth)[n] == np.mean(row < y)


def test_crps_of_a_gaussian_is_the_closed_form():
    """sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), Gneiting and Raftery's equation 21."""
    mean, std, truth = np.array([0.3, 1.0]), np.array([0.2, 0.5]), np.array([0.5, 0.1])
    z = (truth - mean) / std
    closed = std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
    draws = gaussian_draws(mean, std, 4000)
    assert crps(draws, truth) == pytest.approx(closed, rel=2e-3)
    expected = -stats.norm(mean, std).logpdf(truth)
    assert gaussian_nll(draws, truth) == pytest.approx(expected, abs=4e-3)


def test_quantiles_in_the_place_of_draws_give_the_gaussians_intervals():
    ends = central_intervals(gaussian_draws(np.zeros(1), 1.0, 1999))
    for level, (low, high) in zip(LEVELS, ends[..., 0], strict=True):
        assert (low, high) == pytest.approx(stats.norm.interval(level), rel=1e-3)


def test_draws_without_spread_are_wrong_and_not_hidden():
    draws = np.ones((2, MIN_DRAWS))
    found = calibrate(draws, np.array([1.5, 0.5]))
    assert (found.width["90"], found.coverage["95"]) == (0, 0)
    assert 1e6 < found.nll < np.inf
    assert found.crps == pytest.approx(0.5)


def test_r_squared_is_none_where_there_is_nothing_to_explain():
    assert r_squared(np.array([1.0, 2.0]), np.array([1.5, 1.5])) is None
    assert r_squared(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 1
    assert r_squared(np.array([1.5, 1.5]), np.array([1.0, 2.0])) == 0


def test_groups_come_largest_first_and_add_up():
    draws, truth = drawn(3, num_images=9)
    groups = ["b"] * 2 + ["a"] * 5 + ["c"] * 2
    parts = calibrate_groups(draws, truth, groups)
    assert [(name, part.num_images) for name, part in parts.items()] == [
        ("a", 5),
        ("b", 2),
        ("c", 2),
    ]
    whole = calibrate(draws, truth)
    assert sum(p.num_images * p.crps for p in parts.values()) == pytest.approx(9 * whole.crps)
    table = format_calibration(describe_calibration(draws, truth, groups))
    assert [line.split()[0] for line in table.splitlines()] == ["log", "all", "a", "b", "c"]


@pytest.mark.parametrize(
    ("draws", "truth"),
    [
        (np.zeros((3, MIN_DRAWS - 1)), np.zeros(3)),
        (np.zeros((3, MIN_DRAWS)), np.zeros(2)),
        (np.zeros((0, MIN_DRAWS)), np.zeros(0)),
    ],
)
def test_what_cannot_be_judged_is_refused(draws, truth):
    with pytest.raises(ValueError, match="draws"):
        calibrate(draws, truth)


@pytest.mark.parametrize("dim", [0, 3])
def test_ridge_predicts_and_leaves_out_as_refitting_does(dim):
    rng = np.random.default_rng(4)
    x, penalty = rng.normal(2, 1, (12, dim)), 2.0
    y = 1 + x.sum(axis=1) + rng.normal(0, 0.3, 12)
    fitted = fit_ridge(x, y, penalty)
    errors = []
    for left_out in range(12):
        keep = np.arange(12) != left_out
        other = fit_ridge(x[keep], y[keep], penalty)
        errors.append(y[left_out] - other.predict(x[left_out : left_out + 1])[0])
    assert fitted.sigma == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-9)
    # The gradient of |y - prediction|^2 + penalty |w|^2 is zero.
    residual = y - fitted.predict(x)
    assert residual.sum() == pytest.approx(0, abs=1e-9)
    gradient = (x - x.mean(0)).T @ residual - penalty * fitted.weights
    assert gradient == pytest.approx(np.zeros(dim), abs=1e-9)
