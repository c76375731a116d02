"""Scenes drawn from what the words alone say, and whether the size of the rooms is calibrated.

One number is judged: the natural logarithm of the median depth (meters) over an image's scored
pixels, which is the scale of the scene. `common/evaluation/calibration.py` says by what.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from common.data.batch import Batch, Failure
from common.data.dataset import DepthDataset
from common.errors import UserError
from common.evaluation.calibration import describe, image_columns, r_squared
from common.evaluation.results import EvalResult
from common.evaluation.scoring import EvalConfig, ScoringRule, scored_median
from common.programs.assembly import evaluation_batches
from common.programs.inference import scoring_rule
from common.programs.run_config import RunConfig
from common.progress import progress_bar
from common.runtime.processes import Processes
from common.runtime.randomness import DrawRandom

SceneDraw = Callable[[nn.Module, Batch, DrawRandom], Tensor]


@dataclass(frozen=True)
class Draws:
    """Which scenes to draw for each image.

    sample: (batch, random numbers) -> depth [B, 1, H, W] in meters. count: scenes per image. Draws
    are functions of the seed and the image's position.
    """

    sample: Callable[[Batch, DrawRandom], Tensor]
    count: int
    seed: int


def calibrated(
    result: EvalResult,
    draws: Draws,
    dataset: DepthDataset,
    config: RunConfig,
    processes: Processes,
) -> EvalResult:
    """The result, whose rows hold medians, with what the draws for its images are worth."""
    rule = scoring_rule(dataset, config.eval, config.data.max_depth)
    drawn = draw_log_medians(draws, dataset, config.eval, rule, processes)
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
    """[B, number of scenes]; nan for images that cannot be scored."""
    columns = []
    for scene in scenes:
        images = zip(scene[:, 0], batch.gt_depth, batch.key, strict=True)
        columns.append([_log_median(depth, gt[0], key, rule) for depth, gt, key in images])
    return np.array(columns).T


def _log_median(depth: Tensor, gt: Tensor, key: str, rule: ScoringRule) -> float:
    try:
        return math.log(scored_median(depth, gt, key, rule))
    except UserError:  # the result tells of it
        return math.nan


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
