"""Many files in a few: pairs of images and depth maps in plain tar files, with an index.

    PACK/shards.json    what this is: its mark, how many files, each shard's size and SHA-256
    PACK/files.index    where each file is: columns of numbers, sorted by the hash of its name
    PACK/00000.tar ...  the files, byte for byte; `tar` unpacks them

`PACK/kitchen/rgb_1.jpg` then names a file of the pack as if it lay there, to all that read data:

    read_stored("PACK/kitchen/rgb_1.jpg")    # one read at a known place of a shard
    stored_facts("data/nyu/kitchen/rgb_1.jpg")    # or of a file of its own

The index is mapped: processes share its pages, and 36 bytes a file do not grow any of them. What a
shard gives is compared with its checksum. `scripts/pack.py` writes packs.
"""

import errno
import json
import os
import zlib
from collections.abc import Iterable
from functools import cached_property
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import read_bytes, retried
from common.packed import PackedStrings

FORMAT = 1
ABOUT, INDEX = "shards.json", "files.index"
COLUMNS = {"hash": "<u8", "shard": "<u4", "size": "<u4", "offset": "<u8", "crc": "<u4"}
COLUMNS |= {"mtime": "<i8"}
ROW_BYTES = sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
_MOST_OPEN = 128  # shards of a process
_AGAIN = "copy it again, or pack anew with scripts/pack.py"


class Facts(NamedTuple):
    """Of a file: bytes, nanoseconds of the last change, and another number that tells it apart."""

    size: int
    mtime_ns: int
    mark: int  # the time that its entry was changed; in a shard its checksum


class Shards:
    """An open pack; names are paths below its folder."""

    def __init__(self, folder: str) -> None:
        """A `UserError` where its two files are not those of a pack."""
        self.folder = folder
        about = read_about(Path(folder))
        try:
            self.mark, self.num_files = str(about["mark"]), int(about["num_files"])
            self._shards = [(str(shard["file"]), int(shard["bytes"])) for shard in about["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(f"{folder}/{ABOUT}", "it is no index of shards") from error
        if any(os.path.basename(file) != file for file, _ in self._shards):  # noqa: PTH119
            raise _damaged(f"{folder}/{ABOUT}", "a shard lies outside its folder")
        self._open: dict[int, FileIO] = {}

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        place = Path(self.folder) / INDEX
        try:
            content = retried(lambda: np.memmap(place, np.uint8, "r")) if self.num_files else ()
        except (OSError, ValueError) as error:
            raise _damaged(str(place), f"it cannot be read ({error})") from error
        if len(content) != ROW_BYTES * self.num_files:
            raise _damaged(str(place), f"it has {len(content)} bytes, not those of its files")
        columns, start = {}, 0
        for name, kind in COLUMNS.items():
            end = start + np.dtype(kind).itemsize * self.num_files
            columns[name] = np.asarray(content[start:end]).view(kind)
            start = end
        return columns

    def find(self, name: str) -> int:
        """The row of a file; -1: there is none of this name."""
        wanted, hashes = hash_of(name), self._columns["hash"]
        row = int(np.searchsorted(hashes, np.uint64(wanted)))
        return row if row < len(hashes) and hashes[row] == wanted else -1

    def which_exist(self, names: Iterable[str]) -> np.ndarray:
        """bool [N]."""
        wanted, hashes = hashes_of(names), self._columns["hash"]
        rows = np.searchsorted(hashes, wanted)
        found = np.zeros(len(wanted), bool)
        inside = rows < len(hashes)
        found[inside] = hashes[rows[inside]] == wanted[inside]
        return found

    def facts(self, name: str) -> Facts:
        """An `OSError` where there is no such file."""
        row, columns = self._row(name), self._columns
        return Facts(*(int(columns[column][row]) for column in ("size", "mtime", "crc")))

    def read(self, name: str) -> bytes:
        """A file. An `OSError` where there is none, a `UserError` where its shard is damaged."""
        row, columns = self._row(name), self._columns
        size, offset = int(columns["size"][row]), int(columns["offset"][row])
        number = int(columns["shard"][row])

        def read() -> bytes:
            shard = self._shard(number)  # held until it is read: another thread may let it go
            return os.pread(shard.fileno(), size, offset)

        content = retried(read)
        if len(content) != size or zlib.crc32(content) != columns["crc"][row]:
            shard = f"{self.folder}/{self._shards[number][0]}"
            raise _damaged(shard, f"what it holds of {name} is not what was packed")
        return content

    def _row(self, name: str) -> int:
        row = self.find(name)
        if row < 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return row

    def _shard(self, number: int) -> FileIO:
        """Looked at when it is opened; one that is no longer wanted is closed by its last user."""
        if number not in self._open:
            if number >= len(self._shards):
                raise _damaged(f"{self.folder}/{INDEX}", f"there is no shard {number}")
            file, num_bytes = self._shards[number]
            place = f"{self.folder}/{file}"
            opened = _open(place)
            found = os.fstat(opened.fileno()).st_size
            if found != num_bytes:
                raise _damaged(place, f"it has {found} bytes, not {num_bytes}")
            if os.pread(opened.fileno(), 512, 512).rstrip(b"\0") != label(self.mark, number):
                raise _damaged(place, "it is a shard of another pack")
            while len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open)), None)
            self._open[number] = opened
        return self._open[number]


def label(mark: str, number: int) -> bytes:
    """What the first file of a shard says: of which pack it is, and the how manieth."""
    return f"LangDepth {mark} {number}\n".encode()


def hash_of(name: str) -> int:
    """64 bits."""
    digest = blake2b(os.fsencode(name), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def hashes_of(names: Iterable[str]) -> np.ndarray:
    """uint64 [N]."""
    return np.fromiter(map(hash_of, names), np.uint64)


def read_about(folder: Path) -> dict[str, Any]:
    """What a pack says of itself; a `UserError` where it is none that this code can read."""
    place = folder / ABOUT
    try:
        about = json.loads(read_bytes(place))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(str(place), f"it cannot be read ({error})") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise _damaged(str(place), f"it is not of format {FORMAT}")
    return about


# Files, wherever they are


_found: dict[str, tuple[Shards, str] | None] = {}  # of each folder that was asked about


def find_shards(folder: str) -> tuple[Shards, str] | None:
    """The pack that a folder is in, and how its names start there; None: it is a plain folder."""
    if folder not in _found:
        found = None
        if _is_pack(folder):
            found = Shards(folder), ""
        elif above := os.path.dirname(folder.rstrip("/")):  # noqa: PTH120
            shards = find_shards(above) if above != folder else None
            found = shards and (shards[0], f"{shards[1]}{os.path.basename(folder)}/")  # noqa: PTH119
        _found[folder] = found
    return _found[folder]


def _is_pack(folder: str) -> bool:
    """Other programs name a file `shards.json` too; one of the two may be lost or damaged."""
    about, index = (os.path.join(folder, name) for name in (ABOUT, INDEX))  # noqa: PTH118 - of many
    if not os.path.isfile(about):  # noqa: PTH113
        return False
    return os.path.isfile(index) or b'"mark"' in read_bytes(about)  # noqa: PTH113


def read_stored(path: str | Path) -> bytes:
    """A whole file, with a few tries: of its own, or in a pack."""
    shards, name = place_of(path)
    return read_bytes(path) if shards is None else shards.read(name)


def stored_facts(path: str | Path) -> Facts:
    """An `OSError` where there is no such file."""
    shards, name = place_of(path)
    if shards is not None:
        return shards.facts(name)
    facts = os.stat(path)  # noqa: PTH116 - of many
    return Facts(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def is_stored(path: str | Path) -> bool:
    """Whether there is such a file."""
    try:
        stored_facts(path)
    except OSError:
        return False
    return True


def which_stored(shards: Shards, start: str, paths: PackedStrings) -> np.ndarray:
    """bool [N], whether the pack has the files; start: of their names."""
    return shards.which_exist(f"{start}{path}" for path in paths)


def place_of(path: str | Path) -> tuple[Shards | None, str]:
    """The pack that a file is in, and its name there; None: it is a file of its own."""
    folder, name = os.path.split(path)
    found = find_shards(folder)
    return (None, "") if found is None else (found[0], f"{found[1]}{name}")


def _open(place: str) -> FileIO:
    try:
        return retried(lambda: FileIO(place))
    except OSError as error:
        raise _damaged(place, f"it cannot be read ({error.strerror})") from error


def _damaged(place: str, reason: str) -> UserError:
    return UserError(f"{place}: {reason}; {_AGAIN}")
