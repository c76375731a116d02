"""How well a distribution of one number per image is calibrated: here of its log median depth.

A distribution is M draws per image, [N, M], natural logarithms of meters; the truth is [N]:

    coverage  share of images whose truth lies in the central interval that should hold 50, 80, 90
              or 95 % of it; width: the mean length of that interval
    pit       share of the draws below the truth: uniform in [0, 1] where all is well
    nll       -ln N(truth; mean, std) with the draws' own mean and std: as if they were a Gaussian
    crps      E|X - truth| - E|X - X'| / 2, in the same unit; asks for no Gaussian

nll and crps are proper scores (Gneiting & Raftery, JASA 2007): they are best for the distribution
that the truth really has, neither wider nor narrower. M draws are not the distribution: quantiles
(Weibull's, k / (M + 1)) and crps (pairs of different draws) are without bias, and nll is too large
by about 1 / M.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from common.evaluation.results import align_columns

LEVELS = (0.5, 0.8, 0.9, 0.95)
# The outermost quantile of the widest interval lies between two draws from here on.
MIN_DRAWS = 39
MIN_STD = 1e-6  # of ln meters


@dataclass(frozen=True)
class Calibration:
    """Means over images. r2: of the draws' means. coverage, width: by level, as "90"."""

    num_images: int
    num_draws: int
    r2: float | None  # None: all images have one and the same true value
    nll: float
    crps: float
    coverage: dict[str, float]
    width: dict[str, float]


def central_intervals(draws: np.ndarray) -> np.ndarray:
    """Lower and upper end of each level's central interval: [len(LEVELS), 2, N]; draws: [N, M]."""
    _check_draws(draws)
    tails = [(1 - level) / 2 for level in LEVELS]
    ends = np.array([[tail, 1 - tail] for tail in tails])
    return np.quantile(draws, ends, axis=1, method="weibull")


def gaussian_nll(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[N], of a Gaussian with mean and (unbiased) standard deviation of the draws [N, M].

    A standard deviation of at least 1e-6 keeps it finite where all draws are one value.
    """
    error, std = truth - draws.mean(axis=1), draws.std(axis=1, ddof=1).clip(MIN_STD)
    return 0.5 * np.log(2 * np.pi) + np.log(std) + 0.5 * (error / std) ** 2


def crps(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[N]: E|X - truth| - E|X - X'| / 2, over the draws [N, M] and their pairs."""
    num_draws = draws.shape[1]
    # The sum of x_j - x_i over pairs i < j of ordered draws counts x_k 2k - M - 1 times.
    counts = 2 * np.arange(1, num_draws + 1) - num_draws - 1
    between = np.sort(draws, axis=1) @ counts / (num_draws * (num_draws - 1))
    return np.abs(draws - truth[:, None]).mean(axis=1) - between


def pit(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[N]: the share of the draws [N, M] below the truth, a tie counting half."""
    below, equal = draws < truth[:, None], draws == truth[:, None]
    return (below + 0.5 * equal).mean(axis=1)


def r_squared(predicted: np.ndarray, truth: np.ndarray) -> float | None:
    """1 - squared error / squared deviation from the true mean; None where nothing deviates."""
    deviation = np.square(truth - truth.mean()).sum()
    if deviation == 0:
        return None
    return float(1 - np.square(truth - predicted).sum() / deviation)


def calibrate(draws: np.ndarray, truth: np.ndarray) -> Calibration:
    """Of the draws [N, M], M >= 39, of N >= 1 images with the truth [N]."""
    if draws.ndim != 2 or truth.shape != draws.shape[:1] or not len(truth):
        raise ValueError(f"draws must be [N, M] and truth [N], got {draws.shape}, {truth.shape}")
    ends = central_intervals(draws)  # [levels, 2, N]
    inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    width = ends[:, 1] - ends[:, 0]
    return Calibration(
        num_images=len(truth),
        num_draws=draws.shape[1],
        r2=r_squared(draws.mean(axis=1), truth),
        nll=float(gaussian_nll(draws, truth).mean()),
        crps=float(crps(draws, truth).mean()),
        coverage=_by_level(inside),
        width=_by_level(width),
    )


def calibrate_groups(
    draws: np.ndarray, truth: np.ndarray, groups: Sequence[str]
) -> dict[str, Calibration]:
    """The same for each group of images, the largest group first; groups: N names."""
    names, numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = sorted(range(len(names)), key=lambda k: (-counts[k], names[k]))
    return {str(names[k]): calibrate(draws[numbers == k], truth[numbers == k]) for k in order}


def image_columns(draws: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """What a per-image table says of the draws: each [N].

    draw_mean and draw_std: of ln meters. Coverage follows from `pit`: |pit - 0.5| <= level / 2.
    """
    return {
        "draw_mean": draws.mean(axis=1),
        "draw_std": draws.std(axis=1, ddof=1),
        "pit": pit(draws, truth),
        "nll": gaussian_nll(draws, truth),
        "crps": crps(draws, truth),
    }


def gaussian_draws(mean: np.ndarray, std: np.ndarray | float, num_draws: int) -> np.ndarray:
    """The quantiles k / (M + 1) of Gaussians [N] in the place of draws: [N, M], no chance in it."""
    levels = np.arange(1, num_draws + 1) / (num_draws + 1)
    quantiles = np.array([NormalDist().inv_cdf(level) for level in levels])
    return mean[:, None] + np.broadcast_to(std, mean.shape)[:, None] * quantiles


def describe(draws: np.ndarray, truth: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """For a result file: `calibrate` over all images, and under `by_category` for each group."""
    by_category = calibrate_groups(draws, truth, groups)
    plain = {name: asdict(calibration) for name, calibration in by_category.items()}
    return {**asdict(calibrate(draws, truth)), "by_category": plain}


def format_calibration(content: Mapping[str, Any]) -> str:
    """An aligned text table of what `describe` returned: all images first, then each group."""
    levels = [f"{100 * level:g}" for level in LEVELS]
    header = [
        "log median depth",
        "images",
        "r2",
        "nll",
        "crps",
        *(f"in {k} %" for k in levels),
        "width 90 %",
    ]
    lines = [header]
    for name, entry in (("all", content), *content["by_category"].items()):
        r2 = "-" if entry["r2"] is None else f"{entry['r2']:.3f}"
        inside = [f"{100 * entry['coverage'][level]:.1f}" for level in levels]
        numbers = [f"{entry[key]:.3f}" for key in ("nll", "crps")]
        lines.append(
            [name, str(entry["num_images"]), r2, *numbers, *inside, f"{entry['width']['90']:.3f}"]
        )
    return align_columns(lines)


def _by_level(values: np.ndarray) -> dict[str, float]:
    return {f"{100 * level:g}": float(v) for level, v in zip(LEVELS, values.mean(1), strict=True)}


def _check_draws(draws: np.ndarray) -> None:
    if draws.shape[1] < MIN_DRAWS:
        raise ValueError(f"{draws.shape[1]} draws per image; at least {MIN_DRAWS}")
