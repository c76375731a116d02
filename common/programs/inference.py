"""From a network and a data set to metrics and picture panels.

Every stage hands over its `predict(model, batch) -> depth [B, 1, H, W]`; the rest is the same.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from common.data.batch import Batch, Item, collate_eval
from common.data.dataset import DepthDataset
from common.evaluation.panels import denormalize, panel
from common.evaluation.results import EvalResult
from common.evaluation.scoring import EvalConfig, ScoringRule, evaluate_depth
from common.evaluation.watchers import NOBODY, Watchers
from common.images.transforms import bottom_crop
from common.programs.assembly import evaluation_batches
from common.programs.remedies import evaluation_remedies
from common.runtime.processes import Processes
from common.runtime.signals import until_signal
from common.shortages import shortages_told

Predict = Callable[[nn.Module, Batch], Tensor]


def evaluate_dataset(
    model: nn.Module,
    predict: Predict,
    dataset: DepthDataset,
    config: EvalConfig,
    max_depth: float,
    processes: Processes,
    watchers: Watchers = NOBODY,
    with_medians: bool = False,
) -> EvalResult:
    """Score `model` on `dataset`, the images shared out over all processes; float32.

    watchers: are shown each image; predictions as they come from the network are of the size of its
    input, which for KITTI is the crop of 352x1216. with_medians: the rows also hold the median
    depths.
    """
    model.eval()
    batches = evaluation_batches(dataset, config, processes)
    with shortages_told(evaluation_remedies(config)):
        return evaluate_depth(
            prediction_on(processes.device, model, predict),
            until_signal(batches),
            scoring_rule(dataset, config, max_depth, with_medians),
            num_images=batches.num_images,
            num_skipped=dataset.split.num_without_gt,
            num_missing=dataset.split.num_missing,
            gather=processes.gather,
            watchers=watchers,
        )


def prediction_on(
    device: torch.device, model: nn.Module, predict: Predict
) -> Callable[[Batch], Tensor]:
    """batch, wherever it is -> float32 depth [B, 1, H, W] in meters on the network's device."""
    return lambda batch: predict(model, batch.to(device)).float()


def scoring_rule(
    dataset: DepthDataset, config: EvalConfig, max_depth: float, with_medians: bool = False
) -> ScoringRule:
    """How predictions for the data set are scored. max_depth: meters."""
    is_cropped = dataset.data_set.crop_size is not None
    return ScoringRule(
        config.protocol,
        max_depth,
        config.flip,
        is_cropped,
        all_captions=config.reads_all_captions,
        with_medians=with_medians,
    )


def draw_prediction_panels(
    model: nn.Module, predict: Predict, dataset: DepthDataset, count: int = 4
) -> list[np.ndarray]:
    """Panels of `count` images spread over the data set, see `draw_prediction_panel`."""
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    return [draw_prediction_panel(model, predict, dataset, int(i)) for i in indices]


@torch.no_grad()
def draw_prediction_panel(
    model: nn.Module, predict: Predict, dataset: DepthDataset, index: int, title: str = ""
) -> np.ndarray:
    """RGB, ground truth, prediction and error map of one image, with its caption; uint8 RGB."""
    model.eval()
    item, gt = item_to_draw(dataset, index)
    batch = collate_eval([item]).to(next(model.parameters()).device)
    pred = predict(model, batch)[0, 0].float().cpu().numpy()
    return panel(denormalize(item.image), gt, pred, item.caption, title=title or item.key)


def item_to_draw(dataset: DepthDataset, index: int) -> tuple[Item, np.ndarray]:
    """An item for evaluation, and its ground truth [h, w] in meters, which shows the same view."""
    item = dataset[index]
    assert item.gt_depth is not None
    gt = item.gt_depth[0].numpy()
    if dataset.data_set.crop_size is not None:
        gt = bottom_crop(gt, dataset.data_set.crop_size)  # as its image is
    return item, gt
