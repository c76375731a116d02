"""Many programs, some at a time: each with its own GPU or its share of the cores, and its log.

    run_jobs(jobs, make_slots(None, visible_gpus(), num_cores()), on_start, on_end)

Two trainings that each use all cores are many times slower than one after the other, so every
program gets cores of its own. Ctrl-C, SIGTERM and a hang-up are handed on, once: trainings save
themselves, and all are waited for. A second Ctrl-C is handed on as such, and ends them at once.
"""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from common.config import REPO_ROOT
from common.files import write_errors_told
from common.progress import write_line
from common.stops import STOPS, note_arrival, restore_handlers

POLL_SECONDS = 0.2
STOPPED = "stopped"
NEEDS_FAILED = "not run: what it needs has failed"
Slot = Mapping[str, str]  # variables of the environment


@dataclass(frozen=True)
class ProgramJob:
    """A program to run. needs: keys of those that must have ended well before it starts.

    log: what it prints is added there.
    """

    key: str
    title: str
    command: tuple[str, ...]
    log: Path
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a job ended. error: what went wrong (also STOPPED, NEEDS_FAILED); None: nothing."""

    job: ProgramJob
    seconds: float
    error: str | None = None


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, or the numbers of all GPUs that torch can use."""
    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]


def make_slots(num_jobs: int | None, gpus: Sequence[str], cores: int) -> list[Slot]:
    """The environment of each of the programs that run at a time.

    num_jobs: None: one for each GPU, without any one for each core. A number of threads that the
    caller's environment sets stays.
    """
    count = num_jobs or len(gpus) or cores
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // count))
    shared = {"NPROC": "1", "OMP_NUM_THREADS": threads}
    return [
        {**shared, **({"CUDA_VISIBLE_DEVICES": gpus[n % len(gpus)]} if gpus else {})}
        for n in range(count)
    ]


@dataclass
class Running:
    """A job that has been started."""

    job: ProgramJob
    slot: Slot
    process: subprocess.Popen
    log: IO[bytes]
    log_start: int  # where in the log this start begins
    started: float  # seconds of the monotonic clock

    def ended(self, is_stopped: bool = False) -> Ended:
        """How it ended. is_stopped: it was asked to."""
        code = self.process.wait()
        self.log.close()
        error = (STOPPED if is_stopped else self._describe(code)) if code else None
        return Ended(self.job, time.monotonic() - self.started, error)

    def _describe(self, code: int) -> str:
        text = self.job.log.read_bytes()[self.log_start :].decode("utf-8", "replace")
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        reason = errors[-1].removeprefix("error: ") if errors else _describe_code(code)
        return f"{reason} (see {self.job.log})"


def _describe_code(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed, as systems do without memory; use fewer --jobs"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def run_jobs(
    jobs: Sequence[ProgramJob],
    slots: Sequence[Slot],
    on_start: Callable[[ProgramJob], None],
    on_end: Callable[[Ended], None],
) -> None:
    """Run all jobs, the first ones first, each once those it needs have ended well.

    What needs a failed job ends with it. KeyboardInterrupt after a signal, when all have ended.
    """
    waiting, running, free = list(jobs), list[Running](), list(slots)
    failed: set[str] = set()

    def end(ended: Ended) -> None:
        if ended.error:
            failed.add(ended.job.key)
        on_end(ended)

    with noted_signals() as signals:
        try:
            while (waiting or running) and not signals:
                for job in [job for job in waiting if failed & set(job.needs)]:
                    waiting.remove(job)
                    end(Ended(job, 0.0, NEEDS_FAILED))
                is_open = {*failed, *(j.key for j in waiting), *(one.job.key for one in running)}
                ready = [job for job in waiting if not is_open & set(job.needs)]
                for job in ready[: len(free)]:
                    waiting.remove(job)
                    on_start(job)
                    running.append(start(job, free.pop(0)))
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    free.append(one.slot)
                    end(one.ended())
                time.sleep(POLL_SECONDS if running else 0)
        finally:
            for ended in stop(running, signals):
                on_end(ended)
    if signals:
        raise KeyboardInterrupt


def start(job: ProgramJob, slot: Slot) -> Running:
    """Start a job in a session of its own: a Ctrl-C reaches it through this program alone."""
    started = time.monotonic()
    shown = shlex.join(job.command).replace(f"{REPO_ROOT}/", "")
    with write_errors_told(job.log):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("ab")
        log_start = log.tell()
        log.write(f"$ {shown}\n".encode(errors="surrogateescape"))
        log.flush()
    process = subprocess.Popen(
        job.command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **slot},
        start_new_session=True,
    )
    return Running(job, slot, process, log, log_start, started)


def stop(running: Sequence[Running], signals: Sequence[int]) -> list[Ended]:
    """Ask all to save themselves and end, and wait; at a further Ctrl-C ask them to end at once.

    signals: those that have arrived, and will.
    """
    if running:
        with suppress(OSError):  # the terminal may be gone, which is no reason to forget them
            write_line(f"waiting for {len(running)} that save themselves; Ctrl-C ends them at once")
    request, num_seen = signal.SIGTERM, signals.count(signal.SIGINT)
    while True:
        for one in running:
            if one.process.poll() is None:
                one.process.send_signal(request)
        while signals.count(signal.SIGINT) == num_seen:
            if all(one.process.poll() is not None for one in running):
                return [one.ended(is_stopped=True) for one in running]
            time.sleep(POLL_SECONDS)
        request, num_seen = signal.SIGINT, signals.count(signal.SIGINT)


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collect stops in a list, but those that are ignored, as by nohup.

    Nothing is interrupted, or a program that has just been started might be forgotten.
    """
    arrived: list[int] = []

    def note(number: int, _frame: object) -> None:
        note_arrival(number)
        arrived.append(number)

    meant = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in meant}
    try:
        yield arrived
    finally:
        restore_handlers(before)
