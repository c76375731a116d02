"""Steps that have become several times slower than the fastest ones of the run, and the cure."""

import statistics
from collections import deque

import torch

from common.runtime.cores import LoadMeter, num_cores
from common.runtime.processes import Processes

SLOW = 3.0  # times the fastest pace
WINDOWS = 3  # whose median is the pace: one slow window is a save, or a neighbor's short program
MOST_LINES = 10


class Pace:
    """Looks at the speed of each window between two log lines (`log_window.py`)."""

    def __init__(self, processes: Processes):
        self.is_alone = processes.world_size == 1
        self.is_on_cpu = processes.device.type == "cpu"
        self.seconds: deque[float] = deque(maxlen=WINDOWS)
        self.fastest = float("inf")
        self.told = SLOW / 2  # how many times the fastest pace was told of last
        self.num_lines = 0
        self.num_windows = 0
        self.meter = LoadMeter()

    def see(self, terms: dict[str, float]) -> str | None:
        """A line for the log, where steps are several times slower than they were.

        terms: of the window; `step_seconds`, and `data_seconds`, the part of them that was waited.
        """
        others, self.meter = self.meter.others(), LoadMeter()
        self.num_windows += 1
        if self.num_windows == 1:  # in which caches and memory are warmed up
            return None
        self.seconds.append(terms["step_seconds"])
        if len(self.seconds) < WINDOWS:
            return None
        pace = statistics.median(self.seconds)
        self.fastest = min(self.fastest, pace)
        times = pace / self.fastest
        if times < SLOW:
            self.told = SLOW / 2
        if times < 2 * self.told or self.num_lines == MOST_LINES:
            return None
        self.told, self.num_lines = times, self.num_lines + 1
        reason = self._reason(terms["data_seconds"] / terms["step_seconds"], others or 0.0)
        before = f"{times:.0f} times the {self.fastest:.2g} s of before"
        return f"a step takes {pace:.2g} s, {before}: {reason}"

    def _reason(self, waited: float, others: float) -> str:
        """waited: share of the time. others: cores that other programs keep busy."""
        if waited > 0.5:
            return (
                f"{100 * waited:.0f} % of it waits for data; look at the disk and at what else "
                "reads from it, or set train.num_workers or data.cache"
            )
        cores, threads = num_cores(), torch.get_num_threads()
        if not (self.is_on_cpu and self.is_alone and others > 0.3):
            return "nothing that this program sees says why; look at what else runs here"
        busy = f"other programs keep {others:.1f} of {cores} core(s) busy"
        fitting = max(1, round(cores - others))
        if fitting >= threads:
            return f"{busy}, which this run must share"
        return (
            f"{busy}, and its {threads} threads wait for each other; stop it (Ctrl-C saves) and "
            f"give the same command after OMP_NUM_THREADS={fitting}"
        )
