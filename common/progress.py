"""How far a long job is: a bar on a terminal, whole lines in a file or a pipe.

    with progress_bar("encoding captions", total=len(captions)) as bar:
        for batch in batches:
            ...
            bar.update(len(batch))

    for frame in tracked(frames, "looking up frames"):
        ...

A bar redraws its line, which fills the log of a batch job with hundreds of copies. Where nobody
watches, a line is written whenever a tenth is done (where the end is not known: twice as much as
before), but not more often than every ten seconds, and one at the end. A job that has a rhythm of
its own (training's `train.log_every`) says itself when one is due.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from functools import partial
from typing import Protocol, TypeVar

from tqdm import tqdm

Tracked = TypeVar("Tracked")

TENTHS = 10
MIN_SECONDS = 10.0  # between two lines
MAX_SECONDS = 600.0  # a job that is slow, or whose length is not known, shows that it lives


class ProgressBar(Protocol):
    """What a job tells its bar."""

    def update(self, count: float = 1) -> object:
        """`count` more are done."""

    def report(self, text: str) -> None:
        """Show `text` behind the counts; where there is no terminal, as a line, now."""

    def close(self) -> None: ...

    def __enter__(self) -> "ProgressBar": ...

    def __exit__(self, *error: object) -> None: ...


def progress_bar(
    title: str,
    total: float | None = None,
    *,
    done: float = 0,
    unit: str = "it",
    stays: bool = True,
    has_rhythm: bool = False,
) -> ProgressBar:
    """A bar that counts to `total` (None: not known), to be used as a context.

    done: where it starts. unit: what is counted; "B" is shown in kB, MB, ... stays: a terminal
    keeps the finished bar, a file gets a last line. has_rhythm: without a terminal only
    `report` writes lines. Only the first of several processes shows anything.
    """
    if os.environ.get("RANK", "0") != "0":
        return _Silence()
    if not sys.stderr.isatty():
        return _Lines(title, total, done, unit, stays, has_rhythm)
    return _Bar(
        desc=title,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=unit == "B",
        leave=stays,
        dynamic_ncols=True,
    )


def download_bar(total: float | None = None, **_: object) -> ProgressBar:
    """What stands in for the bar that a library draws around a download of `total` bytes."""
    return progress_bar("downloading", total, unit="B")


def tracked(
    items: Iterable[Tracked],
    title: str,
    total: int | None = None,
    *,
    unit: str = "it",
    stays: bool = True,
) -> Iterator[Tracked]:
    """The items, with a bar that counts them. total: their number, where they have no length."""
    length = len(items) if total is None and isinstance(items, Sized) else total
    with progress_bar(title, length, unit=unit, stays=stays) as bar:
        for item in items:
            yield item
            bar.update()


def write_line(text: str) -> None:
    """One line on stderr, above a bar that may be there."""
    tqdm.write(text, file=sys.stderr)


class _Bar(tqdm):
    """On a terminal."""

    def report(self, text: str) -> None:
        self.set_postfix_str(text)


class _Silence:
    """In every process but the first."""

    def update(self, count: float = 1) -> None:
        pass

    def report(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> "_Silence":
        return self

    def __exit__(self, *error: object) -> None:
        pass


class _Lines(_Silence):
    """In a file or a pipe."""

    def __init__(
        self,
        title: str,
        total: float | None,
        done: float,
        unit: str,
        stays: bool,
        has_rhythm: bool,
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.has_end, self.has_rhythm = stays and not has_rhythm, has_rhythm
        self.first = self.done = self.written = done
        self.start = self.last_time = time.monotonic()

    def update(self, count: float = 1) -> None:
        self.done += count
        if not self.has_rhythm and self._is_due(time.monotonic() - self.last_time):
            self.report("")

    def report(self, text: str) -> None:
        self.written, self.last_time = self.done, time.monotonic()
        write_line(f"{self.title}: {self._counts()}{text and f', {text}'}")

    def close(self) -> None:
        if self.has_end and self.done > self.written:
            self.report("")

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _is_due(self, seconds: float) -> bool:
        is_far = self.done >= 2 * self.written
        if self.total:
            share = (self.done - self.written) / self.total
            is_far = share >= 1 / TENTHS or self.done == self.total
        return seconds >= MAX_SECONDS or (seconds >= MIN_SECONDS and is_far)

    def _counts(self) -> str:
        """`300/1000 (30 %), 12.5 step/s, 0:00:56 left`."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        rate = (self.done - self.first) / seconds
        is_bytes = self.unit == "B"
        size = partial(tqdm.format_sizeof, suffix="B") if is_bytes else "{:g}".format
        parts = [size(self.done)]
        if self.total:
            parts[0] += f"/{size(self.total)} ({100 * self.done / self.total:.0f} %)"
        if rate > 0:
            parts.append(f"{size(rate)}/s" if is_bytes else f"{rate:.3g} {self.unit}/s")
        if self.total and rate > 0 and self.done < self.total:
            left = tqdm.format_interval((self.total - self.done) / rate)
            parts.append(f"{left} left")
        return ", ".join(parts)
