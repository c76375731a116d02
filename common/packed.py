"""Long lists in a few arrays: what a list of a million Python strings takes is mostly not text.

    names = PackedStrings.of(["a/1.jpg", "a/2.jpg"])     # a sequence of strings
    names[1], names[::2], names.take(rows)               # parts share the text

A string in a list costs about 120 bytes, packed its text and 12 more. Arrays count no references:
worker processes that are forked share them with their parent, and to others they are sent at once.
"""

import zlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import TypeVar, overload

import numpy as np

from common.text_files import to_bytes, to_text

Element = TypeVar("Element")
Own = TypeVar("Own", bound="Packed")
CHUNK = 2**14  # strings that exist as Python objects at a time
_HALF = 0.5


class Packed(Sequence[Element]):
    """A sequence whose items are made when they are asked for."""

    @abstractmethod
    def item(self, row: int) -> Element:
        """The item in this row, counted from 0."""

    @abstractmethod
    def take(self: Own, rows: np.ndarray) -> Own:
        """The items of these rows (int [M], or bool [N]), in their order."""

    @overload
    def __getitem__(self, index: int) -> Element: ...

    @overload
    def __getitem__(self: Own, index: slice) -> Own: ...

    def __getitem__(self: Own, index: int | slice) -> Element | Own:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.item(index % len(self))

    def __eq__(self, other: object) -> bool:
        """With a list of the same items, too."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        same_length = len(self) == len(other)
        return same_length and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} items)"


class PackedStrings(Packed[str]):
    """text: uint8, UTF-8 (and the bytes of names that are not). starts: int64 [N], of each in the
    text. sizes: int32 [N], bytes.
    """

    def __init__(self, text: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> None:
        self.text, self.starts, self.sizes = text, starts, sizes

    @classmethod
    def of(cls, strings: Iterable[str]) -> "PackedStrings":
        """Pack them; what is packed already is taken as it is."""
        strings = getattr(strings, "names", strings)  # of a `PackedMapping`
        if isinstance(strings, PackedStrings):
            return strings
        packer, strings = Packer(), iter(strings)
        while chunk := list(islice(strings, CHUNK)):
            packer.extend(chunk)
        return packer.packed()

    @classmethod
    def from_joined(cls, text: np.ndarray) -> "PackedStrings":
        """Of uint8 text with a newline between the strings; shares it."""
        ends = np.append(np.flatnonzero(text == ord("\n")), len(text))
        starts = np.append(0, ends[:-1] + 1)
        return cls(text, starts, (ends - starts).astype(np.int32))

    def __len__(self) -> int:
        return len(self.starts)

    def __add__(self, others: "PackedStrings") -> "PackedStrings":
        text, offset = self.text, 0
        if others.text is not text:
            text, offset = np.concatenate([text, others.text]), len(text)
        starts = np.concatenate([self.starts, others.starts + offset])
        return PackedStrings(text, starts, np.concatenate([self.sizes, others.sizes]))

    def item(self, row: int) -> str:
        start = int(self.starts[row])
        return to_text(self._view[start : start + int(self.sizes[row])])

    def __iter__(self) -> Iterator[str]:
        return map(to_text, self.parts())

    def parts(self) -> Iterator[memoryview]:
        """The bytes of each."""
        view = self._view
        for first in range(0, len(self), CHUNK):
            starts = self.starts[first : first + CHUNK]
            ends = (starts + self.sizes[first : first + CHUNK]).tolist()
            for start, end in zip(starts.tolist(), ends, strict=True):
                yield view[start:end]

    def joined(self, first: int = 0, end: int | None = None) -> np.ndarray:
        """uint8: the bytes of these rows, one after the other, without a Python object for each."""
        starts, sizes = self.starts[first:end], self.sizes[first:end].astype(np.int64)
        ends = np.cumsum(sizes)
        if not len(ends):
            return self.text[:0]
        if np.array_equal(starts - starts[0], ends - sizes):  # as they lie there
            return self.text[starts[0] : starts[0] + ends[-1]]
        return self.text[np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1])]

    def take(self, rows: np.ndarray) -> "PackedStrings":
        """As `view`, but most of the text is not kept for nothing."""
        part = self.view(rows)
        return PackedStrings.of(iter(part)) if part.num_bytes < _HALF * len(self.text) else part

    def view(self, rows: np.ndarray) -> "PackedStrings":
        """The strings of these rows, with the same text behind them."""
        return PackedStrings(self.text, self.starts[rows], self.sizes[rows])

    def without_start(self, start: str) -> "PackedStrings":
        """The same with no `start`, a letter, in front of any."""
        strings = self
        while len(marked := np.flatnonzero(strings.sizes > 0)):
            has_it = strings.text[strings.starts[marked]] == ord(start)
            if not has_it.any():
                break
            cut = np.zeros(len(strings), np.int32)
            cut[marked[has_it]] = 1
            strings = strings.cut(cut)
        return strings

    def cut(self, num_bytes: np.ndarray) -> "PackedStrings":
        """Without so many bytes, int [N], at the start of each."""
        sizes = (self.sizes - num_bytes).astype(np.int32)
        return PackedStrings(self.text, self.starts + num_bytes, sizes)

    @property
    def num_bytes(self) -> int:
        """Of the text."""
        return int(self.sizes.sum(dtype=np.int64))

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint32 [N], the same in every process; made when they are first asked for."""
        return np.fromiter(map(zlib.crc32, self.parts()), np.uint32, len(self))

    @cached_property
    def lookup(self) -> "PackedIndex":
        """Where each string stands; made when it is first asked for."""
        return PackedIndex(self)

    def to_joined(self) -> np.ndarray:
        """uint8: the text with a newline between the strings, as `from_joined` takes it."""
        lines, start = np.full(self.num_bytes + len(self), ord("\n"), np.uint8), 0
        for first in range(0, len(self), CHUNK):
            text, sizes = self.joined(first, first + CHUNK), self.sizes[first : first + CHUNK]
            newlines_before = np.repeat(np.arange(len(sizes)), sizes)
            lines[start + np.arange(len(text)) + newlines_before] = text
            start += len(text) + len(sizes)
        return lines[:-1]

    def sorted_rows(self) -> np.ndarray:
        """The rows in the order of their strings, as Python sorts these; equal ones as they are."""
        if all(a <= b for a, b in pairwise(map(bytes, self.parts()))):
            return np.arange(len(self))
        keys = [bytes(part) for part in self.parts()]
        return np.array(sorted(range(len(self)), key=keys.__getitem__), np.int64)

    def compressed(self) -> np.ndarray:
        """All of it in few bytes, uint8; `from_compressed` undoes it."""
        packer = zlib.compressobj(level=1)
        head = np.int64(len(self)).tobytes() + self.sizes.astype(np.int32).tobytes()
        packed = bytearray(packer.compress(head))
        for first in range(0, len(self), CHUNK):
            packed += packer.compress(self.joined(first, first + CHUNK).tobytes())
        return np.frombuffer(packed + packer.flush(), np.uint8)

    @classmethod
    def from_compressed(cls, packed: np.ndarray) -> "PackedStrings":
        """Undo `compressed`."""
        content = np.frombuffer(bytearray(zlib.decompress(packed.tobytes())), np.uint8)
        end = 8 + 4 * int(content[:8].view(np.int64)[0])
        sizes = content[8:end].view(np.int32)
        return cls(content[end:], np.cumsum(sizes, dtype=np.int64) - sizes, sizes)

    @property
    def _view(self) -> memoryview:
        return memoryview(self.text)  # type: ignore[arg-type]


class Packer:
    """Takes strings one by one, or many at a time."""

    def __init__(self) -> None:
        self._text, self._sizes = bytearray(), [np.empty(0, np.int32)]
        self._waiting: list[str] = []

    def append(self, string: str) -> None:
        self._waiting.append(string)
        if len(self._waiting) == CHUNK:
            self.extend(())

    def extend(self, strings: Iterable[str]) -> None:
        chunk = [to_bytes(string) for string in (*self._waiting, *strings)]
        self._text += b"".join(chunk)
        self._sizes.append(np.fromiter(map(len, chunk), np.int32, len(chunk)))
        self._waiting = []

    def packed(self) -> PackedStrings:
        """All of them."""
        self.extend(())
        sizes = np.concatenate(self._sizes)
        ends = np.cumsum(sizes, dtype=np.int64)
        return PackedStrings(np.frombuffer(self._text, np.uint8), ends - sizes, sizes)


class PackedIndex:
    """Finds strings by a hash that is the same in every process; equal hashes are compared."""

    def __init__(self, strings: PackedStrings) -> None:
        self.strings = strings
        hashes = strings.hashes
        self.rows = np.argsort(hashes, kind="stable").astype(np.int32)
        self.hashes = hashes[self.rows]

    def find(self, string: str) -> int:
        """The last row that holds it; -1: none does."""
        try:
            text = to_bytes(string)
        except UnicodeEncodeError:
            return -1
        mark = np.uint32(zlib.crc32(text))
        at = int(np.searchsorted(self.hashes, mark, "right")) - 1
        while at >= 0 and self.hashes[at] == mark:
            row = int(self.rows[at])
            if self.strings.item(row) == string:
                return row
            at -= 1
        return -1

    def find_all(self, strings: Iterable[str]) -> np.ndarray:
        """int64 [M], as `find` of each."""
        wanted = PackedStrings.of(strings)
        if wanted is self.strings and not len(self.repeated()):
            return np.arange(len(wanted))
        hashes = wanted.hashes
        at = np.maximum(np.searchsorted(self.hashes, hashes, "right") - 1, 0)
        if not len(self.strings):
            return np.full(len(wanted), -1)
        found = self.rows[at].astype(np.int64)
        for row in np.flatnonzero(~_are_same(wanted, self.strings, found)).tolist():
            found[row] = self.find(wanted.item(row))
        return found

    def repeated(self) -> np.ndarray:
        """The rows whose string stands in a later row once more, in their order."""
        at = np.flatnonzero(self.hashes[1:] == self.hashes[:-1])
        rows = np.unique(self.rows[np.concatenate([at, at + 1])]).tolist()
        last: dict[str, int] = {self.strings.item(row): row for row in rows}
        return np.array([r for r in rows if last[self.strings.item(r)] != r], np.int64)


def _are_same(first: PackedStrings, second: PackedStrings, rows: np.ndarray) -> np.ndarray:
    """bool [N]: whether each of the first is the second's of that row."""
    others = second.view(rows)
    same = first.sizes == others.sizes
    alike = np.flatnonzero(same & (first.sizes > 0))
    for start in range(0, len(alike), CHUNK):
        some = alike[start : start + CHUNK]
        differ = first.view(some).joined() != others.view(some).joined()
        begins = np.cumsum(first.sizes[some], dtype=np.int64) - first.sizes[some]
        same[some] = ~np.logical_or.reduceat(differ, begins)
    return same
