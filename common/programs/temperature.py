"""One temperature for a distribution of scenes, fitted on images that were not trained on.

A network that knows its training images by heart is surer of the size of a room than it should
be. One number corrects it, as for classifiers (Guo et al., ICML 2017): all standard deviations
times T, which changes neither the mean scene nor which caption leaves more open. T has the least
Gaussian NLL of the log median depth where standardized errors have a mean square of 1:

    T^2 = mean over images of ((ln median gt - mean of the draws) / std of the draws)^2

As depth is not linear in the latent, the draws are made anew with each T.
"""

import math
from collections.abc import Callable

import numpy as np
from torch import nn

from common.data.dataset import DepthDataset
from common.errors import UserError
from common.evaluation.results import describe_failures
from common.programs.draws import WordsAlone, score_words
from common.programs.run_config import RunConfig
from common.runtime.processes import Processes

NUM_DRAWS = 50
ROUNDS = 3


def fit_temperature(
    model: nn.Module,
    words: WordsAlone,
    widen: Callable[[float], None],
    dataset: DepthDataset,
    config: RunConfig,
    processes: Processes,
) -> float:
    """Widen the model's distribution to fit the data set; returns by how much in all.

    widen: multiplies the standard deviations. A `UserError` where an image cannot be scored.
    """
    total = 1.0
    for _ in range(ROUNDS):
        result = score_words(model, words, dataset, config, processes, NUM_DRAWS)
        if result.failures:
            raise UserError(describe_failures(result))
        columns = ("gt_median", "draw_mean", "draw_std")
        truth, mean, std = (np.array([row[k] for row in result.per_image]) for k in columns)
        factor = temperature((np.log(truth) - mean) / std.clip(1e-6), NUM_DRAWS)
        widen(factor)
        total *= factor
    return total


def temperature(errors: np.ndarray, num_draws: int) -> float:
    """Of standardized errors [N], whose mean and std are of so many draws and not exact.

    Of M Gaussian draws about the truth's own mean, the expected square is not 1, but
    (1 + 1 / M) (M - 1) / (M - 3).
    """
    expected = (1 + 1 / num_draws) * (num_draws - 1) / (num_draws - 3)
    return math.sqrt(np.square(errors).mean() / expected)
