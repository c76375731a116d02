"""How long the jobs of a study took, over all starts of it, and how long the others may take."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.text_files import write_json


@dataclass
class Duration:
    """Of one job. kind: jobs of one kind take about as long. data: what it had read when done."""

    kind: str
    seconds: float = 0.0
    is_done: bool = False
    data: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether all values are of their types, as those of a damaged file may not be."""
        types = (type(self.kind), type(self.is_done), type(self.data))
        return types == (str, bool, str) and type(self.seconds) in (int, float)


@dataclass
class Durations:
    """By the keys of the jobs; kept in a file."""

    path: Path
    jobs: dict[str, Duration] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Durations":
        """Nothing is known where there is no such file, or none that can be read."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            jobs = {key: Duration(**entry) for key, entry in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(path)
        return cls(path, jobs if all(job.is_sound for job in jobs.values()) else {})

    def add(self, key: str, kind: str, seconds: float, data: str | None) -> None:
        """A job has run for so long. data: what it has read, if it is done; None: it is not."""
        job = self.jobs.setdefault(key, Duration(kind))
        if not job.is_done:  # what comes later only looks whether there is something left to do
            job.seconds += seconds
        job.is_done, job.data = job.is_done or data is not None, data or job.data
        write_json(self.path, {key: asdict(job) for key, job in self.jobs.items()})

    def is_done(self, key: str, data: str | None = None) -> bool:
        """Whether the job has come to its end, with these data (None: with any)."""
        job = self.jobs.get(key)
        return job is not None and job.is_done and data in (None, job.data)

    def minutes(self, keys: Iterable[str]) -> float | None:
        """Of all these jobs; None: not known."""
        known = [self.jobs.get(key) for key in keys]
        seconds = [job.seconds for job in known if job is not None]
        return sum(seconds) / 60 if seconds and len(seconds) == len(known) else None

    def estimate(self, kinds: Iterable[str]) -> float | None:
        """Seconds that jobs of these kinds take, one after the other; None: nothing is known.

        A kind that was never finished is taken to be like the average job.
        """
        by_kind: dict[str, list[float]] = {}
        for job in self.jobs.values():
            if job.is_done:
                by_kind.setdefault(job.kind, []).append(job.seconds)
        means = {kind: sum(each) / len(each) for kind, each in by_kind.items()}
        if not means:
            return None
        usual = sum(means.values()) / len(means)
        return sum(means.get(kind, usual) for kind in kinds)


def describe_time(seconds: float) -> str:
    """`40 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
