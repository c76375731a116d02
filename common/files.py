"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import UserError


@contextmanager
def write_errors_told(path: Path, *writer_errors: type[Exception]) -> Iterator[None]:
    """Turn an `OSError` (no permission, disk full) in writing `path` into a `UserError`.

    writer_errors: others that are meant, for writers that know no `OSError`.
    """
    failures: tuple[type[Exception], ...] = (OSError, *writer_errors)
    try:
        yield
    except failures as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"cannot write {path}: {reason}; check the folder and the free disk space, or name "
            "another place"
        ) from error


@contextmanager
def whole_file(path: Path, *writer_errors: type[Exception]) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there becomes `path` at the end.

    Makes the folder. On any error the temporary file goes and an earlier `path` stays as it was;
    for errors of writing see `write_errors_told`.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with write_errors_told(path, *writer_errors):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
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
