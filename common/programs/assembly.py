"""From the sections of a config to data sets and batches.

list file -> split -> language (captions, features, controls) -> data set -> batches
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from common.data.batch import Batch, Failure
from common.data.before import Before
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.kept_checks import check_unseen
from common.data.kept_data import KeptData
from common.data.lists import find_file
from common.data.samples import SplitName
from common.data.sampling import DepthLoader, StepSampler, eval_loader, train_loader
from common.data.shared_scenes import find_shared_scenes
from common.data.splits import Split, SplitFinder
from common.data.workers import check_shared_memory, num_workers_that_fit
from common.engine.loop import Plan
from common.evaluation.scoring import EvalConfig
from common.language.feature_store import FeatureStore
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
    """The training and the validation split of a run.

    kept: what its checkpoints keep of them; only the main process has it.
    """

    train: DepthDataset
    val: DepthDataset
    kept: KeptData | None = None
    notes: tuple[str, ...] = ()

    def train_text_features(self) -> tuple[Tensor, Tensor]:
        """[M, D], and for each training image which row it has, int64 [N]."""
        return _all_features(self.train, self.train.language.text_features)

    def train_image_features(self) -> tuple[Tensor, Tensor]:
        """[M, E], and for each training image which row it has, int64 [N]."""
        return _all_features(self.train, self.train.language.image_features)


def _all_features(dataset: DepthDataset, store: FeatureStore | None) -> tuple[Tensor, Tensor]:
    if store is None:
        raise ValueError("the data set has no such features")
    return store.gather(dataset.samples.keys)


class LanguageReader:
    """The words of one configured data set; caption files are read once for all splits."""

    def __init__(
        self, data: DataConfig, text: TextConfig, needs: Needs, place: FeaturePlace
    ) -> None:
        self.data, self.text, self.needs, self.place = data, text, needs, place
        self.captions = read_all_captions(text, place.resolve)

    def read(self, label: str, files: Mapping[str, Path], first_only: bool) -> Language:
        """Captions and the needed features of the images `files` (key -> file).

        Encodes captions or images first if their features are not there yet. label: names the
        split in the file of encoded captions. first_only: of several captions of an image only the
        first is read.
        """
        category_of = self.data.data_set.category_of
        return load_language(
            self.text, self.captions, label, files, self.needs, self.place, category_of, first_only
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


def load_data(
    config: RunConfig, needs: Needs, processes: Processes, before: Before | None = None
) -> Data:
    """Training and validation data; lists and caption files are read once.

    before: what the run that goes on, or an earlier stage, keeps of its data.
    """
    finder = before.finder(config.data) if before else SplitFinder(config.data)
    splits = [finder.find(name) for name in ("train", "val")]
    notes: list[str] = []
    if before is not None:
        splits = [before.check_images(split, config.data) for split in splits]
        notes += before.check_files(finder, splits) if processes.is_main else []
    language = open_language(config, needs, processes)
    train = _dataset(config, splits[0], language, config.text.caption_choice == "first")
    val = _dataset(config, splits[1], language, not config.eval.reads_all_captions)
    train.open_cache()
    if not processes.is_main:
        return Data(train, val)
    if before is not None:
        notes += [n for part in (train, val) for n in before.check_words(part, config.data)]
    notes += _describe_shared_scenes(train, val, config.data)
    return Data(train, val, _keep(finder, [train, val]), (*finder.notes, *notes))


def _describe_shared_scenes(train: DepthDataset, val: DepthDataset, data: DataConfig) -> list[str]:
    """A line for the log if validation is of scenes that are trained on."""
    shared = find_shared_scenes(train.samples, val.samples, data)
    if shared is None:
        return []
    line = shared.describe("val")
    advice = "; data.val_list=null sets whole scenes apart, best.pt is chosen on them"
    return [f"WARNING: {line}{advice}" if shared.is_known else line]


def _keep(finder: SplitFinder, datasets: list[DepthDataset]) -> KeptData:
    parts = {dataset.split.name: dataset for dataset in datasets}
    return KeptData.take(
        finder.data,
        {**finder.divided, **{name: part.split.pairs for name, part in parts.items()}},
        {name: part.samples for name, part in parts.items()},
        {name: part.words for name, part in parts.items()},
    )


def load_split(
    config: RunConfig,
    name: SplitName,
    needs: Needs,
    processes: Processes,
    kept: KeptData | None = None,
) -> DepthDataset:
    """One split; a `UserError` if it is to be scored and was trained on.

    kept: what the checkpoint that is to be scored keeps of its data.
    """
    finder = SplitFinder(config.data, kept if kept and kept.divides(config.data) else None)
    split = finder.find(name)
    if kept is not None and name != "train":
        check_unseen(split, kept, config.data)
    language = open_language(config, needs, processes)
    dataset = _dataset(config, split, language, not config.eval.reads_all_captions)
    dataset.notes = (*finder.notes, *dataset.notes)
    return dataset


def _dataset(
    config: RunConfig, split: Split, language: LanguageReader, first_only: bool
) -> DepthDataset:
    words = language.read(split.name, split.files, first_only)
    is_trained = split.name == "train"
    return build_dataset(config.data, split, words, config.seed, is_trained, config.text.dropout)


def training_batches(
    dataset: DepthDataset,
    plan: Plan,
    processes: Processes,
    on_bad: Callable[[Failure], None] = lambda failure: None,
) -> Iterator[Batch]:
    """This process's micro-batches of the plan's steps, in order; on_bad: see `train_loader`."""
    config = plan.config
    rows = processes.share(config.batch_size)
    part_size = config.micro_batch_size or len(rows)
    sampler = StepSampler(
        num_samples=len(dataset),
        batch_size=config.batch_size,
        micro_batch_size=part_size,
        rows=rows,
        seed=plan.seed,
        start_step=plan.start_step,
        num_steps=plan.total_steps - plan.start_step,
    )
    batch_bytes = part_size * dataset.item_bytes
    check_shared_memory(batch_bytes, config.num_workers, sampler.micro_batches_per_step)
    pin_memory = processes.device.type == "cuda"
    return train_loader(dataset, sampler, config.num_workers, pin_memory, on_bad=on_bad)


def evaluation_batches(
    dataset: DepthDataset, config: EvalConfig, processes: Processes
) -> DepthLoader:
    """This process's share of the data set's images, the first `max_images` of them."""
    pin_memory = processes.device.type == "cuda"
    wanted = 4 if len(dataset) > 64 and pin_memory else 0
    return eval_loader(
        dataset,
        config.max_images,
        config.batch_size,
        processes.rank,
        processes.world_size,
        num_workers=num_workers_that_fit(config.batch_size * dataset.item_bytes, wanted),
        pin_memory=pin_memory,
    )
