"""Milliseconds of one core for one training image: decoding and all augmentations.

  NPROC=1 sh scripts/launch.sh benchmarks/data_loading.py   # with train.sh's memory settings
  python benchmarks/data_loading.py                        # without them
  python benchmarks/data_loading.py --root data/nyu --list nyudepthv2_train_files_with_gt.txt
  python benchmarks/data_loading.py --workers 2            # images/s of a loader with workers, too

`plain` is the published preparation, written plainly: PIL opens and rotates, numpy computes on
float pixels, torch normalizes. This project's loader is measured with a list of 100 entries and
with one of 24,000, and with 100 frames that `data.cache` holds already; all of them, and `plain`,
take turns on the same frames. Below them, what the parts cost. Files come from the page cache; a
disk may be slower.
"""

import argparse
import itertools
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.frames import write_nyu
from benchmarks.measure import (
    Measurement,
    benchmark_parser,
    cpu_clock,
    repeat,
    report,
    seconds_of,
)
from common.config_values import positive, resolve_path
from common.data.batch import Batch
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.samples import Sample
from common.data.sampling import StepSampler, train_loader
from common.data.sets.nyu import DATA_SET
from common.data.splits import find_split
from common.errors import run_program
from common.images import transforms
from common.images.reading import read_depth, read_image
from common.language.feature_store import FeatureStore
from common.language.language import Language

BATCH = 4
SHORT, LONG = 100, 24_000
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Build the data sets, then measure loaders and parts."""
    arguments = parse()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # as in a worker
    with tempfile.TemporaryDirectory() as folder:
        datasets = open_datasets(arguments, Path(folder))
        rows = loader_rows(datasets, arguments) + part_rows(datasets, arguments)
        if arguments.workers:
            rows += worker_rows(datasets, arguments)
        report("data_loading", arguments, rows)


def open_datasets(arguments: argparse.Namespace, folder: Path) -> dict[str, DepthDataset]:
    """One data set for each length of the list (with `--root` only the real one), one cached."""
    lengths = (8, 32) if arguments.quick else (SHORT, LONG)
    if arguments.root is None:
        size = tuple(arguments.size)
        configs = [write_nyu(folder / str(length), length, size=size) for length in lengths]
    else:
        configs = [real_data(arguments)]
    datasets = {}
    for data in configs:
        dataset = open_dataset(data, generated=arguments.root is None)
        datasets[f"{len(dataset)} entries"] = dataset
    num_cached = min(lengths[0], len(next(iter(datasets.values()))))
    few = replace(configs[0], cache=folder / "cache", train_images=num_cached)
    cached = open_dataset(few, generated=arguments.root is None)
    for index in range(len(cached)):
        cached[index, index]
    return {**datasets, f"{len(cached)} entries, cached": cached}


def real_data(arguments: argparse.Namespace) -> DataConfig:
    """What `--root`, `--list` and `--dir` name."""
    return DataConfig(
        "nyu",
        resolve_path(str(arguments.root), typed_by_hand=True),
        *arguments.size,
        10.0,
        train_list=arguments.list,
        train_dir=arguments.dir,
        val_share=0,
    )


def open_dataset(data: DataConfig, generated: bool) -> DepthDataset:
    """For training; generated frames come with text features."""
    features = FeatureStore.open(data.root / "text.safetensors") if generated else None
    language = Language(text_features=features)
    return build_dataset(data, find_split(data, "train"), language, augment=True)


def loader_rows(
    datasets: dict[str, DepthDataset], arguments: argparse.Namespace
) -> list[Measurement]:
    """The plain preparation and this project's loader, in turn; ratios are to the plain one."""
    count = arguments.images
    samples = itertools.cycle(next(iter(datasets.values())).samples)
    actions: dict[str, Callable[[], object]] = {
        "plain": lambda: [plain_item(s) for s in itertools.islice(samples, count)]
    }
    for name, dataset in datasets.items():
        batches = endless(dataset)
        actions[name] = partial(take, batches, count // BATCH)
    times = repeat(actions, arguments.rounds, scale=1e3 / count, clock=cpu_clock)
    rows = [Measurement(name, "CPU ms/image", values) for name, values in times.items()]
    for row in rows:
        row.facts["times faster"] = rows[0].median / row.median
    return rows


def part_rows(
    datasets: dict[str, DepthDataset], arguments: argparse.Namespace
) -> list[Measurement]:
    """What each part of this project's loading costs."""
    dataset = list(datasets.values())[-1]  # the cached one
    samples = dataset.samples[:16]
    pairs = [(read_image(s.image_file), read_depth(s.depth_file)) for s in samples]
    turn = transforms.Motion(1.7)
    jitter = transforms.draw_jitter(DATA_SET.brightness, np.random.default_rng(0))

    def ready(image: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = dataset.reader.size
        return transforms.resize_image(image, *size), transforms.resize_depth(depth, *size)

    parts: dict[str, Callable[[], object]] = {
        "part: decode JPEG": lambda: [read_image(s.image_file) for s in samples],
        "part: decode PNG": lambda: [read_depth(s.depth_file) for s in samples],
        "part: read both cached": lambda: [dataset.training_frame(i) for i in range(len(samples))],
        "part: resize (nothing at the same size)": lambda: [ready(*pair) for pair in pairs],
        "part: rotate both": lambda: [transforms.move(*pair, turn) for pair in pairs],
        "part: flip both": lambda: [(cv2.flip(i, 1), cv2.flip(d, 1)) for i, d in pairs],
        "part: color, normalize": lambda: [transforms.normalize(i, jitter) for i, _ in pairs],
        "part: to meters": lambda: [transforms.to_meters(d, 1000.0) for _, d in pairs],
    }
    times = repeat(parts, arguments.rounds, scale=1e3 / len(samples), clock=cpu_clock)
    return [Measurement(name, "CPU ms/image", values) for name, values in times.items()]


def worker_rows(
    datasets: dict[str, DepthDataset], arguments: argparse.Namespace
) -> list[Measurement]:
    """Images per second of a loader with worker processes, after they have started."""
    rows = []
    for name, dataset in datasets.items():
        batches = endless(dataset, arguments.workers)
        take(batches, 8 * arguments.workers)  # beyond what they prefetch while they start
        num_batches = 8 * arguments.workers
        fetch = partial(take, batches, num_batches)
        times = [seconds_of(fetch) for _ in range(arguments.rounds)]
        values = tuple(num_batches * BATCH / seconds for seconds in times)
        rows.append(Measurement(f"{name}, {arguments.workers} workers", "images/s", values))
    return rows


def endless(dataset: DepthDataset, num_workers: int = 0) -> Iterator[Batch]:
    """Training batches without end, as a run gets them."""
    sampler = StepSampler(len(dataset), BATCH, BATCH, num_steps=10**9)
    return iter(train_loader(dataset, sampler, num_workers))


def take(batches: Iterator[Batch], count: int) -> None:
    """Fetch so many batches."""
    for _ in range(count):
        next(batches)


def plain_item(sample: Sample) -> tuple[Tensor, Tensor]:
    """The published preparation of an NYU pair: image [3, H, W], depth [1, H, W] in meters."""
    angle = (random.random() - 0.5) * 2 * 2.5
    opened = Image.open(sample.image_file).rotate(angle, resample=Image.BILINEAR)
    stored = Image.open(sample.depth_file).rotate(angle, resample=Image.NEAREST)
    image = np.asarray(opened, dtype=np.float32) / 255.0
    depth = np.asarray(stored, dtype=np.float32)[:, :, None] / 1000.0
    inside = np.zeros_like(depth)
    inside[45:472, 43:608] = depth[45:472, 43:608]
    depth = inside
    if random.random() > 0.5:
        image, depth = image[:, ::-1].copy(), depth[:, ::-1].copy()
    if random.random() > 0.5:
        image = plain_color(image)
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (tensor - mean) / std, torch.from_numpy(depth.transpose(2, 0, 1).copy())


def plain_color(image: np.ndarray) -> np.ndarray:
    """Gamma, brightness and color on every pixel: [H, W, 3] in [0, 1]."""
    image = image ** random.uniform(0.9, 1.1) * random.uniform(0.75, 1.25)
    colors = np.random.default_rng().uniform(0.9, 1.1, size=3)
    white = np.ones((image.shape[0], image.shape[1]))
    image = image * np.stack([white * color for color in colors], axis=2)
    return np.clip(image, 0, 1)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__ or "", rounds=5)
    add = parser.add_argument
    add("--images", type=positive, default=40, help="images of a round, a multiple of 4 (40)")
    add("--size", nargs=2, type=positive, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    add("--root", type=Path, help="a real NYU folder instead of generated frames")
    add("--list", help="its list, below --root; needed with --root")
    add("--dir", default="", help="folder below --root where the list's paths start")
    add("--workers", type=int, default=0, help="also measure a loader with so many workers")
    arguments = parser.parse_args()
    if arguments.images % BATCH:
        parser.error(f"--images: must be a multiple of {BATCH}")
    if (arguments.root is None) != (arguments.list is None):
        parser.error("--root and --list go together")
    if arguments.quick:
        arguments.images, arguments.size, arguments.rounds = 4, [96, 128], 1
    return arguments


if __name__ == "__main__":
    run_program(main)
