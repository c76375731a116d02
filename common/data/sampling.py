"""Which samples each step trains on: a function of (seed, step) alone.

Neither the number of processes, of workers, nor an interruption changes a batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from common.data import workers
from common.data.bad_images import StandIn, read_or_replace
from common.data.batch import Batch, Failure, Item, collate_eval, collate_train
from common.data.dataset import DepthDataset
from common.errors import BadFileError, UserError
from common.shortages import ShortageError, shortages_told


@dataclass(frozen=True)
class StepSampler:
    """This process's micro-batches of every step, as lists of (index, position) keys.

    Sample number `position` of the run is entry `position % num_samples` of the permutation of
    epoch `position // num_samples`; the batch at the end of an epoch goes on into the next one.
    Step s holds positions s * batch_size and on, of which this process owns `rows`.
    """

    num_samples: int
    batch_size: int  # of one step, over all processes
    micro_batch_size: int
    rows: range | None = None  # of each step's batch; None: all
    seed: int = 0
    start_step: int = 0
    num_steps: int = 1  # steps to yield, from start_step on

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise UserError("there are no training images; check data.train_list")

    @property
    def own_rows(self) -> range:
        """This process's, of each step's batch."""
        return range(self.batch_size) if self.rows is None else self.rows

    @property
    def micro_batches_per_step(self) -> int:
        """Of this process; the last one of a step may be smaller."""
        return -(-len(self.own_rows) // self.micro_batch_size)

    def __len__(self) -> int:
        return self.num_steps * self.micro_batches_per_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(self.start_step, self.start_step + self.num_steps):
            keys = []
            for position in (step * self.batch_size + row for row in self.own_rows):
                if position // self.num_samples != epoch:
                    epoch = position // self.num_samples
                    order = epoch_order(self.num_samples, self.seed, epoch)
                keys.append((int(order[position % self.num_samples]), position))
            for first in range(0, len(keys), self.micro_batch_size):
                yield keys[first : first + self.micro_batch_size]


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of one epoch, int64 [num_samples]."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def eval_indices(num_samples: int, rank: int, world_size: int) -> list[int]:
    """This rank's images: every image on exactly one rank, none twice."""
    return list(range(rank, num_samples, world_size))


class DepthLoader(DataLoader):
    """A DataLoader in which a user's error stays one line: workers return it instead of raising.

    torch would hand a raised one on with the worker's whole traceback as its message. What it
    yields are batches, and a `Failure` for each image that cannot be read; the other images of its
    batch come without it. What a machine has too little of, and the death of a worker, are raised
    as a `ShortageError`; remedies: what a user does about them.
    """

    def __init__(
        self,
        dataset: DepthDataset,
        collate: Callable[[list], Batch],
        remedies: workers.Remedies,
        **options: Any,
    ) -> None:
        super().__init__(
            _FailuresAsItems(dataset, remedies),
            collate_fn=partial(_collate_readable, collate, remedies),
            **options,
        )
        self.remedies = remedies

    @property
    def num_images(self) -> int:
        """How many images it yields, where its sampler names single ones."""
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch | Failure]:  # type: ignore[override]
        with shortages_told(self.remedies):
            collated = super().__iter__()
        workers.DEATHS.begin()
        while (found := self._next(collated)) is not None:
            if isinstance(found, UserError):
                raise found
            batch, failures = found
            yield from failures
            if batch is not None:
                yield batch

    def _next(self, collated: Iterator["Collated"]) -> "Collated | None":
        try:
            with workers.DEATHS.waiting(), shortages_told(self.remedies):
                return next(collated, None)
        except Exception as error:
            line = workers.describe_death(error, self.remedies) if self.num_workers else None
            if line is None:
                raise
            raise ShortageError(line) from error


class _FailuresAsItems(Dataset):
    def __init__(self, dataset: DepthDataset, remedies: workers.Remedies) -> None:
        self.dataset, self.remedies = dataset, remedies

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> Item | StandIn | Failure:
        try:
            with shortages_told(self.remedies):
                if isinstance(key, tuple) and self.dataset.skips_bad:
                    return read_or_replace(self.dataset, *key)
                return self.dataset[key]
        except UserError as error:
            index = key[0] if isinstance(key, tuple) else key
            return Failure(self.dataset.samples[index].key, error)


Collated = tuple[Batch | None, list[Failure]] | UserError


def _collate_readable(
    collate: Callable[[list], Batch],
    remedies: workers.Remedies,
    items: list[Item | StandIn | Failure],
) -> Collated:
    failures = [item for item in items if isinstance(item, Failure)]
    failures += [f for item in items if isinstance(item, StandIn) for f in item.failures]
    readable = [item.item if isinstance(item, StandIn) else item
                for item in items if not isinstance(item, Failure)]  # fmt: skip
    for failure in failures:
        if isinstance(failure.error, ShortageError):  # is no fault of the image
            return failure.error
    try:
        with shortages_told(remedies):
            batch = collate(readable) if readable else None
            if batch is not None and get_worker_info() is not None:
                batch.share_memory()  # here and not when it is sent, where a failure is not told
            return batch, failures
    except UserError as error:
        return error


def train_loader(
    dataset: DepthDataset,
    sampler: StepSampler,
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch: int = workers.PREFETCH,
    on_bad: Callable[[Failure], None] = lambda failure: None,
) -> Iterator[Batch]:
    """Micro-batches in the sampler's order, workers started once; each keeps `prefetch` ready.

    Raises the error of an image that cannot be read when its batch is due, or calls `on_bad` then
    where another image stands in for it.
    """
    loader = DepthLoader(
        dataset,
        collate_train,
        workers.TRAINING,
        batch_sampler=sampler,
        **_worker_options(num_workers, pin_memory, prefetch),
    )
    for batch in loader:
        if not isinstance(batch, Failure):
            yield batch
        elif dataset.skips_bad and isinstance(batch.error, BadFileError):
            on_bad(batch)
        else:
            raise batch.error


def eval_loader(
    dataset: DepthDataset,
    num_images: int | None = None,
    batch_size: int = 1,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch: int = workers.PREFETCH,
) -> DepthLoader:
    """This rank's share of the images in list order; `gt_depth` comes as a list.

    num_images: only so many, from the start of the list.
    """
    num_images = min(len(dataset), num_images or len(dataset))
    return DepthLoader(
        dataset,
        collate_eval,
        workers.EVALUATION,
        batch_size=batch_size,
        sampler=eval_indices(num_images, rank, world_size),
        **_worker_options(num_workers, pin_memory, prefetch),
    )


def scored_alone(dataset: DepthDataset, indices: list[int]) -> DepthLoader:
    """Some images in this order, one to a batch, for predictions whose sizes may differ."""
    return DepthLoader(
        dataset,
        collate_eval,
        workers.EVALUATION,
        batch_size=1,
        sampler=indices,
        **_worker_options(0, False, workers.PREFETCH),
    )


def _worker_options(num_workers: int, pin_memory: bool, prefetch: int) -> dict[str, Any]:
    return {
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        "prefetch_factor": prefetch if num_workers else None,
        "worker_init_fn": workers.start_worker,
        # Its own generator: a DataLoader otherwise draws from torch's global one, and a resumed
        # run would not see the same random numbers as an uninterrupted one.
        "generator": torch.Generator().manual_seed(0),
    }
