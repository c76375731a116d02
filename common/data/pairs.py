"""Pairs of an image and its depth map as lists name them; a million of them in a few arrays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.packed import Packed, PackedStrings, Packer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """One list line. Paths start at the data root and have no leading slash, or are absolute."""

    image: str
    depth: str | None  # None: the list has no ground truth for this image


class PairList(Packed[Pair]):
    """images, depths: N paths; the depth is "" where there is none."""

    def __init__(self, images: PackedStrings, depths: PackedStrings) -> None:
        self.images, self.depths = images, depths

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "PairList":
        """Pack them; what is packed already is taken as it is."""
        if isinstance(pairs, PairList):
            return pairs
        return cls.of_columns((pair.image, pair.depth) for pair in pairs)

    @classmethod
    def of_columns(cls, columns: Iterable[tuple[str, str | None]]) -> "PairList":
        """Image and depth of each pair."""
        images, depths = Packer(), Packer()
        for image, depth in columns:
            images.append(image)
            depths.append(depth or "")
        return cls(images.packed(), depths.packed())

    def __len__(self) -> int:
        return len(self.images)

    def item(self, row: int) -> Pair:
        return Pair(self.images.item(row), self.depths.item(row) or None)

    def __iter__(self) -> Iterator[Pair]:
        for image, depth in zip(self.images, self.depths, strict=True):
            yield Pair(image, depth or None)

    def take(self, rows: np.ndarray) -> "PairList":
        return PairList(self.images.take(rows), self.depths.take(rows))

    @property
    def has_depth(self) -> np.ndarray:
        """bool [N], whether there is ground truth."""
        return self.depths.sizes > 0

    @property
    def with_depth(self) -> "PairList":
        """Those that have ground truth."""
        return self if self.has_depth.all() else self.take(np.flatnonzero(self.has_depth))

    @property
    def without_depth(self) -> "PairList":
        """The others."""
        return self.take(np.flatnonzero(~self.has_depth))

    def to_plain(self) -> dict[str, "Tensor"]:
        """In few bytes, for a checkpoint."""
        import torch  # here: programs that make or read lists need no torch

        columns = {"images": self.images, "depths": self.depths}
        return {name: torch.from_numpy(column.compressed()) for name, column in columns.items()}

    @classmethod
    def of_plain(cls, plain: Mapping[str, "Tensor"]) -> "PairList":
        """Undo `to_plain`."""
        columns = (plain[name].numpy() for name in ("images", "depths"))
        return cls(*map(PackedStrings.from_compressed, columns))

    def __add__(self, others: Iterable[Pair]) -> "PairList":
        more = PairList.of(others)
        return PairList(self.images + more.images, self.depths + more.depths)
