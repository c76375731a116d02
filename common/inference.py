"""From a network and a data set to metrics, picture panels and depth files.

Every stage hands over its `predict(model, batch) -> depth [B, 1, H, W]`; the rest is the same.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from common.data.dataset import DepthDataset, collate_eval
from common.data.loading import evaluation_batches
from common.data.transforms import kb_crop
from common.distributed import Processes
from common.engine import to_device
from common.errors import UserError
from common.evaluation import EvalConfig, EvalResult, evaluate_depth
from common.visualize import denormalize, panel

Predict = Callable[[nn.Module, dict[str, Any]], Tensor]


def evaluate_dataset(
    model: nn.Module,
    predict: Predict,
    dataset: DepthDataset,
    config: EvalConfig,
    max_depth: float,
    who: Processes,
    on_prediction: Callable[[str, Tensor], None] | None = None,
) -> EvalResult:
    """Score `model` on `dataset`, the images shared out over all processes; float32.

    on_prediction: called with each image's key and its scored prediction [H, W] in metres.
    """
    model.eval()

    def predict_batch(batch: dict[str, Any]) -> Tensor:
        return predict(model, to_device(batch, who.device)).float()

    loader = evaluation_batches(dataset, config, who)
    return evaluate_depth(
        predict_batch, loader, protocol=config.protocol, max_depth=max_depth, flip=config.flip,
        num_skipped=dataset.num_without_gt, gather=who.gather, on_prediction=on_prediction,
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
    batch = to_device(collate_eval([item]), next(model.parameters()).device)
    pred = predict(model, batch)[0, 0].float().cpu().numpy()
    image = denormalize(item["image"])
    title = title or item["image_path"]
    return panel(image, in_frame_of(pred, gt), pred, item["caption"], title=title)


def in_frame_of(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """The ground truth in the prediction's frame: KITTI's is cut like its images."""
    is_kitti_crop = pred.shape == (352, 1216) and gt.shape != pred.shape
    return kb_crop(gt) if is_kitti_crop and gt.shape[0] < 480 else gt


class DepthWriter:
    """Writes predictions as 16-bit PNG files under a folder, named like their images."""

    def __init__(self, folder: Path, depth_scale: float):
        self.folder, self.depth_scale = folder, depth_scale
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; name another") from error

    def __call__(self, key: str, depth: Tensor) -> None:
        """depth: [H, W], metres, stored as metres * depth_scale."""
        path = (self.folder / key).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        values = (depth.cpu().numpy() * self.depth_scale).round().clip(0, 65535)
        cv2.imwrite(str(path), np.nan_to_num(values).astype(np.uint16))
