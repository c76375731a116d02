"""Files whole or not at all; places tried before long work; reads that outlast a bad moment."""

import errno
import shutil
import tempfile
import time
import uuid
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
def write_errors_told(path: Path, *writer_errors: type[Exception]) -> Iterator[None]:
    """Turn an `OSError` (no permission, disk full) in writing `path` into a `UserError`.

    writer_errors: others that are meant, for writers that know no `OSError`.
    """
    failures: tuple[type[Exception], ...] = (OSError, *writer_errors)
    try:
        yield
    except failures as error:
        raise _cannot_write(path, error) from error


@contextmanager
def whole_file(path: Path, *writer_errors: type[Exception]) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there becomes `path` at the end.

    Makes the folder. On any error the temporary file goes and an earlier `path` stays as it was;
    for errors of writing see `write_errors_told`.
    """
    # Not the process number: two containers or hosts that share a disk may have the same.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    with write_errors_told(path, *writer_errors):
        try:
            _check_kind(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
        finally:
            with suppress(OSError):  # it became `path`, or its folder could not be made
                temporary.unlink()


def check_output(path: Path, *, appends: bool = False) -> None:
    """Raise now the `UserError` that writing a file after long work would raise; leaves no trace.

    appends: what is there will be written to, not replaced.
    """
    with write_errors_told(path):
        _check_kind(path)
        _try_writing(path.parent)
        if appends and path.exists():
            path.open("ab").close()


def check_folder(folder: Path) -> None:
    """Raise now the `UserError` that writing to a folder, which may be to come, would raise."""
    try:
        _try_writing(folder)
    except OSError as error:
        raise _cannot_write_to(folder, error) from error


def make_folder(folder: Path) -> None:
    """Make a folder to write to, and those above it; a `UserError` where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_writing(folder)
    except OSError as error:
        raise _cannot_write_to(folder, error) from error


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file in it")
    if path.exists() and not path.is_file():  # a device: a file would take its place
        raise UserError(f"cannot write {path}: it is no plain file; name another place")


def _try_writing(folder: Path) -> None:
    """A page where the folder is, or would be made: a full disk has no room for it."""
    with tempfile.TemporaryFile(dir=existing_folder(folder)) as trial:
        trial.write(bytes(4096))


def existing_folder(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _cannot_write(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return UserError(
        f"cannot write {path}: {reason}; check the folder and the free disk space, or name "
        "another place"
    )


def _cannot_write_to(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {folder}: {error.strerror}; name another place")


def check_space(folder: Path, num_bytes: float, what: str, fix: str = "name another place") -> None:
    """Raise a `UserError` where less is free at a folder, which may be to come, than `what` needs.

    what: the subject of the sentence, as in "the archive".
    """
    free = shutil.disk_usage(existing_folder(folder)).free
    if num_bytes > free:
        unit, size = ("GB", 1e9) if num_bytes >= 1e8 else ("MB", 1e6)
        raise UserError(
            f"{what} needs {num_bytes / size:.1f} {unit} in {folder}, {free / size:.1f} {unit} are "
            f"free; make room or {fix}"
        )
