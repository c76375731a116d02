"""The features of images by their keys, over one or several feature files.

store = FeatureStore.open("text.safetensors")
store["kitchen_0028b/rgb_00045.jpg"]          # float32 [1024], of several the first
store.all_of("kitchen_0028b/rgb_00045.jpg")   # float32 [K, 1024], one for each caption
store.lent({"a.jpg": "b.jpg"})["a.jpg"]       # that of b.jpg
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.language.feature_files import FeatureTable, open_table
from common.packed import PackedStrings
from common.packed_mappings import PackedLists, PackedRows


class FeatureStore:
    """key -> float32 [D], over one or several feature files; a later file wins for a shared key."""

    def __init__(
        self,
        paths: Sequence[Path],
        tables: Sequence[FeatureTable],
        lenders: Mapping[str, str] | None = None,
        first_only: bool = False,
    ) -> None:
        """lenders: key -> the key whose features it has; None: every key has its own.

        first_only: of several features of an image there is only the first.
        """
        self._complete_for: PackedStrings | None = None  # keys that have been looked up before
        self.paths = tuple(paths)
        if first_only:
            tables = [replace(table, rows=table.rows.only_firsts()) for table in tables]
        self._tables = tuple(reversed(tables))
        self._lenders, self._first_only = lenders, first_only
        dims = {
            str(path): table.features.shape[1] for path, table in zip(paths, tables, strict=True)
        }
        if len(set(dims.values())) != 1:
            raise UserError(f"feature files differ in length: {dims}; use one encoder for all")

    @classmethod
    def open(cls, paths: str | Path | Sequence[str | Path]) -> "FeatureStore":
        """Open packed files, or `.npz` files with `image` [N] and `feature` [N, D]."""
        files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
        return cls(files, [open_table(path) for path in files])

    def lent(self, lenders: Mapping[str, str]) -> "FeatureStore":
        """The same features, given to other keys: key -> the key whose features it gets, all."""
        return FeatureStore(self.paths, self.tables, lenders, self._first_only)

    def only_firsts(self) -> "FeatureStore":
        """The same with the first feature of every image alone."""
        return FeatureStore(self.paths, self.tables, self._lenders, first_only=True)

    def __reduce__(self) -> tuple:
        """Another process opens the files itself instead of receiving their contents."""
        return _reopen, (self.paths, self._lenders, self._first_only)

    def __getitem__(self, key: str) -> Tensor:
        return self.nth(key, 0)

    def nth(self, key: str, number: int) -> Tensor:
        """Feature `number` of an image, counted from 0, float32 [D]."""
        table, rows = self._rows_of(key)
        return table.features[int(rows[number])].float()

    def all_of(self, key: str) -> Tensor:
        """All features of an image, in the order of its captions: float32 [K, D]."""
        table, rows = self._rows_of(key)
        return table.features[torch.from_numpy(rows.astype(np.int64))].float()

    def count_of(self, key: str) -> int:
        """How many features an image has."""
        return len(self._rows_of(key)[1])

    def _rows_of(self, key: str) -> tuple[FeatureTable, np.ndarray]:
        own = key if self._lenders is None else self._lenders[key]
        for table in self._tables:
            if own in table.rows:
                return table, table.rows.all_of(own)
        raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        own = key if self._lenders is None else self._lenders.get(key)
        return any(own in table.rows for table in self._tables)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that have no feature, in their order."""
        wanted = PackedStrings.of(keys)
        if wanted is self._complete_for:
            return []
        lacking = list(wanted.view(np.flatnonzero(self._find(wanted) < 0)))
        self._complete_for = None if lacking else wanted
        return lacking

    def gather(self, keys: Iterable[str]) -> tuple[Tensor, Tensor]:
        """The features of all files [M, D], and the rows of each key one key after the other,
        int64 [T].

        Images share rows: the features of a million may be a thousand.
        """
        parts = [table.features for table in self._tables]
        numbers = self._lists_of(keys).numbers.astype(np.int64)
        return parts[0] if len(parts) == 1 else torch.cat(parts), torch.from_numpy(numbers)

    def counts(self, keys: Iterable[str]) -> np.ndarray:
        """How many features each key has, int64 [N]."""
        return self._lists_of(keys).counts

    def _lists_of(self, keys: Iterable[str]) -> PackedLists:
        """Which rows of all tables, one below the other, each key has."""
        found = self._find(PackedStrings.of(keys))
        if (found < 0).any():
            raise KeyError("not every key has a feature")
        parts, first = [], 0
        for table in self._tables:
            parts.append(table.rows.lists.shifted(first))
            first += len(table.features)
        return PackedLists.joined(parts).take(found)

    def _find(self, keys: PackedStrings) -> np.ndarray:
        """int64 [N], which entry of all tables, one behind the other; -1: there is none."""
        lenders = self._lenders
        own = keys
        if lenders is not None:
            own = PackedStrings.of(lenders.get(key, _NOBODY) for key in keys)
        entries, first = np.full(len(own), -1), 0
        for table in self._tables:
            found = table.rows.names.lookup.find_all(own)
            is_new = (entries < 0) & (found >= 0)
            entries[is_new] = first + found[is_new]
            first += len(table.rows)
        return entries

    @property
    def dim(self) -> int:
        return self._tables[0].features.shape[1]

    @property
    def has_several(self) -> bool:
        """Whether any image has more than one feature."""
        return any(table.rows.lists.has_several for table in self._tables)

    @property
    def tables(self) -> tuple[FeatureTable, ...]:
        """One per file, in the order of `paths`."""
        return tuple(reversed(self._tables))

    @property
    def provenance(self) -> tuple[dict[str, Any] | None, ...]:
        """Where each file came from, in the order of `paths`."""
        return tuple(table.provenance for table in self.tables)


_NOBODY = "\n"  # no key is this
_ONE_ROW = PackedRows(PackedStrings.of(("",)), np.zeros(1, np.int32))


class ZeroFeatures(FeatureStore):
    """Zeros of one length for every key: no words at all."""

    def __init__(self, dim: int) -> None:
        super().__init__((Path(),), (FeatureTable(torch.zeros(1, dim), _ONE_ROW, None),))

    def __reduce__(self) -> tuple:
        return ZeroFeatures, (self.dim,)

    def only_firsts(self) -> "ZeroFeatures":
        return self

    def _rows_of(self, key: str) -> tuple[FeatureTable, np.ndarray]:
        return self.tables[0], np.zeros(1, np.int64)

    def __contains__(self, key: str) -> bool:
        return True

    def _find(self, keys: PackedStrings) -> np.ndarray:
        return np.zeros(len(keys), np.int64)


def _reopen(
    paths: Sequence[Path], lenders: Mapping[str, str] | None, first_only: bool = False
) -> FeatureStore:
    return FeatureStore(paths, [open_table(path) for path in paths], lenders, first_only)
