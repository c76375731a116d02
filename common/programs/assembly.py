"""From the sections of a config to data sets and batches.

list file -> split -> language (captions, features, controls) -> data set -> batches
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from common.data.batch import Batch
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.lists import find_file
from common.data.samples import SplitName
from common.data.sampling import DepthLoader, StepSampler, check_share, eval_loader, train_loader
from common.data.splits import Split, SplitFinder
from common.engine.loop import Plan
from common.evaluation.scoring import EvalConfig
from common.language.feature_files import FeatureStore
from common.language.features import FeaturePlace, TextConfig
from common.language.language import (
    Language,
    Needs,
    load_language,
    read_all_captions,
)
from common.programs.run_config import RunConfig
from common.runtime.processes import Processes


@dataclass(frozen=True)
class Data:
    """The training and the validation split of a run."""

    train: DepthDataset
    val: DepthDataset

    def train_text_features(self) -> Tensor:
        """[N, D], one row per training image."""
        return _all_features(self.train, self.train.language.text_features)

    def train_image_features(self) -> Tensor:
        """[N, E], one row per training image."""
        return _all_features(self.train, self.train.language.image_features)


def _all_features(dataset: DepthDataset, store: FeatureStore | None) -> Tensor:
    if store is None:
        raise ValueError("the data set has no such features")
    return torch.stack([store[sample.key] for sample in dataset.samples])


class LanguageReader:
    """The words of one configured data set; caption files are read once for all splits."""

    def __init__(
        self, data: DataConfig, text: TextConfig, needs: Needs, place: FeaturePlace
    ) -> None:
        self.data, self.text, self.needs, self.place = data, text, needs, place
        self.captions = read_all_captions(text, place.resolve)

    def read(self, label: str, files: dict[str, Path]) -> Language:
        """Captions and the needed features of the images `files` (key -> file).

        Encodes captions or images first if their features are not there yet. label: names the
        split in the file of encoded captions.
        """
        category_of = self.data.data_set.category_of
        return load_language(
            self.text, self.captions, label, files, self.needs, self.place, category_of
        )


def open_language(config: RunConfig, needs: Needs, processes: Processes) -> LanguageReader:
    """The reader of a run's words, whose encoded features are kept below its output root."""
    place = FeaturePlace(
        partial(find_file, root=config.data.root),
        config.output_root / "features",
        processes.is_main,
        processes.barrier,
        processes.device,
    )
    return LanguageReader(config.data, config.text, needs, place)


def load_data(config: RunConfig, needs: Needs, processes: Processes) -> Data:
    """Training and validation data; lists and caption files are read once."""
    check_share(config.train.batch_size, processes.world_size)
    finder = SplitFinder(config.data)
    splits = finder.find("train"), finder.find("val")
    language = open_language(config, needs, processes)
    data = Data(*(_dataset(config, split, language) for split in splits))
    data.train.open_cache()
    return data


def load_split(
    config: RunConfig, name: SplitName, needs: Needs, processes: Processes
) -> DepthDataset:
    """One split."""
    split = SplitFinder(config.data).find(name)
    return _dataset(config, split, open_language(config, needs, processes))


def _dataset(config: RunConfig, split: Split, language: LanguageReader) -> DepthDataset:
    words = language.read(split.name, split.files)
    return build_dataset(config.data, split, words, config.seed, augment=split.name == "train")


def training_batches(dataset: DepthDataset, plan: Plan, processes: Processes) -> Iterator[Batch]:
    """This process's micro-batches of the plan's steps, in order."""
    config = plan.config
    sampler = StepSampler(
        num_samples=len(dataset),
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size or config.batch_size // processes.world_size,
        rank=processes.rank,
        world_size=processes.world_size,
        seed=plan.seed,
        start_step=plan.start_step,
        num_steps=plan.total_steps - plan.start_step,
    )
    pin_memory = processes.device.type == "cuda"
    return train_loader(dataset, sampler, config.num_workers, pin_memory)


def evaluation_batches(
    dataset: DepthDataset, config: EvalConfig, processes: Processes
) -> DepthLoader:
    """This process's share of the data set's images, the first `max_images` of them."""
    pin_memory = processes.device.type == "cuda"
    return eval_loader(
        dataset,
        config.max_images,
        config.batch_size,
        processes.rank,
        processes.world_size,
        num_workers=4 if len(dataset) > 64 and pin_memory else 0,
        pin_memory=pin_memory,
    )
