"""Is one system better than another? Means over seeds and images, with what chance would change.

Two things of a study are drawn by chance: the seed of a training, and the scenes of the test
images. Images of one scene are nearly one picture, so scenes are resampled and not images, and both
systems keep their values of the same image and seed: a paired bootstrap by clusters (Efron and
Tibshirani 1993, ch. 16; Davison and Hinkley 1997, ch. 3.8).

    mean = over seeds and images, every image counting the same, as the metrics are published
    draw = mean + deviation of resampled scenes + deviation of resampled seeds

The mean of n resampled units varies too little where n is small: by a factor (n - 1) / n, and
without the tails of Student's t. So each deviation is multiplied by sqrt(n / (n - 1)), and by a
draw of sqrt(nu / chi2(nu)) with nu = n - 1, which is what makes a normal variable Student's. Scenes
of different size count as fewer, n = (sum of sizes)^2 / sum of sizes^2 (Carter, Schnepel and
Steigerwald 2017, without their term for leverage). Where seeds are all that varies, a nominal 95 %
interval of 3 (5) of them would cover 73 (83) % without this. What differs between seeds in another
way in every scene is counted twice: the interval is then too wide rather than too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scenes = Sequence[int] | NDArray[np.integer]
NUM_RESAMPLES = 10_000
LEVEL = 0.95
# Half of a 95 % interval is 1.96 standard errors; a difference of 1.96 + 0.84 of them is found by
# four of five repetitions of the study.
_TO_DETECTABLE = (1.95996 + 0.84162) / 1.95996
_CHUNK_CELLS = 2_000_000  # resampled units held at a time


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and images, or a mean difference, and how far chance may have moved it.

    seed_std: sample standard deviation of the seeds' means over images; nan for one seed. low,
    high: the 95 % interval; nan for one scene. p: two-sided, of a true mean of 0: the smallest
    level whose interval leaves out 0, at least 2 / (resamples + 1); nan where there is no interval.
    One seed: the interval tells of other scenes, not of other trainings.
    """

    mean: float
    seed_std: float
    low: float
    high: float
    p: float
    num_seeds: int
    num_images: int
    num_scenes: int

    @property
    def has_interval(self) -> bool:
        return self.num_scenes > 1

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    @property
    def detectable(self) -> float:
        """The true difference that four of five such studies would tell from 0."""
        return _TO_DETECTABLE * (self.high - self.low) / 2


def compare(ours: Floats, theirs: Floats, scenes: Scenes, *, seed: int = 0) -> Estimate:
    """The mean of ours - theirs.

    ours, theirs: [S, N], one value per seed and image, in the same order of both. scenes: [N],
    equal numbers for images of one scene. ValueError for other shapes and for values that are not
    finite.
    """
    if np.shape(ours) != np.shape(theirs):
        raise ValueError(f"ours {np.shape(ours)} and theirs {np.shape(theirs)}: need one shape")
    return estimate(np.asarray(ours) - np.asarray(theirs), scenes, seed=seed)


def estimate(
    values: Floats, scenes: Scenes, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Estimate:
    """The mean of values [S, N]; see `compare`."""
    metrics = np.asarray(values, dtype=float)[..., None]  # [S, N, 1]
    return estimate_all(metrics, scenes, seed=seed, num_resamples=num_resamples)[0]


def estimate_all(
    values: Floats, scenes: Scenes, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> list[Estimate]:
    """`estimate` of each metric of values [S, N, M], all from the same resamples."""
    values = np.asarray(values, dtype=float)
    numbers = np.unique(np.asarray(scenes), return_inverse=True)[1]  # 0, 1, ...
    _check(values, numbers)
    num_seeds, num_images, num_metrics = values.shape
    of_seeds = values.mean(1)  # [S, M]
    mean = of_seeds.mean(0)
    spread = of_seeds.std(0, ddof=1) if num_seeds > 1 else np.full(num_metrics, np.nan)
    counts = np.bincount(numbers)
    facts = (num_seeds, num_images, len(counts))
    low, high, p = (np.full(num_metrics, np.nan) for _ in range(3))
    if len(counts) > 1:
        sums = np.zeros((len(counts), num_metrics))  # [K, M]
        np.add.at(sums, numbers, values.mean(0))
        draws = mean + draw_deviations(sums, counts, (seed, 0), num_resamples)  # [B, M]
        if num_seeds > 1:
            draws += draw_deviations(of_seeds, np.ones(num_seeds), (seed, 1), num_resamples)
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        p = two_sided_p(draws)
    columns = np.stack([mean, spread, low, high, p], axis=1).tolist()
    return [
        Estimate(each_mean, each_spread, each_low, each_high, each_p, *facts)
        for each_mean, each_spread, each_low, each_high, each_p in columns
    ]


def _check(values: Floats, scenes: NDArray[np.integer]) -> None:
    if values.ndim != 3 or 0 in values.shape[:2] or scenes.shape != values.shape[1:2]:
        raise ValueError(
            f"values {values.shape} must be [seeds, images, metrics], at least one of each, and "
            f"each image needs a scene: {scenes.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"values {values.shape} must be finite")


def draw_deviations(
    sums: Floats, counts: NDArray, seed: tuple[int, ...], num_resamples: int
) -> Floats:
    """Deviations of the mean over units drawn anew, [num_resamples, M].

    sums: [K, M], of the values in each of K >= 2 units. counts: [K], how many values these are.
    """
    num_units = len(sums)
    rng = np.random.default_rng(seed)
    mean = sums.sum(0) / counts.sum()
    parts = [
        (weights @ sums) / (weights @ counts)[:, None] - mean
        for weights in _draw_weights(num_units, num_resamples, rng)
    ]
    num_effective = counts.sum() ** 2 / (counts**2).sum()
    degrees = max(num_effective - 1, 1.0)  # less has tails without end
    tails = np.sqrt(degrees / rng.chisquare(degrees, (num_resamples, 1)))
    return np.concatenate(parts) * tails * np.sqrt(num_effective / (num_effective - 1))


def _draw_weights(num_units: int, num_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each unit was drawn, [resamples, units], some resamples at a time."""
    size = max(1, _CHUNK_CELLS // num_units)
    for start in range(0, num_resamples, size):
        rows = min(size, num_resamples - start)
        drawn = rng.integers(num_units, size=(rows, num_units))
        cells = (drawn + num_units * np.arange(rows)[:, None]).ravel()
        counted = np.bincount(cells, minlength=rows * num_units)
        yield counted.reshape(rows, num_units).astype(float)


def two_sided_p(draws: Floats) -> Floats:
    """[M]: twice the share of draws [B, M] on the rarer side of 0, never 0 itself."""
    rarer = np.minimum((draws <= 0).sum(0), (draws >= 0).sum(0))
    return np.minimum(1.0, 2 * (rarer + 1) / (len(draws) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for how many there are (Holm 1979); nan is no test, and stays.

    Whoever calls all below 0.05 real is wrong about any of them in at most 5 % of such families.
    """
    p = np.asarray(p_values, dtype=float)
    order = [index for index in np.argsort(p) if np.isfinite(p[index])]
    steps = ((len(order) - rank) * p[index] for rank, index in enumerate(order))
    adjusted = p.copy()
    adjusted[order] = np.minimum(1.0, list(accumulate(steps, max)))
    return adjusted.tolist()
