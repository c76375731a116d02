"""Processor seconds of scoring a test set beyond the network: metrics, crops, frames, summary.

  python benchmarks/evaluation.py                                       # 654 images, NYU
  python benchmarks/evaluation.py --protocol kitti_garg_kbcrop --images 652
  python benchmarks/evaluation.py --flip                                # with the flip average

In the network's place stored predictions are returned, so that all the rest of `evaluate_depth` is
measured, on batches that are in memory. `plain` scores the same images one by one in numpy, as
the published code does. Loading (decoding, normalizing) is a row of its own. One thread; other jobs
on the machine do not count.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.frames import write_nyu
from benchmarks.measure import Measurement, benchmark_parser, cpu_clock, repeat, report
from common.config_values import positive
from common.data.batch import Batch
from common.data.dataset import build_dataset
from common.data.splits import find_split
from common.errors import run_program
from common.evaluation.protocols import PROTOCOLS, find_protocol, valid_mask
from common.evaluation.results import EvalResult
from common.evaluation.scoring import EvalConfig, ScoringRule, evaluate_depth, flip_average
from common.programs.assembly import evaluation_batches
from common.runtime.processes import Processes

NUM_STORED = 20  # different images; the set repeats them
FRAMES = {"nyu": (480, 640), "kitti": (375, 1242), "none": (480, 640)}


def main() -> None:
    """Scoring, the same in numpy, and loading."""
    arguments = parse()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    stored = make_batches(arguments)
    times = repeat(
        {
            "plain, numpy": partial(score_plainly, *stored, arguments),
            "this project": partial(score, *stored, arguments),
        },
        arguments.rounds,
        clock=cpu_clock,
    )
    label = f"{arguments.images} images, {arguments.protocol}{', flip' * arguments.flip}"
    rows = [Measurement(f"{label}: {name}", "CPU s", values) for name, values in times.items()]
    for row in rows:
        row.facts["ms/image"] = 1e3 * row.median / arguments.images
        row.facts["times faster"] = rows[0].median / row.median
    report("evaluation", arguments, [*rows, loading_row(arguments)])


def make_batches(arguments: argparse.Namespace) -> tuple[list[Batch], Tensor]:
    """Batches of an evaluation loader, and predictions [N, 1, H, W] that they take in turn."""
    size = FRAMES[arguments.protocol.partition("_")[0]]
    is_kitti = arguments.protocol.startswith("kitti")
    predicted = (352, 1216) if is_kitti else size
    rng = np.random.default_rng(0)
    truths = [make_truth(rng, size, arguments.max_depth) for _ in range(NUM_STORED)]
    predictions = torch.rand(NUM_STORED, 1, *predicted) * arguments.max_depth + 0.5
    batches = []
    for first in range(0, arguments.images, arguments.batch):
        positions = range(first, min(first + arguments.batch, arguments.images))
        batches.append(
            Batch(
                image=torch.zeros(1, 1, 1, 1).expand(len(positions), 3, *predicted),
                gt_depth=[truths[position % NUM_STORED] for position in positions],
                text_feature=None,
                image_feature=None,
                caption=[""] * len(positions),
                key=[f"{position}.jpg" for position in positions],
                position=torch.tensor(list(positions)),
            )
        )
    return batches, predictions


def make_truth(rng: np.random.Generator, size: tuple[int, int], max_depth: float) -> Tensor:
    """[1, H, W], meters; patches of 32x32 pixels are unmeasured, three in ten."""
    depth = rng.uniform(0.5, max_depth, size).astype(np.float32)
    holes = rng.random((-(-size[0] // 32), -(-size[1] // 32))) < 0.3
    depth[np.kron(holes, np.ones((32, 32), bool))[: size[0], : size[1]]] = 0
    return torch.from_numpy(depth)[None]


def score(batches: list[Batch], predictions: Tensor, arguments: argparse.Namespace) -> EvalResult:
    """All of this project's evaluation but the network and the loading."""
    return evaluate_depth(
        lambda batch: predictions[batch.position % NUM_STORED],
        batches,
        ScoringRule(
            arguments.protocol,
            arguments.max_depth,
            arguments.flip,
            is_cropped=arguments.protocol.startswith("kitti"),
        ),
    )


def score_plainly(
    batches: list[Batch], predictions: Tensor, arguments: argparse.Namespace
) -> np.ndarray:
    """The published way: one image after the other, float64 numpy; the nine means."""
    rule = find_protocol(arguments.protocol)
    rows = []
    for pred, gt in pairs_of(batches, predictions, arguments.flip):
        pred, gt = rule.align(pred, gt, "")
        valid = valid_mask(gt, rule, arguments.max_depth).numpy()
        pixels = pred.double().numpy(), gt.double().numpy()
        rows.append(plain_metrics(*(p[valid] for p in pixels), arguments.max_depth))
    return np.mean(rows, axis=0)


def pairs_of(
    batches: list[Batch], predictions: Tensor, flip: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Prediction and ground truth, [H, W] each."""
    for batch in batches:
        pred = predictions[batch.position % NUM_STORED]
        if flip:
            pred = flip_average(pred, pred)
        for single, gt in zip(pred, batch.gt_depth, strict=True):
            yield single[0], gt[0]


def plain_metrics(pred: np.ndarray, gt: np.ndarray, max_depth: float) -> list[float]:
    """In the order of `METRIC_NAMES`."""
    pred = np.clip(np.nan_to_num(pred, nan=1e-3, posinf=max_depth), 1e-3, max_depth)
    ratio = np.maximum(gt / pred, pred / gt)
    log_error = np.log(pred) - np.log(gt)
    return [
        np.mean(np.abs(gt - pred) / gt),
        np.mean((gt - pred) ** 2 / gt),
        np.sqrt(np.mean((gt - pred) ** 2)),
        np.sqrt(np.mean(log_error**2)),
        np.mean(np.abs(np.log10(pred) - np.log10(gt))),
        *(np.mean(ratio < 1.25**k) for k in (1, 2, 3)),
        100 * np.sqrt(np.mean(log_error**2) - np.mean(log_error) ** 2),
    ]


def loading_row(arguments: argparse.Namespace) -> Measurement:
    """Decoding and normalizing generated NYU frames, as `eval.py` does on this machine."""
    size = (96, 128) if arguments.quick else (480, 640)
    with tempfile.TemporaryDirectory() as folder:
        data = write_nyu(Path(folder), arguments.images, size=size)
        dataset = build_dataset(data, find_split(data, "train"))
        processes = Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        config = EvalConfig(batch_size=arguments.batch)
        load = partial(exhaust, dataset, config, processes)
        values = repeat({"load": load}, arguments.rounds, clock=cpu_clock)["load"]
    facts: dict[str, float | str] = {"ms/image": 1e3 * float(np.median(values)) / arguments.images}
    return Measurement(f"{arguments.images} images: loading", "CPU s", values, facts)


def exhaust(dataset: Any, config: EvalConfig, processes: Processes) -> None:
    """Load every image once."""
    for _ in evaluation_batches(dataset, config, processes):
        pass


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__ or "", rounds=3)
    add = parser.add_argument
    add("--images", type=positive, default=654, help="images of the set (default 654, NYU's)")
    add("--batch", type=positive, default=8, help="images of a batch (default 8)")
    add("--protocol", choices=PROTOCOLS, default="nyu_eigen")
    add("--flip", action="store_true", help="average with the mirrored prediction")
    arguments = parser.parse_args()
    arguments.max_depth = 80.0 if arguments.protocol.startswith("kitti") else 10.0
    if arguments.quick:
        arguments.images, arguments.rounds = 3, 1
    return arguments


if __name__ == "__main__":
    run_program(main)
