"""Memory and open files of a process and those it started, and whether a figure grows. Linux only.

Memory is what the process wrote itself or was forked with (RSS of anonymous and of shared memory);
programs and libraries are left out. Its part of these (PSS) is told beside it: pages that a fork
shares count by parts, so that the sum over all processes is what the machine gives; that moves when
another process that shares them comes or goes, and is no sign of a leak by itself.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t as student

NUM_WINDOWS = 10  # equal parts of a run's samples
LOW = 10.0  # percentile
PROC = Path("/proc")
OWN = {"status": ("RssAnon:", "RssShmem:"), "smaps_rollup": ("Pss_Anon:", "Pss_Shmem:")}  # kB


@dataclass(frozen=True)
class Figures:
    """Of one process. part_kilobytes: pages that it shares count by parts."""

    kilobytes: int
    part_kilobytes: int
    files: int


@dataclass(frozen=True)
class Slope:
    """Growth per 1,000 steps, with the half-width of its 95 % interval."""

    value: float
    uncertainty: float

    def verdict(self, limit: float) -> str:
        """`flat`: surely below the limit; `grows`: surely above; else `unclear`."""
        if self.value - self.uncertainty > limit:
            return "grows"
        return "flat" if self.value + self.uncertainty <= limit else "unclear"


def look(pid: int) -> Figures | None:
    """None: the process is gone, or has no memory any more."""
    try:
        whole, part = (_sum_lines(PROC / str(pid) / name, OWN[name]) for name in OWN)
        files = sum(1 for _ in (PROC / str(pid) / "fd").iterdir())
    except OSError:
        return None
    return Figures(whole, part, files) if whole else None


def _sum_lines(path: Path, names: tuple[str, ...]) -> int:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))


def children(pid: int) -> list[int]:
    """The processes that any thread of this one has started, by number."""
    found: list[int] = []
    for path in (PROC / str(pid) / "task").glob("*/children"):
        try:
            found += map(int, path.read_text(encoding="ascii").split())
        except OSError:  # the thread has ended
            continue
    return sorted(found)


def slope(steps: Sequence[float], values: Sequence[float]) -> Slope:
    """Least squares through a low value (the tenth percentile) of each of `NUM_WINDOWS` windows.

    Neighboring samples resemble each other, and an evaluation is a peak; a leak lifts the lowest
    values, too. Those of windows are nearly independent, so that their scatter tells the
    uncertainty.
    """
    if len(values) < 2 * NUM_WINDOWS:
        raise ValueError(f"{len(values)} samples; a slope needs {2 * NUM_WINDOWS}")
    parts = np.array_split(np.arange(len(values)), NUM_WINDOWS)
    x = np.array([statistics.median(steps[i] for i in part) for part in parts]) / 1000
    y = np.array([np.percentile([values[i] for i in part], LOW) for part in parts])
    (growth, _), covariance = np.polyfit(x, y, 1, cov=True)
    half_width = student.ppf(0.975, NUM_WINDOWS - 2) * np.sqrt(covariance[0, 0])
    return Slope(float(growth), float(half_width))
