"""How many cores this process may use, and how many of them other programs keep busy."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def num_cores() -> int:
    """Those that this process may use: its affinity, within the quota of its container."""
    quota = cpu_quota()
    cores = len(allowed_cores())
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(root: Path = CGROUP) -> float | None:
    """Cores' worth of time that the cgroup allows (Docker's `--cpus`, Slurm); None: no limit."""
    for folder in _own_groups(root):
        numbers = _numbers(folder / "cpu.max")  # version 2: "quota period", or "max period"
        if len(numbers) < 2:  # version 1
            numbers = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
        if len(numbers) == 2 and min(numbers) > 0:
            return numbers[0] / numbers[1]
    return None


class LoadMeter:
    """How many of the cores other programs have kept busy since it was made."""

    def __init__(self) -> None:
        self._start = _Reading.now()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._start.seconds

    def others(self) -> float | None:
        """Cores (a mean); None where the system does not tell (no Linux)."""
        end = _Reading.now()
        seconds = end.seconds - self._start.seconds
        if end.busy is None or self._start.busy is None or seconds <= 0:
            return None
        others = (end.busy - self._start.busy) - (end.own - self._start.own)
        return max(0.0, others / seconds)


@dataclass(frozen=True)
class _Reading:
    """Seconds of a clock, of work on the cores that this process may use, and of its own."""

    seconds: float
    busy: float | None
    own: float

    @classmethod
    def now(cls) -> "_Reading":
        return cls(time.monotonic(), _busy_seconds(allowed_cores()), _own_seconds())


def allowed_cores() -> Sequence[int]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def _busy_seconds(cores: Sequence[int]) -> float | None:
    """What all programs have computed on these cores since the machine started."""
    try:
        lines = (PROC / "stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    wanted = {f"cpu{core}" for core in cores}
    fields = [line.split() for line in lines if line.partition(" ")[0] in wanted]
    # user, nice, system, idle, iowait, irq, softirq, steal
    return sum(sum(map(int, f[1:4] + f[6:9])) for f in fields) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """What this process, and those that load its data, have computed."""
    children = (child.pid for child in multiprocessing.active_children())
    return time.process_time() + sum(_seconds_of(pid) for pid in children)


def _seconds_of(pid: int | None) -> float:
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _own_groups(root: Path) -> list[Path]:
    """Folders of the cgroups that limit this process, the innermost first."""
    try:
        lines = (PROC / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        path = top / name.lstrip("/")
        found += [path, *(p for p in path.parents if p.is_relative_to(top))]
    return found


def _numbers(file: Path) -> list[float]:
    try:
        words = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
    return [float(word) for word in words if word.lstrip("-").isdecimal()]


STARTED = LoadMeter()  # looks at the machine while the program imports what it needs
