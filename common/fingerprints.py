"""What identifies files: their size, and their contents where those are cheap; never a name alone.

    before = take_fingerprint({"a.png": path_of_a, ...})  # a stat for each file; 32 are read
    before.changed({"a.png": where_it_is_now})            # ["a.png"]: another file than then

A new size is another file. A new time of change alone is not: a data set that was copied to another
disk has new times everywhere. So where every time is new, a sample of the files is read, and the
others are believed if all of these are the same. Where only some times are new, those files were
written again, and are taken for others unless their contents are known and the same.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.shards import place_of, stored_facts

NUM_READ = 32  # files of a set whose contents are known
_THREADS, _CHUNK = 16, 1024  # a network disk answers many questions at a time
_BLOCK = 2**20  # bytes
_GONE = (-1, -1)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A set of files as they were. facts: int64 [N, 2], bytes and nanoseconds of the last change.

    contents: name -> SHA-256, of some of the files or of all.
    """

    names: tuple[str, ...]
    facts: np.ndarray
    contents: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One word for names, sizes and known contents; the same for a copy of the files."""
        sizes = self.facts[:, 0].tolist()
        text = json.dumps([self.names, sizes, sorted(self.contents.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def changed(self, files: Mapping[str, str | Path]) -> list[str]:
        """The names among `files` (name -> where it is now) that were another file, in their order.

        Files that are gone are among them, names that are not known here are not.
        """
        rows = {name: row for row, name in enumerate(self.names)}
        names = [name for name in files if name in rows]
        if not names:
            return []
        now = facts_of([files[name] for name in names])
        then = self.facts[[rows[name] for name in names]]
        is_other = now[:, 0] != then[:, 0]
        is_retimed = ~is_other & (now[:, 1] != then[:, 1])
        is_copy = bool(is_retimed[~is_other].all())
        retimed = [name for name, flag in zip(names, is_retimed, strict=True) if flag]
        known = [name for name in retimed if name in self.contents]
        if is_copy:
            known = [known[row] for row in _sample_rows(len(known))]
        others = {name for name in known if not has_contents(files[name], self.contents[name])}
        if others or not is_copy:
            others |= set(retimed) - set(known)
        return [name for name, flag in zip(names, is_other, strict=True) if flag or name in others]


def take_fingerprint(
    files: Mapping[str, str | Path], may_be_unreadable: bool = False
) -> Fingerprint:
    """The files (name -> path) as they are now; a `UserError` if one cannot be read.

    may_be_unreadable: its contents, or size and time too, are then not known.
    """
    names = tuple(files)
    facts = facts_of(list(files.values()))
    for name in (names[row] for row in np.flatnonzero(facts[:, 0] < 0)[:1]):
        if not may_be_unreadable:
            file_identity(Path(files[name]))  # which says why it cannot be read
    contents = {}
    for name in (names[row] for row in _sample_rows(len(names))):
        try:
            contents[name] = file_sha256(files[name])
        except UserError:
            if not may_be_unreadable:
                raise
    return Fingerprint(names, facts, contents)


def file_identity(file: Path) -> str:
    """Path, size and time of the last change; a `UserError` if there is no such file."""
    try:
        facts = stored_facts(file)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    return f"{file} {facts.size} {facts.mtime_ns}"


def file_sha256(file: str | Path) -> str:
    """Hash of a file's contents, read again only when its size or time has changed."""
    return _sha256(Path(file), file_identity(Path(file)))


@lru_cache(maxsize=4096)
def _sha256(file: Path, identity: str) -> str:
    digest, (shards, name) = hashlib.sha256(), place_of(file)
    if shards is not None:
        return hashlib.sha256(shards.read(name)).hexdigest()
    try:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    return digest.hexdigest()


def has_contents(file: str | Path, sha256: str) -> bool:
    """Whether the file is there and has this hash."""
    try:
        return file_sha256(file) == sha256
    except UserError:
        return False


def _sample_rows(count: int) -> list[int]:
    """At most `NUM_READ` of so many rows, always the same ones."""
    return sorted(np.random.default_rng(0).permutation(count)[:NUM_READ].tolist())


def facts_of(files: Sequence[str | Path]) -> np.ndarray:
    """int64 [N, 2]; -1 where there is no file."""
    chunks = [files[first : first + _CHUNK] for first in range(0, len(files), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        facts = [row for rows in pool.map(_facts_in, chunks) for row in rows]
    return np.array(facts, np.int64).reshape(-1, 2)


def _facts_in(files: Iterable[str | Path]) -> list[tuple[int, int]]:
    return [_size_and_time(file) for file in files]


def _size_and_time(file: str | Path) -> tuple[int, int]:
    try:
        facts = stored_facts(file)
    except OSError:
        return _GONE
    return facts.size, facts.mtime_ns
