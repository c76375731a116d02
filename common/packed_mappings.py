"""Large mappings from names to what is made when it is asked for; see `packed.py`.

rows = PackedRows(PackedStrings.of(["a.jpg", "b.jpg"]), PackedLists.of_counts([0, 0, 1], [1, 2]))
rows["b.jpg"], rows.missing(["c.jpg"])               # 0, the first of its two; ["c.jpg"]
"""

from abc import abstractmethod
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any, Generic, TypeVar

import numpy as np

from common.packed import PackedStrings

Value = TypeVar("Value")


class PackedMapping(Mapping[str, Value], Generic[Value]):
    """Values by name, made when they are asked for. names: each one once."""

    def __init__(self, names: PackedStrings) -> None:
        self.names = names

    @abstractmethod
    def value_at(self, row: int) -> Value:
        """The value of the name in this row."""

    def __getitem__(self, name: str) -> Value:
        row = self.names.lookup.find(name)
        if row < 0:
            raise KeyError(name)
        return self.value_at(row)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.names.lookup.find(name) >= 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def values(self) -> ValuesView[Value]:
        return _Values(self)

    def items(self) -> ItemsView[str, Value]:
        return _Items(self)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those that have no value, in their order."""
        wanted = PackedStrings.of(names)
        if wanted is self.names:
            return []
        return list(wanted.view(np.flatnonzero(self.names.lookup.find_all(wanted) < 0)))


class PackedLists:
    """N short lists of whole numbers, none of them empty; most often all of one number.

    numbers: int [T], list by list. starts: int64 [N + 1], where each begins; None: at every number.
    """

    def __init__(self, numbers: np.ndarray, starts: np.ndarray | None = None) -> None:
        self.numbers, self._starts = numbers, starts

    @classmethod
    def of_counts(
        cls, numbers: Sequence[int] | np.ndarray, counts: Sequence[int] | np.ndarray
    ) -> "PackedLists":
        """counts: int [N], how many of the numbers each list has."""
        counts = np.asarray(counts, np.int64)
        if (counts == 1).all():
            return cls(np.asarray(numbers))
        return cls(np.asarray(numbers), np.append(0, np.cumsum(counts)))

    @classmethod
    def joined(cls, parts: Sequence["PackedLists"]) -> "PackedLists":
        """The lists of all parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        numbers = np.concatenate([part.numbers for part in parts])
        return cls.of_counts(numbers, np.concatenate([part.counts for part in parts]))

    def __len__(self) -> int:
        return len(self.numbers) if self._starts is None else len(self._starts) - 1

    @property
    def has_several(self) -> bool:
        """Whether any list has more than one number."""
        return self._starts is not None

    @property
    def counts(self) -> np.ndarray:
        """int64 [N]."""
        return np.ones(len(self), np.int64) if self._starts is None else np.diff(self._starts)

    @property
    def firsts(self) -> np.ndarray:
        """The first number of each, int [N]."""
        return self.numbers if self._starts is None else self.numbers[self._starts[:-1]]

    def first(self, row: int) -> int:
        """The first number of the list in this row."""
        return int(self.numbers[row if self._starts is None else self._starts[row]])

    def item(self, row: int) -> np.ndarray:
        """The numbers of the list in this row, int [K]."""
        if self._starts is None:
            return self.numbers[row : row + 1]
        return self.numbers[self._starts[row] : self._starts[row + 1]]

    def take(self, rows: np.ndarray) -> "PackedLists":
        """The lists of these rows, int [M], in their order."""
        if self._starts is None:
            return PackedLists(self.numbers[rows])
        counts = np.diff(self._starts)[rows]
        ends = np.cumsum(counts)
        inside = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
        return PackedLists.of_counts(
            self.numbers[np.repeat(self._starts[rows], counts) + inside], counts
        )

    def shifted(self, offset: int) -> "PackedLists":
        """The same lists with every number larger by `offset`."""
        return PackedLists(self.numbers + offset, self._starts) if offset else self


class PackedRows(PackedMapping[int]):
    """Name -> whole number; of several the first. lists: one of each name, or int [N]."""

    def __init__(self, names: PackedStrings, lists: PackedLists | np.ndarray) -> None:
        super().__init__(names)
        self.lists = lists if isinstance(lists, PackedLists) else PackedLists(lists)

    def value_at(self, row: int) -> int:
        return self.lists.first(row)

    def all_of(self, name: str) -> np.ndarray:
        """All numbers of a name, int [K]."""
        row = self.names.lookup.find(name)
        if row < 0:
            raise KeyError(name)
        return self.lists.item(row)

    def only_firsts(self) -> "PackedRows":
        """The same names with their first numbers alone."""
        return PackedRows(self.names, self.lists.firsts) if self.lists.has_several else self


class _Values(ValuesView):
    """Without a search for each."""

    _mapping: PackedMapping

    def __iter__(self) -> Iterator[Any]:
        return map(self._mapping.value_at, range(len(self._mapping)))


class _Items(ItemsView):
    _mapping: PackedMapping

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return zip(self._mapping, self._mapping.values(), strict=True)
