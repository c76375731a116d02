"""HDF5 files (MATLAB v7.3), opened for reading on any disk.

HDF5 locks what it opens, and many network disks refuse locks. Who only reads needs none.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from common.errors import UserError
from common.files import retried

HDF5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError)
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PLACES = (0, 512, 1024, 2048)  # MATLAB writes 512 bytes of its own before it


def is_hdf5(path: Path) -> bool:
    """Whether it begins as HDF5 does; no lock is taken. OSError where it cannot be read."""

    def read_start() -> bytes:
        with path.open("rb") as file:
            return file.read(_PLACES[-1] + len(_SIGNATURE))

    start = retried(read_start)
    return any(start.startswith(_SIGNATURE, place) for place in _PLACES)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The open file; a `UserError` with the reason where that is not possible."""
    try:
        file = retried(lambda: _open(path)) if is_hdf5(path) else None
    except FileNotFoundError as error:
        raise UserError(f"no file {path}") from error
    except OSError as error:
        raise UserError(trouble_of_disk(path, error) or _damaged(path)) from error
    if file is None:
        raise UserError(_damaged(path))
    with file:
        yield file


def trouble_of_disk(path: Path, error: Exception) -> str | None:
    """What kept a file from being read that is not its own fault, and what to do; else None."""
    if "unable to lock file" in str(error):
        return (
            f"{path} cannot be locked, as is usual on network disks; set "
            "HDF5_USE_FILE_LOCKING=FALSE in the environment, or copy the file to a local disk"
        )
    number = getattr(error, "errno", None)
    if number is None:
        return None
    return f"{path} cannot be read: {os.strerror(number)}; check the disk and its permissions"


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except ValueError:  # an HDF5 library of before 1.12.1, which has no such choice
        return h5py.File(path, "r")


def _damaged(path: Path) -> str:
    return (
        f"{path} is not a whole MATLAB v7.3 (HDF5) file ({path.stat().st_size:,} bytes): damaged "
        "or cut off; download it again"
    )
