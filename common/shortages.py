"""What a machine has too little of, told in one line: memory, shared memory, open files, disk.

Libraries raise a dozen different exceptions for it; here they are told apart, once.
"""

import errno
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from common.errors import UserError

GPU_MEMORY = "GPU memory"
HOST_MEMORY = "memory"
SHARED_MEMORY = "shared memory (/dev/shm)"
OPEN_FILES = "open files"
PROCESSES = "processes"
DISK = "disk space"

_BY_NUMBER = {
    errno.ENOMEM: HOST_MEMORY,
    errno.EMFILE: OPEN_FILES,
    errno.ENFILE: OPEN_FILES,
    errno.ENOSPC: DISK,
    errno.EDQUOT: DISK,
}
# Words of messages, the first that fits: torch knows one exception for most of these.
_BY_WORDS = (
    (GPU_MEMORY, ("CUDA out of memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")),
    (OPEN_FILES, ("Too many open files", "received 0 items of ancdata")),
    (SHARED_MEMORY, ("shared memory",)),
    (PROCESSES, ("can't start new thread",)),
    (HOST_MEMORY, ("DefaultCPUAllocator", "Insufficient memory", "bad_alloc", "Cannot allocate")),
)
# What helps everywhere; a program names its own keys.
REMEDIES = {
    GPU_MEMORY: "use a smaller batch",
    HOST_MEMORY: "use a smaller batch or a machine with more memory (Slurm: --mem)",
    SHARED_MEMORY: "make it larger (docker run --shm-size=8g)",
    OPEN_FILES: "allow more (ulimit -n 65536)",
    PROCESSES: "allow more (ulimit -u)",
    DISK: "make room",
}


class ShortageError(UserError):
    """A machine has too little of something."""


def shortage(error: BaseException) -> str | None:
    """What ran out, one of the names above; None: the error is another one."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's; this module serves all programs
        return GPU_MEMORY
    if isinstance(error, MemoryError):
        return HOST_MEMORY
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    if isinstance(error, BlockingIOError) and error.filename is None:  # fork's
        return PROCESSES
    text = str(error)
    found = (what for what, words in _BY_WORDS if any(word in text for word in words))
    return next(found, None)


def as_shortage(error: Exception, remedies: Mapping[str, str]) -> Exception:
    """A `ShortageError` that says `out of WHAT (reason); REMEDY`, or the error itself.

    remedies: what helps, for some of the names above; others get the general one.
    """
    what = None if isinstance(error, UserError) else shortage(error)
    if what is None:
        return error
    reason = textwrap.shorten(str(error).partition("\n")[0], 160, placeholder=" ...")
    told = f" ({reason})" if reason else ""
    return ShortageError(f"out of {what}{told}; {remedies.get(what, REMEDIES[what])}")


@contextmanager
def shortages_told(remedies: Mapping[str, str]) -> Iterator[None]:
    """Turn what a machine has too little of into a `ShortageError`; see `as_shortage`."""
    try:
        yield
    except Exception as error:
        told = as_shortage(error, remedies)
        if told is error:
            raise
        raise told from error
