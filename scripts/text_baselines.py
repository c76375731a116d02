"""Depth from the words without any network, scored as `eval.py` scores one: what a prior must beat.

    python scripts/text_baselines.py --what linear configs/nyu/labeled_stage1.yaml
        --json linear.json --csv linear.csv [key=value ...]

A guess is a scale times a shape: exp(log scale + log shape). The log shape is the mean over the
training images of log depth - log median depth; the log scale is

    constant    the mean log median depth of the training images
    room_type   the mean of those of its category (the scene category that controls use)
    linear      a ridge regression on the caption's feature (lambda 2, features centered)

and its distribution a Gaussian about it, as wide as leave-one-out errors on the training images.
The config is one of stage 1: it names data, captions, encoder, control and protocol. With
--score-control, other words are read than were fitted.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.data.batch import Batch, Failure
from common.data.dataset import DepthDataset
from common.errors import UserError, run_program
from common.evaluation.calibration import gaussian_draws
from common.evaluation.metrics import MIN_DEPTH
from common.evaluation.results import EvalResult
from common.evaluation.ridge import fit_ridge
from common.evaluation.scoring import median_at, scored_points
from common.images.crops import bottom_window
from common.language.controls import Control
from common.language.language import Needs
from common.programs.assembly import evaluation_batches, load_split
from common.programs.draws import with_calibration
from common.programs.inference import evaluate_dataset, scoring_rule
from common.programs.result_files import check_result_files, hand_out
from common.programs.run_config import RunConfig
from common.programs.train import read_command_line
from common.runtime.hub import set_hub_timeout
from common.runtime.processes import Processes
from stage1_vae.stage import STAGE

What = Literal["constant", "room_type", "linear"]
PENALTY = {"constant": 1.0, "room_type": 1e-6, "linear": 2.0}  # room types: their plain means
NUM_QUANTILES = 1000  # stand for the Gaussian


def main() -> None:
    """Fit on the training split, score on the other, print and write the result."""
    arguments = _parse()
    check_result_files(arguments.json, arguments.csv)
    config = read_command_line(arguments.settings, STAGE).config()
    config = replace(config, eval=replace(config.eval, max_images=None))
    set_hub_timeout(config.hub_timeout)
    alone = Processes(0, 1, torch.device("cpu"))
    needs = Needs(config.model.text_dim) if arguments.what == "linear" else Needs()
    scored = scored_config(config, arguments.score_control)
    train = load_split(config, "train", needs, alone)
    test = load_split(scored, arguments.split, needs, alone)
    for note in dict.fromkeys((*train.notes, *test.notes)):
        print(note, file=sys.stderr)
    frames = measure_training(train, config, alone)
    result = score_baseline(arguments.what, frames, test, scored, alone)
    control = scored.text.control
    labels = {
        "recipe": arguments.what,
        "stage": "text_baseline",
        "data": str(config.data.root),
        "split": arguments.split,
        **({} if control == "caption" else {"control": control}),
    }
    hand_out(result, labels, arguments.json, arguments.csv)


def scored_config(config: RunConfig, control: Control | None) -> RunConfig:
    """With the words that are read in scoring; None: as in training."""
    return (
        config if control is None else replace(config, text=replace(config.text, control=control))
    )


@dataclass(frozen=True)
class TrainingFrames:
    """N images with a pixel to score. log_scale: [N], ln meters of the median over such pixels.

    features: [N, D] of the captions; None: not read. log_shape: [H, W], the mean of log depth
    relative to the image's scale, over the images that are measured there; 0 where none is.
    """

    keys: list[str]
    log_scale: np.ndarray
    features: np.ndarray | None
    log_shape: Tensor


def measure_training(
    train: DepthDataset, config: RunConfig, processes: Processes
) -> TrainingFrames:
    """Read every training image once, as for evaluation. A `UserError` where one is damaged."""
    rule = scoring_rule(train, config.eval, config.data.max_depth)
    keys: list[str] = []
    scales: list[float] = []
    features: list[Tensor] = []
    size = train.largest_size
    total, count = torch.zeros(size, dtype=torch.float64), torch.zeros(size)
    for batch in evaluation_batches(train, config.eval, processes):
        if isinstance(batch, Failure):
            raise batch.error
        for row, (key, gt) in enumerate(zip(batch.key, batch.gt_depth, strict=True)):
            height, width = gt.shape[-2:]
            points = scored_points(gt[0], (height, width), key, rule)
            if not len(points):
                continue
            scale = math.log(median_at(gt[0], points, config.data.max_depth))
            keys.append(key)
            scales.append(scale)
            if batch.text_feature is not None:
                features.append(batch.text_feature[row])
            depth = in_network_frame(gt, size, rule.is_cropped)
            is_measured = (depth > MIN_DEPTH) & (depth < config.data.max_depth)
            total += torch.where(is_measured, depth.log() - scale, 0.0)
            count += is_measured
    if len(keys) < 2:
        raise UserError(f"{len(keys)} training images have a pixel to score; at least 2 are needed")
    shape = (total / count.clamp(min=1)).float()
    stacked = torch.stack(features).numpy() if features else None
    return TrainingFrames(keys, np.array(scales), stacked, shape)


def in_network_frame(gt_depth: Tensor, size: tuple[int, int], is_cropped: bool) -> Tensor:
    """Ground truth [1, h, w] as the network would predict it: [H, W]; nearest, never mixed."""
    height, width = gt_depth.shape[-2:]
    window = bottom_window(height, width, size) if is_cropped else None
    depth = gt_depth[0] if window is None else gt_depth[0][window]
    return F.interpolate(depth[None, None], size, mode="nearest-exact")[0, 0]


def score_baseline(
    what: What,
    frames: TrainingFrames,
    test: DepthDataset,
    config: RunConfig,
    processes: Processes,
) -> EvalResult:
    """Predict every test image's scale, score scale x shape, judge the scale's distribution."""
    category_of = test.data_set.category_of
    keys = list(test.samples.keys)
    if what == "linear":
        store = test.language.text_features
        assert frames.features is not None and store is not None
        known, asked = frames.features, np.stack([store[key] for key in keys])
    else:
        kinds = [category_of(key) for key in frames.keys]
        groups = sorted(set(kinds)) if what == "room_type" else []
        known, asked = one_hot(kinds, groups), one_hot(map(category_of, keys), groups)
    ridge = fit_ridge(known, frames.log_scale, PENALTY[what])
    log_scale = ridge.predict(asked)
    guess = ScaledShape(dict(zip(keys, log_scale.tolist(), strict=True)), frames.log_shape)
    result = evaluate_dataset(
        guess, predict, test, config.eval, config.data.max_depth, processes, with_medians=True
    )
    draws = gaussian_draws(log_scale, ridge.sigma, NUM_QUANTILES)
    return with_calibration(result, dict(zip(keys, draws, strict=True)), category_of)


def one_hot(names: Iterable[str], groups: Sequence[str]) -> np.ndarray:
    """[N, G], G may be 0; zeros for a name that is no group."""
    return np.array([[float(name == group) for group in groups] for name in names])


class ScaledShape(nn.Module):
    """Image keys -> exp(log scale + log shape)."""

    def __init__(self, log_scale: dict[str, float], log_shape: Tensor) -> None:
        super().__init__()
        self.log_scale, self.log_shape = log_scale, log_shape

    def forward(self, keys: Sequence[str]) -> Tensor:
        """Depth [B, 1, H, W] in meters."""
        scale = torch.tensor([self.log_scale[key] for key in keys])
        return torch.exp(scale[:, None, None, None] + self.log_shape)


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """What `evaluate_dataset` asks for."""
    return model(batch.key)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--what", choices=get_args(What), required=True)
    add("--split", choices=("val", "test"), default="test", help="what is scored")
    words = "scored with the words of this control (default: text.control, as fitted)"
    add("--score-control", choices=get_args(Control), metavar="CONTROL", help=words)
    add("--json", metavar="OUT.json", help="write the result, as eval.py does")
    add("--csv", metavar="OUT.csv", help="write one line per image, as eval.py does")
    add("settings", nargs="*", metavar="CONFIG.yaml key=value", help="as for stage1_vae/train.sh")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    run_program(main)
