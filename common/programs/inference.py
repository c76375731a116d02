"""From a network and a data set to metrics and picture panels.

Every stage hands over its `predict(model, batch) -> depth [B, 1, H, W]`; the rest is the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.data.dataset import DepthDataset, collate_eval
from common.engine.loop import to_device
from common.evaluation.panels import denormalize, panel
from common.evaluation.scoring import EvalConfig, EvalResult, evaluate_depth
from common.images.transforms import kb_crop
from common.programs.assembly import evaluation_batches
from common.runtime.processes import Processes

Predict = Callable[[nn.Module, dict[str, Any]], Tensor]


def evaluate_dataset(
    model: nn.Module,
    predict: Predict,
    dataset: DepthDataset,
    config: EvalConfig,
    max_depth: float,
    processes: Processes,
    on_prediction: Callable[[str, Tensor], None] | None = None,
) -> EvalResult:
    """Score `model` on `dataset`, the images shared out over all processes; float32.

    on_prediction: called with each image's key and its prediction [H, W] in meters, as it comes
    from the network: of the size of its input, which for KITTI is the crop of 352x1216.
    """
    model.eval()

    def predict_batch(batch: dict[str, Any]) -> Tensor:
        return predict(model, to_device(batch, processes.device)).float()

    loader = evaluation_batches(dataset, config, processes)
    return evaluate_depth(
        predict_batch, loader, protocol=config.protocol, max_depth=max_depth, flip=config.flip,
        is_kb_crop=dataset.layout.kb_crop, num_skipped=dataset.num_without_gt,
        num_missing=dataset.num_missing, gather=processes.gather, on_prediction=on_prediction,
    )  # fmt: skip


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
    item = dataset[index]
    gt = item["gt_depth"][0].numpy()
    if dataset.layout.kb_crop:
        gt = kb_crop(gt)  # as its image is
    batch = to_device(collate_eval([item]), next(model.parameters()).device)
    pred = predict(model, batch)[0, 0].float().cpu().numpy()
    image = denormalize(item["image"])
    title = title or item["image_path"]
    return panel(image, gt, pred, item["caption"], title=title)
