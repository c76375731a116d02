"""Files that appear whole or not at all, and text that can always be written.

The name of a file is bytes, which need not be UTF-8. Python reads such bytes as halves of
characters (`os.fsdecode`), which no text file may hold. Where names are read again, they keep their
bytes (`to_bytes`, `to_text`). Text for people, and JSON, has `\\udce9` for the byte E9.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import UserError

ESCAPED = "backslashreplace"  # the `errors` of a text file for people


def to_bytes(text: str) -> bytes:
    """UTF-8; a file's name in it as the bytes it has on disk. ValueError for half a character."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Undo `to_bytes`; any bytes will do."""
    return data.decode("utf-8", "surrogateescape")


def is_whole_text(text: str) -> bool:
    """Whether all of it is characters: no half of one, and no byte of a name that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """A name in UTF-8 for the file: its own, or a link's, for libraries that take no other."""
    if is_whole_text(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"link{path.suffix}")
        link.symlink_to(path.absolute())
        yield link


def write_text(path: Path, text: str) -> None:
    """Write a text file for people, or JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ESCAPED, newline="\n")


@contextmanager
def whole_file(path: Path, *writer_errors: type[Exception]) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there becomes `path` at the end.

    Makes the folder. On any error the temporary file goes and an earlier `path` stays as it was.
    An `OSError` (no permission, disk full) becomes a `UserError`, and so do `writer_errors`, for
    writers that know no `OSError`.
    """
    failures: tuple[type[Exception], ...] = (OSError, *writer_errors)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except failures as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"cannot write {path}: {reason}; check the folder and the free disk space, or name "
            "another place"
        ) from error
    finally:
        with suppress(OSError):  # it became `path`, or its folder could not be made
            temporary.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder to write to, and those above it; a `UserError` where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; name another place"
        ) from error
