"""Files that appear whole or not at all, and reads that outlast a moment's trouble."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from common.errors import UserError

Answer = TypeVar("Answer")
# What network disks answer for a moment: a server that restarts, a handle that went stale, a
# connection that was lost. A file that is not there, or not allowed, is a lasting matter.
_PASSING = {
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "EINTR", "EBUSY", "EREMOTEIO", "ENODATA"),
        *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ENOTCONN", "ESHUTDOWN", "EPROTO"),
        *("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)  # Windows lacks some
}
PAUSES = (0.1, 0.5, 2.0)  # seconds between the tries


def retried(read: Callable[[], Answer]) -> Answer:
    """What `read` gives; an `OSError` that may pass is waited for, three times, before it counts.

    `read` must be able to start again from nothing.
    """
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
        time.sleep(pause)
    return read()


def read_bytes(path: str | Path) -> bytes:
    """A whole file, with a few tries."""
    return retried(Path(path).read_bytes)


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
