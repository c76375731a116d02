"""Scenes drawn from what the words alone say, and whether the size of the rooms is calibrated.

One number is judged: the natural logarithm of the median depth (meters) over an image's scored
pixels, which is the scale of the scene. `common/evaluation/calibration.py` says by what.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from common.data.batch import Batch, Failure
from common.data.dataset import DepthDataset
from common.errors import UserError
from common.evaluation.calibration import describe, image_columns, r_squared
from common.evaluation.results import EvalResult
from common.evaluation.scoring import (
    EvalConfig,
    ScoringRule,
    median_at,
    scored_points,
)
from common.evaluation.watchers import NOBODY, Watchers
from common.programs.assembly import evaluation_batches
from common.programs.inference import Predict, evaluate_dataset, scoring_rule
from common.programs.run_config import RunConfig
from common.progress import progress_bar
from common.runtime.processes import Processes
from common.runtime.randomness import DrawRandom

DrawScene = Callable[[nn.Module, Batch, DrawRandom], Tensor]


@dataclass(frozen=True)
class WordsAlone:
    """What a network says from the words alone: a distribution of scenes.

    predict: (network, batch) -> its mean scene. sample: (network, batch, random numbers) -> one
    scene of it, drawn. Both: depth [B, 1, H, W] in meters; of the images only the size is used.
    """

    predict: Predict
    sample: DrawScene


@dataclass(frozen=True)
class Draws:
    """Which scenes to draw for each image.

    sample: (batch, random numbers) -> depth [B, 1, H, W] in meters. count: scenes per image. Draws
    are functions of the seed and the image's position.
    """

    sample: Callable[[Batch, DrawRandom], Tensor]
    count: int
    seed: int


def score_words(
    model: nn.Module,
    words: WordsAlone,
    dataset: DepthDataset,
    config: RunConfig,
    processes: Processes,
    num_draws: int,
    watchers: Watchers = NOBODY,
) -> EvalResult:
    """Score the mean scene of what the words alone say, and as many draws of it per image."""
    data, setting = config.data, config.eval
    result = evaluate_dataset(
        model, words.predict, dataset, setting, data.max_depth, processes, watchers, True
    )
    draws = Draws(partial(words.sample, model), num_draws, config.seed)
    rule = scoring_rule(dataset, setting, data.max_depth)
    drawn = draw_log_medians(draws, dataset, setting, rule, processes)
    return with_calibration(result, drawn, dataset.data_set.category_of)


@torch.no_grad()
def draw_log_medians(
    draws: Draws,
    dataset: DepthDataset,
    config: EvalConfig,
    rule: ScoringRule,
    processes: Processes,
) -> dict[str, np.ndarray]:
    """Key -> ln of the median depth of each of its draws [M]; without images of no valid pixel."""
    drawn: list[tuple[str, np.ndarray]] = []
    batches = evaluation_batches(dataset, config, processes)
    with progress_bar("draw", batches.num_images, unit="image", stays=False) as bar:
        for batch in batches:
            if isinstance(batch, Failure):  # the result tells of it
                bar.update()
                continue
            positions = batch.position.tolist()
            rngs = (DrawRandom(draws.seed, positions, number) for number in range(draws.count))
            sent = batch.to(processes.device)
            scenes = (draws.sample(sent, rng).float() for rng in rngs)
            drawn += zip(batch.key, _log_medians(scenes, sent, rule), strict=True)
            bar.update(len(batch))
    return {key: values for key, values in processes.gather(drawn) if np.isfinite(values).all()}


def _log_medians(scenes: Iterable[Tensor], batch: Batch, rule: ScoringRule) -> np.ndarray:
    """[B, number of scenes]; nan for images that cannot be scored. scenes: each [B, 1, H, W]."""
    images = zip(batch.gt_depth, batch.key, strict=True)
    points = [_points(gt[0], batch.size, key, rule) for gt, key in images]
    medians = [
        [
            float("nan") if at is None else median_at(depth[0], at, rule.max_depth)
            for depth, at in zip(scene, points, strict=True)
        ]
        for scene in scenes
    ]
    return np.log(medians).T


def _points(gt: Tensor, size: tuple[int, int], key: str, rule: ScoringRule) -> Tensor | None:
    """None where there is nothing to score, which the result tells of."""
    try:
        points = scored_points(gt, size, key, rule)
    except UserError:
        return None
    return points if len(points) else None


def with_calibration(
    result: EvalResult, drawn: dict[str, np.ndarray], category_of: Callable[[str], str]
) -> EvalResult:
    """The result with what its draws are worth: over all images, by category, and in its rows.

    result: its rows hold medians. drawn: key -> draws [M] of ln meters; images without are left
    out. category_of: key -> kind of scene.
    """
    rows = [row for row in result.per_image if row["image_path"] in drawn]
    if not rows:
        raise UserError("no image has draws that can be scored")
    draws = np.stack([drawn[row["image_path"]] for row in rows])  # [N, M]
    truth, predicted = (np.log([row[k] for row in rows]) for k in ("gt_median", "pred_median"))
    categories = [category_of(row["image_path"]) for row in rows]
    calibration = {
        "r2_of_mean_scene": r_squared(predicted, truth),
        **describe(draws, truth, categories),
    }
    columns = image_columns(draws, truth)
    added = {
        row["image_path"]: {
            "category": category,
            **{name: float(values[n]) for name, values in columns.items()},
        }
        for n, (row, category) in enumerate(zip(rows, categories, strict=True))
    }
    nothing = dict.fromkeys(["category", *columns])
    per_image = [{**row, **added.get(row["image_path"], nothing)} for row in result.per_image]
    return replace(result, per_image=per_image, calibration=calibration)
