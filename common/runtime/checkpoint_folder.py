"""The checkpoints of one run: which there are, how one takes another's place, where to go on.

last.pt            everything that resuming needs
last.previous.pt   the last.pt before that one: it is there until the next one is whole, and is gone
                   on from where last.pt turns out to be damaged
best.pt            the weights with the best validation
step_0012000.pt    a last.pt of that step, to stay (train.keep_every)
last.damaged_1.pt  was damaged, and was set aside by the run that went on from another one

At every moment the folder has a whole file to go on from, whenever a process is killed: a file is
written under a temporary name, `last.previous.pt` becomes a second name (a hard link) of the old
`last.pt`, and only then the new file takes that name. On a disk without hard links the old one is
renamed instead, and for a moment there is a `last.previous.pt` alone; a run goes on from that.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import check_space
from common.runtime.checkpoints import (
    BEST,
    LAST,
    PREVIOUS,
    DamagedError,
    num_bytes,
    read_checkpoint,
    save_checkpoint,
)

_NUMBERED = re.compile(r"step_(\d{7,})\.pt")
_UNFINISHED = re.compile(r"\..+\.tmp\.pt")  # see `whole_file`


@dataclass(frozen=True)
class StartingPoint:
    """What a run goes on from. path: None where it starts. damaged: those tried before it."""

    path: Path | None
    damaged: tuple[Path, ...] = ()

    def describe(self) -> str:
        """What to say where it is not the last one; else an empty text."""
        if self.path is None or self.path.name == LAST:
            return ""
        reason = (
            f"damaged: {', '.join(map(str, self.damaged))}"
            if self.damaged
            else f"{self.path.with_name(LAST)} is not there (a save was cut short)"
        )
        return f"WARNING: {reason}; going on from {self.path.name}, which is older"


class CheckpointFolder:
    """Whoever writes here holds the run's claim; reading needs none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last, self.previous, self.best = (folder / name for name in (LAST, PREVIOUS, BEST))

    def numbered(self, most: int | None = None) -> list[Path]:
        """The checkpoints that stay, the oldest first; up to step `most`."""
        steps = {int(m[1]): path for path, m in self._matches(_NUMBERED)}
        return [steps[step] for step in sorted(steps) if most is None or step <= most]

    def num_bytes_to_replace(self) -> int:
        """Of what saving will replace, or has left unfinished."""
        files = [self.last, self.previous, self.best, *self.numbered(), *self._unfinished()]
        states = [path.stat() for path in files if path.is_file()]
        return sum({state.st_ino: state.st_size for state in states}.values())

    def save_last(self, content: dict[str, Any], is_first: bool = False) -> None:
        """Replace `last.pt`; the old one becomes `last.previous.pt`.

        is_first: of a run that starts. What is there is of one that it takes the place of.
        """
        step = content["step"]
        self._save(
            self.last, content, partial(self._start_over, step) if is_first else self._keep_previous
        )

    def save_best(self, content: dict[str, Any]) -> None:
        """Replace `best.pt`."""
        self._save(self.best, content)

    def save_numbered(self, content: dict[str, Any], newest: int) -> None:
        """Write one that stays; of those up to its step only the `newest` do, 0: all."""
        step = content["step"]
        self._save(self._of_step(step), content)
        for path in self.numbered(step)[:-newest] if newest else ():
            path.unlink(missing_ok=True)

    def _save(
        self,
        path: Path,
        content: dict[str, Any],
        before_it_appears: Callable[[], None] = lambda: None,
    ) -> None:
        size, fix = num_bytes(content), "set output_root to another disk"
        check_space(self.folder, size, f"saving {path.name}", fix)
        save_checkpoint(path, content, before_it_appears)

    def _keep_previous(self) -> None:
        if not self.last.exists():
            return
        self.previous.unlink(missing_ok=True)
        try:
            os.link(self.last, self.previous)
        except OSError:  # a file system without hard links
            self.last.replace(self.previous)

    def _start_over(self, step: int) -> None:
        for path in (self.previous, *self.numbered()):
            if path != self._of_step(step):
                path.unlink(missing_ok=True)

    def find(self) -> StartingPoint:
        """The newest checkpoint that is whole. A `UserError` where there are some and none is."""
        damaged: list[Path] = []
        for path in self._newest_first():
            try:
                read_checkpoint(path)
            except DamagedError as error:
                damaged.append(path)
                last_error = error
            else:
                return StartingPoint(path, tuple(damaged))
        if len(damaged) == 1:
            raise last_error
        if damaged:
            raise UserError(
                f"no checkpoint in {self.folder} can be read, all are damaged "
                f"({', '.join(map(str, damaged))}); copy one back, or start over under another "
                "experiment=NAME"
            )
        return StartingPoint(None)

    def set_aside(self, path: Path) -> Path:
        """Keep a damaged file under a name that nothing reads."""
        names = (path.with_name(f"{path.stem}.damaged_{number}.pt") for number in count(1))
        name = next(name for name in names if not name.exists())
        path.rename(name)
        return name

    def remove_unfinished(self) -> None:
        """Remove what a killed process has begun to write, which takes the space of a whole one."""
        for path in self._unfinished():
            path.unlink(missing_ok=True)

    def _newest_first(self) -> Iterator[Path]:
        """`last.pt`, then the others by step: a numbered one may be of the same step as it."""
        if self.last.is_file():
            yield self.last
        others = [(int(m[1]), path) for path, m in self._matches(_NUMBERED)]
        if self.previous.is_file():
            others.append((_step_of(self.previous), self.previous))
        yield from (path for _, path in sorted(others, reverse=True))

    def _of_step(self, step: int) -> Path:
        return self.folder / f"step_{step:07d}.pt"

    def _unfinished(self) -> list[Path]:
        return [path for path, _ in self._matches(_UNFINISHED)]

    def _matches(self, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
        if not self.folder.is_dir():
            return []
        pairs = [(path, pattern.fullmatch(path.name)) for path in self.folder.iterdir()]
        return [(path, match) for path, match in pairs if match is not None and path.is_file()]


def _step_of(path: Path) -> int:
    """Of a checkpoint; of a damaged one the largest: it is told of, and set aside."""
    try:
        return int(read_checkpoint(path).get("step", 0))
    except UserError:
        return sys.maxsize
