"""Processes that load data: how they start, what they need, and how it is told when one dies.

A worker hands a batch to the main process through shared memory, which on Linux is the file system
/dev/shm; a container has 64 MB of it unless it was started with `--shm-size`.
"""

import errno
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import cv2

from common.errors import UserError
from common.shortages import HOST_MEMORY, OPEN_FILES, PROCESSES, SHARED_MEMORY, shortage
from common.stops import STOPS

SHM = Path("/dev/shm")
PREFETCH = 4  # batches that each worker keeps ready
GRACE_SECONDS = 30  # that a worker lives on after a first SIGTERM

# How a worker says what it ran out of when it can say nothing else.
_EXIT_CODES = {SHARED_MEMORY: errno.ENOSPC, OPEN_FILES: errno.EMFILE, HOST_MEMORY: errno.ENOMEM}

Remedies = dict[str, str]
TRAINING: Remedies = {
    SHARED_MEMORY: "make it larger (docker run --shm-size=8g) or set train.num_workers=0",
    HOST_MEMORY: "set train.num_workers to less (0: no workers), or give the job more memory "
    "(Slurm: --mem)",
    OPEN_FILES: "allow more (ulimit -n 65536) or set train.num_workers=0",
    PROCESSES: "set train.num_workers=0 or allow more (ulimit -u)",
}
EVALUATION: Remedies = {
    SHARED_MEMORY: "make it larger (docker run --shm-size=8g) or set eval.batch_size=1",
    HOST_MEMORY: "set eval.batch_size=1 or give the job more memory (Slurm: --mem)",
    OPEN_FILES: "allow more (ulimit -n 65536)",
    PROCESSES: "allow more (ulimit -u)",
}


def start_worker(number: int) -> None:
    """What a worker does first."""
    cv2.setNumThreads(0)  # one worker per core: OpenCV's own threads would only fight over them
    # A terminal sends Ctrl-C or, as it closes, SIGHUP to all its processes, Slurm SIGTERM; the main
    # one decides when to end.
    for stop in STOPS - {signal.SIGTERM}:
        signal.signal(stop, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, _outlive_sigterm)
    sys.excepthook = _tell_what_broke
    # A batch that cannot be handed over would be dropped with a traceback, and the run would wait
    # for it for ever.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore


def _tell_what_broke(kind: type, error: BaseException, trace: Any) -> None:
    """Not that the main process went while it was handed a batch: that has told why it goes."""
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _outlive_sigterm(*_: Any) -> None:
    """Work on until the run is saved. A second SIGTERM ends the worker, and so does time."""
    for number in (signal.SIGTERM, signal.SIGALRM):  # a fork has the training loop's handlers
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(GRACE_SECONDS)


def _end(error: BaseException, batch: Any) -> NoReturn:
    os._exit(_EXIT_CODES.get(shortage(error) or "", 1))


def free_shared_memory() -> float:
    """Bytes; infinite where there is no such file system."""
    try:
        facts = os.statvfs(SHM)
    except (OSError, AttributeError):  # macOS, Windows
        return float("inf")
    return facts.f_bavail * facts.f_frsize


def shared_memory_needed(batch_bytes: int, num_workers: int, parts_per_step: int = 1) -> int:
    """Bytes of batches that are ready, in work and in use at once on this machine."""
    batches = num_workers * PREFETCH + parts_per_step
    return num_processes() * batch_bytes * batches if num_workers else 0


def num_processes() -> int:
    """Processes of this run on this machine; torchrun says so."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def describe_death(error: Exception, remedies: Remedies) -> str | None:
    """One line for an error of the wait for a batch whose worker has died; None: another error."""
    is_cut = isinstance(error, ConnectionError | EOFError | FileNotFoundError)
    if is_cut and not str(error).startswith("Caught "):  # those are of the data set, handed over
        error = DEATHS.find() or RuntimeError("DataLoader worker ended")
    if not str(error).startswith("DataLoader worker"):
        return None
    text = f"{error}\n{error.__cause__}"  # the cause knows the signal, where torch saw two errors
    process = re.search(r"\d+", text)
    name = f"a data worker (process {process.group()})" if process else "a data worker"
    killed = re.search(r"killed by signal: ([^.]*)\.", text)
    if killed and "Killed" in killed[1]:
        return f"{name} was killed, as systems do without memory; {remedies[HOST_MEMORY]}"
    if killed:
        reason = f"was ended by a signal ({killed[1].strip()})"
        return f"{name} {reason}: /dev/shm may be too small; {remedies[SHARED_MEMORY]}"
    code = re.search(r"exit code:? (\d+)", text)
    for what, number in _EXIT_CODES.items():
        if code and int(code[1]) == number:
            return f"{name} ran out of {what}; {remedies[what]}"
    return f"{name} ended early: /dev/shm may be too small; {remedies[SHARED_MEMORY]}"


class DeathWatch:
    """Lets the death of a worker interrupt the wait for a batch, and nothing else.

    torch raises it wherever the main thread is (its handler of SIGCHLD), which may be in the middle
    of an update or of a checkpoint.
    """

    def __init__(self) -> None:
        self._raise: Callable[[int, Any], None] | None = None
        self._is_waiting = False

    def begin(self) -> None:
        """Take over from torch's handler, which is there as soon as workers are."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        if not (hasattr(signal, "SIGCHLD") and in_main_thread):
            return
        current = signal.getsignal(signal.SIGCHLD)
        if callable(current) and current != self._on_child:
            self._raise = current
            signal.signal(signal.SIGCHLD, self._on_child)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise torch's `RuntimeError` if a worker has died, or dies during the block."""
        self._is_waiting = True
        try:
            if self._raise is not None:
                self._raise(signal.SIGCHLD, None)  # of those that died before
            yield
        finally:
            self._is_waiting = False

    def find(self, seconds: float = 2.0) -> RuntimeError | None:
        """torch's error about a worker that has just died; it may be known a little later."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                with self.waiting():
                    time.sleep(0.05)
            except RuntimeError as error:
                return error
        return None

    def _on_child(self, number: int, frame: Any) -> None:
        if self._is_waiting and self._raise is not None:
            self._raise(number, frame)


def check_shared_memory(batch_bytes: int, num_workers: int, parts_per_step: int) -> None:
    """Raise a `UserError` unless the training batches of this machine's processes fit in it.

    parts_per_step: batches that one process holds while it trains on them.
    """
    needed = shared_memory_needed(batch_bytes, num_workers, parts_per_step)
    free = free_shared_memory()
    if needed > free:
        raise UserError(
            f"train.num_workers: the batches that {num_workers * num_processes()} data worker(s) "
            f"keep ready need {needed / 1e6:.0f} MB of shared memory, and /dev/shm has "
            f"{free / 1e6:.0f} MB; make it larger (docker run --shm-size="
            f"{2 * -(-needed // 2**30)}g) or set train.num_workers=0"
        )


def num_workers_that_fit(batch_bytes: int, wanted: int) -> int:
    """At most `wanted`, whose batches take up to half of the free shared memory."""
    free = free_shared_memory() / 2
    return max(n for n in range(wanted + 1) if shared_memory_needed(batch_bytes, n) <= free)


DEATHS = DeathWatch()  # there is one handler of SIGCHLD
