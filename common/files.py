"""Files that appear whole or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import UserError


@contextmanager
def whole_file(path: Path, *writer_errors: type[Exception]) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there becomes `path` at the end.

    Makes the folder. On any error the temporary file goes and an earlier `path` stays as it was.
    An `OSError` (no permission, disk full) becomes a `UserError`, and so do `writer_errors`, for
    writers that know no `OSError`.
    """
    failures: tuple[type[Exception], ...] = (OSError, *writer_errors)
    # Not the process number: two containers or hosts that share a disk may have the same.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
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
