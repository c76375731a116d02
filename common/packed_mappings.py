"""Large mappings from names to what is made when it is asked for; see `packed.py`.

rows = PackedRows(PackedStrings.of(["a.jpg", "b.jpg"]), np.array([0, 0]))
rows["b.jpg"], rows.missing(["c.jpg"])               # 0, ["c.jpg"]
"""

from abc import abstractmethod
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
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


class PackedRows(PackedMapping[int]):
    """Name -> whole number. rows: int [N]."""

    def __init__(self, names: PackedStrings, rows: np.ndarray) -> None:
        super().__init__(names)
        self.rows = rows

    def value_at(self, row: int) -> int:
        return int(self.rows[row])


class _Values(ValuesView):
    """Without a search for each."""

    _mapping: PackedMapping

    def __iter__(self) -> Iterator[Any]:
        return map(self._mapping.value_at, range(len(self._mapping)))


class _Items(ItemsView):
    _mapping: PackedMapping

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return zip(self._mapping, self._mapping.values(), strict=True)
