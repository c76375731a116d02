"""Intervals and p values: against closed forms, and by how often they are right on made-up data."""

import numpy as np
import pytest

from common.evaluation.comparison import (
    NUM_RESAMPLES,
    Estimate,
    compare,
    draw_deviations,
    estimate,
    estimate_all,
    holm,
    two_sided_p,
)

SIZES = np.array([2, 1, 5, 1, 1, 14, 13, 9, 2, 7, 6, 3, 4, 3, 3, 13, 3, 1, 4, 8, 2, 2, 3, 12])
FEW = 2000  # resamples, where there are many studies
SCENES = np.repeat(np.arange(len(SIZES)), SIZES)


def made_up(rng, num_seeds, *, of_seed=0.0, of_scene=0.0, of_both=0.0, of_image=0.1):
    """Values [S, N] of mean 0 with the given standard deviations."""
    by_seed = of_seed * rng.standard_normal((num_seeds, 1))
    by_scene = of_scene * rng.standard_normal(len(SIZES))
    by_both = of_both * rng.standard_normal((num_seeds, len(SIZES)))
    noise = of_image * rng.standard_normal((num_seeds, len(SCENES)))
    return by_seed + (by_scene + by_both)[:, SCENES] + noise


def repeat(num_seeds, times=300, **deviations):
    """Estimates of so many studies in which nothing differs, [times]."""
    rng = np.random.default_rng(5)
    studies = [made_up(rng, num_seeds, **deviations) for _ in range(times)]
    return [
        estimate(values, SCENES, seed=number, num_resamples=FEW)
        for number, values in enumerate(studies)
    ]


@pytest.mark.parametrize(
    ("num_seeds", "deviations"),
    [
        (1, {"of_scene": 0.3}),
        (3, {"of_seed": 0.3}),
        (5, {"of_seed": 0.1, "of_scene": 0.3}),
        (5, {"of_scene": 0.2, "of_both": 0.2}),
    ],
)
def test_intervals_cover_the_truth_and_p_values_are_small_by_chance_alone(num_seeds, deviations):
    """Of 300 studies, 285 at 95 %; three standard deviations of that number are 11."""
    estimates = repeat(num_seeds, **deviations)
    covered = sum(each.low <= 0 <= each.high for each in estimates)
    assert covered >= 274
    assert sum(each.p < 0.05 for each in estimates) == pytest.approx(300 - covered, abs=2)
    assert sum(each.p < 0.5 for each in estimates) <= 150 + 26


def test_images_taken_for_independent_would_cover_too_little():
    """What scenes are for: the same studies, each image a scene of its own."""
    rng = np.random.default_rng(5)
    studies = [made_up(rng, 1, of_scene=0.3) for _ in range(100)]
    alone = np.arange(len(SCENES))
    naive = [estimate(values, alone, num_resamples=FEW) for values in studies]
    assert sum(each.low <= 0 <= each.high for each in naive) < 75


def test_a_difference_that_is_there_is_found_as_often_as_promised():
    deviations = {"of_seed": 0.02, "of_scene": 0.3}
    detectable = np.median([e.detectable for e in repeat(5, times=30, **deviations)])
    rng = np.random.default_rng(6)
    studies = [made_up(rng, 5, **deviations) + detectable for _ in range(100)]
    found = [estimate(values, SCENES, num_resamples=FEW) for values in studies]
    assert 68 <= sum(e.differs for e in found) <= 92


@pytest.mark.parametrize("num_units", [3, 5, 38])
def test_deviations_of_equal_units_are_students(num_units):
    """Their quantiles against Student's table: t(2), t(4), t(37) at 97.5 %."""
    table = {3: 4.303, 5: 2.776, 38: 2.026}
    values = np.random.default_rng(0).standard_normal((num_units, 1))
    draws = draw_deviations(values, np.ones(num_units), (0,), 100_000)
    error = values.std(ddof=1) / np.sqrt(num_units)
    half_width = np.quantile(draws, 0.975) - np.quantile(draws, 0.025)
    assert half_width / 2 / error == pytest.approx(table[num_units], rel=0.08)


def test_mean_and_spread_against_plain_numpy():
    values = np.random.default_rng(1).standard_normal((4, len(SCENES))) + 3
    found = estimate(values, SCENES)
    assert found.mean == pytest.approx(values.mean())
    assert found.seed_std == pytest.approx(np.std(values.mean(1), ddof=1))
    assert (found.num_seeds, found.num_images, found.num_scenes) == (4, 122, 24)
    assert found.low < found.mean < found.high


def test_a_comparison_is_paired():
    """Images that are hard for both say nothing about the difference."""
    rng = np.random.default_rng(2)
    theirs = made_up(rng, 3, of_scene=5.0)
    found = compare(theirs - 0.01, theirs, SCENES)
    assert found.mean == pytest.approx(-0.01)
    assert found.low == pytest.approx(found.high)
    assert found.differs
    assert found.p == 2 / (NUM_RESAMPLES + 1)
    assert compare(theirs, theirs, SCENES) == Estimate(0, 0, 0, 0, 1, 3, 122, 24)


def test_metrics_together_are_as_each_alone_and_the_seed_decides():
    values = made_up(np.random.default_rng(3), 3, of_scene=0.2, of_seed=0.1)
    together = estimate_all(np.stack([values, 2 * values + 1], axis=-1), SCENES, seed=4)
    alone = estimate(values, SCENES, seed=4)
    assert alone == estimate(values, SCENES, seed=4)
    assert alone != estimate(values, SCENES, seed=5)
    assert together[0].low == pytest.approx(alone.low)
    assert together[1].high == pytest.approx(2 * alone.high + 1)


def test_names_and_order_of_scenes_and_images_mean_nothing():
    rng = np.random.default_rng(4)
    values = made_up(rng, 2, of_scene=0.2)
    found = estimate(values, SCENES)
    assert estimate(values, SCENES * 7 - 3) == found
    order = np.argsort(SCENES, kind="stable")[::-1]
    turned = estimate(values[:, order], SCENES[order])
    assert turned.low == pytest.approx(found.low)


def test_one_scene_has_no_interval_and_one_seed_no_spread():
    alone = estimate(np.ones((3, 5)), np.zeros(5, int))
    assert np.isnan([alone.low, alone.high, alone.p, alone.detectable]).all()
    assert alone.seed_std == 0
    assert not alone.has_interval
    assert not alone.differs
    single = estimate(made_up(np.random.default_rng(0), 1), SCENES)
    assert np.isnan(single.seed_std)
    assert single.low < single.high


@pytest.mark.parametrize(
    ("values", "scenes"),
    [
        (np.ones(3), np.arange(3)),
        (np.ones((2, 3)), np.arange(2)),
        (np.ones((2, 0)), np.arange(0)),
        (np.array([[1.0, np.nan]]), np.arange(2)),
    ],
)
def test_what_is_refused(values, scenes):
    with pytest.raises(ValueError, match="must be|finite"):
        estimate(values, scenes)


def test_two_systems_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="need one shape"):
        compare(np.ones((2, 3)), np.ones((3, 3)), np.arange(3))


def test_p_against_counts():
    draws = np.array([[-1.0, 1.0, 0.0]] * 1 + [[1.0, 1.0, 0.0]] * 98)
    assert two_sided_p(draws).tolist() == [2 * 2 / 100, 2 * 1 / 100, 1.0]


def test_holm_by_hand():
    """Holm's steps of 0.01, 0.03, 0.04: 3 x 0.01, 2 x 0.03, and no less than that."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    corrected = holm([float("nan"), 0.02, 0.02])
    assert np.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.04, 0.04])


def test_holm_keeps_the_error_of_a_family():
    rng = np.random.default_rng(0)
    families = rng.random((2000, 10))
    wrong = np.mean([min(holm(p)) < 0.05 for p in families])
    assert wrong == pytest.approx(0.05, abs=0.015)
