"""Training images that cannot be read, and those that stand in for them (`data.on_error=skip`).

    read_or_replace(dataset, index=7, position=120)     # in the worker: the item, or a stand-in's
    bad = BadImages(num_images=795, max_share=0.01)
    bad.add(failure)            # as batches come due, on the process that reads them
    new = bad.meet(processes.gather)    # all processes at once: those that none has known
    bad.check()                 # a UserError above the share

Which image stands in is a function of the seed and of the sample's position in the run: neither the
number of processes, of workers, nor an interruption changes it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.data.batch import Failure, Item
from common.data.dataset import DepthDataset
from common.errors import BadFileError, UserError

MOST_TRIED = 20  # stand-ins of one sample: where none can be read, a disk has gone, and no file
_STAND_INS = 3  # the random stream, beside those of dataset.py


@dataclass(frozen=True)
class StandIn:
    """A training item in the place of images that cannot be read, in the order they were tried."""

    item: Item
    failures: list[Failure]


def read_or_replace(dataset: DepthDataset, index: int, position: int) -> Item | StandIn:
    """The training item of an image, or that of another one if its files are at fault.

    A `UserError` if those that stand in for it cannot be read either.
    """
    failures: list[Failure] = []
    for candidate in _candidates(len(dataset), dataset.seed, index, position):
        try:
            item = dataset[candidate, position]
        except BadFileError as error:
            failures.append(Failure(dataset.samples[candidate].key, error, position))
        else:
            return StandIn(item, failures) if failures else item
    raise UserError(
        f"{len(failures)} training images, one after the other, cannot be read: is the disk still "
        f"there? The first: {failures[0].error}"
    )


def _candidates(num_images: int, seed: int, index: int, position: int) -> Iterator[int]:
    """The image itself, then its stand-ins."""
    yield index
    rng = np.random.default_rng([seed, position, _STAND_INS])
    drawn = rng.choice(num_images, min(MOST_TRIED + 1, num_images), replace=False)
    yield from [int(other) for other in drawn if other != index][:MOST_TRIED]


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read. file: the one at fault, the picture or its depth map."""

    image: str  # its key
    file: str
    reason: str  # the line of the error

    def to_plain(self) -> dict[str, str]:
        return dict(vars(self))


class BadImages:
    """Those of a run, each once; of several processes all know the same after they have met."""

    def __init__(self, num_images: int, max_share: float):
        self.num_images, self.max_share = num_images, max_share
        self.known: dict[str, BadImage] = {}
        self._pending: list[Failure] = []

    def __len__(self) -> int:
        return len(self.known)

    @property
    def most(self) -> int:
        """How many a run may have: the share, and one of a small set; none if the share is 0."""
        return max(int(self.max_share * self.num_images), 1 if self.max_share else 0)

    def add(self, failure: Failure) -> None:
        """Note what this process has met; it counts when the processes meet."""
        self._pending.append(failure)

    def meet(self, gather: Callable[[list], list] = list) -> list[BadImage]:
        """Called by all processes at once; the new ones, in the order of the run's samples.

        gather: a list of this process -> those of all processes in one.
        """
        pending, self._pending = gather(self._pending), []
        before = len(self.known)
        for failure in sorted(pending, key=lambda failure: failure.position):
            path = failure.error.path if isinstance(failure.error, BadFileError) else ""
            bad = BadImage(failure.image, path, str(failure.error))
            self.known.setdefault(bad.image, bad)
        return list(self.known.values())[before:]

    def check(self) -> None:
        """Raise a `UserError` if there are more than a run may have."""
        if len(self) <= self.most:
            return
        last = list(self.known.values())[-1]
        raise UserError(
            f"{len(self)} of {self.num_images} training images cannot be read, more than "
            f"data.max_bad_share={self.max_share:g} allows ({self.most}); mend or take out the "
            f"files, or raise the share. The last: {last.reason}"
        )

    def state(self) -> list[dict[str, str]]:
        """Plain types, for a checkpoint; also of what this process alone has met so far."""
        self.meet()
        return [bad.to_plain() for bad in self.known.values()]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Undo `state`."""
        self.known = {plain["image"]: BadImage(**plain) for plain in state}
