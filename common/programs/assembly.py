"""From a run's config to its data sets and batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from common.data.dataset import DepthDataset, Split, build_dataset, image_files
from common.data.lists import find_file
from common.data.sampling import StepSampler, check_share, eval_loader, train_loader
from common.engine.loop import TrainConfig
from common.evaluation.scoring import EvalConfig
from common.language.feature_files import FeatureStore
from common.language.features import FeaturePlace
from common.language.language import Language, Needs, read_all_captions
from common.language.language import load_language as load_words
from common.programs.run import RunConfig
from common.runtime.processes import Processes


@dataclass(frozen=True)
class Data:
    """The training and the validation split of a run."""

    train: DepthDataset
    val: DepthDataset

    def train_text_features(self) -> Tensor:
        """[N, D], one row per training image."""
        return _all_features(self.train, self.train.text_features)

    def train_image_features(self) -> Tensor:
        """[N, E], one row per training image."""
        return _all_features(self.train, self.train.image_features)


def _all_features(dataset: DepthDataset, store: FeatureStore | None) -> Tensor:
    if store is None:
        raise ValueError("the data set has no such features")
    return torch.stack([store[sample.key] for sample in dataset.samples])


def load_data(config: RunConfig, model: nn.Module, processes: Processes) -> Data:
    """Training and validation data with the features `model` says it needs."""
    check_share(config.train.batch_size, processes.world_size)
    data = Data(
        load_split(config, "train", model, processes), load_split(config, "val", model, processes)
    )
    data.train.open_cache()
    return data


def load_split(
    config: RunConfig, split: Split, model: nn.Module, processes: Processes
) -> DepthDataset:
    """One split; encodes captions or images first if their features are not there yet.

    model: tells by `needs_text_feature` and `needs_image_feature` what its batches must hold, and
    by `text_dim` and `image_dim`, if it has them, how long these features are.
    """
    language = load_language(config, split, image_files(config.data, split), model, processes)
    dataset = build_dataset(
        config.data, split, language.text_features, language.image_features,
        language.captions or None, config.seed, augment=split == "train",
    )  # fmt: skip
    dataset.notes += language.notes
    return dataset


def load_language(
    config: RunConfig, label: str, files: dict[str, Path], model: Any, processes: Processes
) -> Language:
    """Captions and the features `model` needs of the images `files` (key -> file).

    label: names the split in the file of encoded captions.
    """
    resolve = partial(find_file, root=config.data.root)
    needs = Needs(
        text_dim=model.text_dim if model.needs_text_feature else None,
        image_dim=model.image_dim if model.needs_image_feature else None,
    )
    place = FeaturePlace(
        resolve, config.output_root / "features", processes.is_main, processes.barrier,
        processes.device,
    )  # fmt: skip
    captions = read_all_captions(config.text, resolve)
    return load_words(config.text, captions, label, files, needs, place)


def training_batches(
    dataset: DepthDataset,
    config: TrainConfig,
    *,
    seed: int,
    processes: Processes,
    start_step: int,
    total_steps: int,
) -> Iterator[dict]:
    """This process's micro-batches of steps `start_step` to `total_steps`, in order."""
    sampler = StepSampler(
        num_samples=len(dataset),
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size or config.batch_size // processes.world_size,
        rank=processes.rank,
        world_size=processes.world_size,
        seed=seed,
        start_step=start_step,
        num_steps=total_steps - start_step,
    )
    pin_memory = processes.device.type == "cuda"
    return iter(train_loader(dataset, sampler, config.num_workers, pin_memory))


def evaluation_batches(
    dataset: DepthDataset, config: EvalConfig, processes: Processes
) -> Iterator[dict]:
    """This process's share of the data set's images, the first `max_images` of them."""
    pin_memory = processes.device.type == "cuda"
    workers = 4 if len(dataset) > 64 and pin_memory else 0
    first = Subset(dataset, range(min(len(dataset), config.max_images or len(dataset))))
    return iter(
        eval_loader(
            first, config.batch_size, processes.rank, processes.world_size, workers, pin_memory
        )
    )
