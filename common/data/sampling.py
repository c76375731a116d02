"""Which samples each step trains on: a function of (seed, step) alone.

Neither the number of processes, of workers, nor an interruption changes a batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, get_worker_info

from common.data import workers
from common.data.batch import Batch, Item, collate_eval, collate_train
from common.data.dataset import DepthDataset
from common.errors import UserError
from common.shortages import shortages_told


@dataclass(frozen=True)
class StepSampler:
    """This rank's micro-batches of every step, as lists of (index, position) keys.

    Sample number `position` of the run is entry `position % num_samples` of the permutation of
    epoch `position // num_samples`; the batch at the end of an epoch goes on into the next one.
    Step s holds positions s * batch_size and on; rank r owns the r-th part of them.
    """

    num_samples: int
    batch_size: int  # of one step, over all ranks
    micro_batch_size: int
    rank: int = 0
    world_size: int = 1
    seed: int = 0
    start_step: int = 0
    num_steps: int = 1  # steps to yield, from start_step on

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise UserError("there are no training images; check data.train_list")
        check_share(self.batch_size, self.world_size)

    @property
    def micro_batches_per_step(self) -> int:
        """Of one rank; the last one of a step may be smaller."""
        return -(-self.batch_size // self.world_size // self.micro_batch_size)

    def __len__(self) -> int:
        return self.num_steps * self.micro_batches_per_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self.batch_size // self.world_size
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(self.start_step, self.start_step + self.num_steps):
            start = step * self.batch_size + self.rank * share
            keys = []
            for position in range(start, start + share):
                if position // self.num_samples != epoch:
                    epoch = position // self.num_samples
                    order = epoch_order(self.num_samples, self.seed, epoch)
                keys.append((int(order[position % self.num_samples]), position))
            for first in range(0, share, self.micro_batch_size):
                yield keys[first : first + self.micro_batch_size]


def check_share(batch_size: int, world_size: int) -> None:
    """Raise a `UserError` unless every process gets an equal part of the batch."""
    if batch_size % world_size:
        below = batch_size // world_size * world_size
        nearest = f"{below} or {below + world_size}" if below else f"{world_size}"
        raise UserError(
            f"train.batch_size: {batch_size} is not divisible by the {world_size} processes; "
            f"use {nearest}"
        )


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of one epoch, int64 [num_samples]."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def eval_indices(num_samples: int, rank: int, world_size: int) -> list[int]:
    """This rank's images: every image on exactly one rank, none twice."""
    return list(range(rank, num_samples, world_size))


class DepthLoader(DataLoader):
    """A DataLoader in which a user's error stays one line: workers return it instead of raising.

    torch would hand a raised one on with the worker's whole traceback as its message. The death of
    a worker becomes a `UserError` too. remedies: what a user does about either.
    """

    def __init__(
        self,
        dataset: DepthDataset | Subset,
        collate: Callable[[list], Batch],
        remedies: workers.Remedies,
        **options: Any,
    ) -> None:
        super().__init__(
            _ErrorsAsItems(dataset, remedies),
            collate_fn=partial(_collate_or_error, collate, remedies),
            **options,
        )
        self.remedies = remedies

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        with shortages_told(self.remedies):
            batches = super().__iter__()
        workers.DEATHS.begin()
        while (batch := self._next(batches)) is not None:
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def _next(self, batches: Iterator[Batch | UserError]) -> Batch | UserError | None:
        try:
            with workers.DEATHS.waiting(), shortages_told(self.remedies):
                return next(batches, None)
        except Exception as error:
            line = workers.describe_death(error, self.remedies) if self.num_workers else None
            if line is None:
                raise
            raise UserError(line) from error


class _ErrorsAsItems(Dataset):
    def __init__(self, dataset: DepthDataset | Subset, remedies: workers.Remedies) -> None:
        self.dataset, self.remedies = dataset, remedies

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Item | UserError:
        try:
            with shortages_told(self.remedies):
                return self.dataset[key]
        except UserError as error:
            return error


def _collate_or_error(
    collate: Callable[[list], Batch], remedies: workers.Remedies, items: list
) -> Batch | UserError:
    errors = [item for item in items if isinstance(item, UserError)]
    if errors:
        return errors[0]
    try:
        with shortages_told(remedies):
            batch = collate(items)
            if get_worker_info() is not None:
                batch.share_memory()  # here and not when it is sent, where a failure is not told
            return batch
    except UserError as error:
        return error


def train_loader(
    dataset: DepthDataset,
    sampler: StepSampler,
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch: int = workers.PREFETCH,
) -> DepthLoader:
    """Micro-batches in the sampler's order, workers started once; each keeps `prefetch` ready."""
    return DepthLoader(
        dataset,
        collate_train,
        workers.TRAINING,
        batch_sampler=sampler,
        **_worker_options(num_workers, pin_memory, prefetch),
    )


def eval_loader(
    dataset: DepthDataset | Subset,
    batch_size: int = 1,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch: int = workers.PREFETCH,
) -> DepthLoader:
    """This rank's share of the images in list order; `gt_depth` comes as a list."""
    return DepthLoader(
        dataset,
        collate_eval,
        workers.EVALUATION,
        batch_size=batch_size,
        sampler=eval_indices(len(dataset), rank, world_size),
        **_worker_options(num_workers, pin_memory, prefetch),
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
