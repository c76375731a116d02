"""What can be known of a training is checked before its first step, with the code of the steps.

    check_data(data.train, data.val, config.eval, config.data.max_depth, stage.valid)
    check_outputs(run.folder, model, config.train, len(data.train))

An hour later the same errors would cost the hour. Of each split so many images are read, spread
over it, as half a second allows: 64 at most, so that small sets are read whole, and 4 at least. One
damaged file among thousands is therefore met in its turn, when the run is saved first
(`rescue.py`).
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common.data.bad_images import BadImages
from common.data.batch import Failure, collate_eval, collate_train
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.ground_truth import GroundTruthUse, count_use, total_use
from common.data.splits import SplitFinder
from common.engine.train_config import TrainConfig
from common.errors import BadFileError, UserError
from common.evaluation.protocols import PROTOCOLS, find_protocol, resize_to_gt
from common.evaluation.results import Row
from common.evaluation.scoring import EvalConfig, ScoringRule, score_batch, summarize
from common.files import check_output, check_space
from common.images.headers import png_size
from common.losses.depth import ValidMask, silog_valid
from common.programs.inference import scoring_rule
from common.runtime.checkpoint_folder import CheckpointFolder
from common.runtime.checkpoints import num_bytes

FEWEST, MOST, SECONDS = 4, 64, 0.5  # images of a split that are read
NUM_SIZES = 1000  # depth maps whose size is read from the file's head
THREADS = 16  # that read them: a network disk answers slowly, but many at once


def check_configured_data(config: DataConfig, evaluation: EvalConfig) -> None:
    """`check_data` of the data that a config names; nothing is written, no words are needed."""
    config, finder = replace(config, cache=None), SplitFinder(config)
    train = build_dataset(config, finder.find("train"), augment=True)
    val = build_dataset(config, finder.find("val"))
    check_data(train, val, evaluation, config.max_depth)


def check_data(
    train: DepthDataset,
    val: DepthDataset,
    evaluation: EvalConfig,
    max_depth: float,
    valid: ValidMask = silog_valid,
) -> GroundTruthUse:
    """Raise the `UserError` that training or its first evaluation would end with.

    max_depth: meters. valid: see `Stage`. Returns how much ground truth is trained on.
    """
    use = check_training_images(train, max_depth, valid)
    check_evaluation(val, evaluation, max_depth)
    return use


def check_training_images(
    train: DepthDataset, max_depth: float, valid: ValidMask
) -> GroundTruthUse:
    """Read some images as training does; refuse depth of which no pixel would be trained on."""
    parts: list[GroundTruthUse] = []
    bad = BadImages(len(train), train.max_bad_share or 0.0)
    end = time.monotonic() + SECONDS
    for index in _spread(len(train), MOST):
        try:
            item = train[index, index]
        except BadFileError as error:
            if not train.skips_bad:
                raise
            bad.add(Failure(train.samples[index].key, error))
            bad.meet()
            bad.check()
            if len(bad) == len(train):
                raise
            continue
        gt_depth = collate_train([item]).gt_depth  # [1, 1, H, W]
        parts.append(count_use(gt_depth, valid(gt_depth, max_depth)))
        is_used = any(part.num_used for part in parts)
        if is_used and len(parts) >= FEWEST and time.monotonic() > end:
            break
    use = total_use(parts)
    if use.num_used == 0:
        raise UserError(_nothing_to_learn(use, train, max_depth))
    return use


def _nothing_to_learn(use: GroundTruthUse, train: DepthDataset, max_depth: float) -> str:
    data_set, first = train.data_set, train.samples[0].depth_file
    if use.num_measured == 0:
        return (
            f"none of {use.num_images} training images has a measured pixel (first {first}); are "
            "these the depth maps? Check data.gt_root"
        )
    key, scale = "data.depth_scale", data_set.depth_scale
    if train.training_frame(0)[1].dtype != np.uint16:
        key, scale = "data.float_depth_scale", data_set.float_depth_scale
    return (
        f"nothing to learn: all depth of {use.num_images} training images is outside the range "
        f"that is trained on. It lies between {use.nearest:.4g} and {use.farthest:.4g} m, "
        f"data.max_depth is {max_depth:g} m; correct data.max_depth, or {key} (now "
        f"{scale:g}) if the unit is another (first {first})"
    )


def check_evaluation(dataset: DepthDataset, evaluation: EvalConfig, max_depth: float) -> None:
    """Score some images with a constant prediction; compare the sizes of all with the protocol."""
    rule = scoring_rule(dataset, evaluation, max_depth)
    num_images = min(len(dataset), evaluation.max_images or len(dataset))
    _check_sizes(dataset, rule, num_images)
    rows: list[Row] = []
    num_pixels, end = 0, time.monotonic() + SECONDS
    for index in _spread(num_images, MOST):
        batch = collate_eval([dataset[index]])
        scored, failures = score_batch(torch.ones_like(batch.image[:, :1]), batch, rule)
        if failures:
            raise failures[0].error
        rows += scored
        num_pixels += scored[0]["num_pixels"]
        if num_pixels and len(rows) >= FEWEST and time.monotonic() > end:
            break
    summarize(rows, rule)


def _spread(count: int, most: int) -> list[int]:
    """At most so many indices below `count`, in an order whose every beginning is spread, too."""
    indices = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
    return np.random.default_rng(0).permutation(indices).tolist()


def _check_sizes(dataset: DepthDataset, rule: ScoringRule, num_images: int) -> None:
    """Align empty maps of the sizes that the files' heads name: the protocol itself judges."""
    if PROTOCOLS[rule.protocol].align is resize_to_gt:  # takes any
        return
    align = find_protocol(rule.protocol, rule.is_cropped).align
    samples = [dataset.samples[index] for index in _spread(num_images, NUM_SIZES)]
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(lambda sample: png_size(sample.depth_file), samples))
    pred_depth = torch.empty(dataset.data_set.crop_size or dataset.reader.size, device="meta")
    for size, sample in zip(sizes, samples, strict=True):
        if size is not None:
            align(pred_depth, torch.empty(size, device="meta"), sample.key)


def check_outputs(folder: Path, model: nn.Module, train: TrainConfig, num_images: int) -> None:
    """Try every place of a run's folder, and the space for its checkpoints.

    num_images: that are trained on.
    """
    for name in ("checkpoints/last.pt", "panels/val", "tensorboard/events", "profile/trace"):
        check_output(folder / name)
    for name in ("log.txt", "metrics.jsonl"):
        check_output(folder / name, appends=True)
    weights = num_bytes(model.state_dict())
    whole = weights + num_bytes_to_resume(model, train.ema_decay is not None)
    # A new last.pt is written beside the old one and the one before that.
    num_whole = 3 + train.most_numbered(train.total_steps(num_images))
    there = CheckpointFolder(folder / "checkpoints").num_bytes_to_replace()
    needed = weights + num_whole * whole - there
    check_space(folder, needed, "saving the run", "set output_root to another disk")


def num_bytes_to_resume(model: nn.Module, has_average: bool) -> int:
    """Beside the weights that are used: Adam's two numbers for each that is trained; the weight."""
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return (3 if has_average else 2) * trained
