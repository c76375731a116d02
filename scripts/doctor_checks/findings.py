"""What a check finds: one line, how often, first examples, the likely cause and what fixes it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from common.progress import progress_bar
from common.runtime.cores import num_cores

Level = Literal["ok", "note", "problem"]
NUM_EXAMPLES = 3
Checked = TypeVar("Checked")
R = TypeVar("R")


@dataclass(frozen=True)
class Fix:
    """What fixes a finding; kept as data so that a test can do what it says.

    command: a line for the shell, from the repository root. settings: `key=value` arguments to add
    to the doctor's own, and to training's. advice: what only a person can do. A command never moves
    or deletes what it finds: it writes a new file, and the settings name that.
    """

    command: str = ""
    settings: tuple[str, ...] = ()
    advice: str = ""

    def __str__(self) -> str:
        settings = " ".join(map(quoted, self.settings))
        if self.command and settings:
            settings = f"then {settings}"
        return "\n".join(filter(None, (self.command, settings, self.advice)))


def settings(*words: str) -> Fix:
    """`key=value` arguments that fix it."""
    return Fix(settings=words)


def advice(text: str) -> Fix:
    """What only a person can do."""
    return Fix(advice=text)


_NO_FIX = Fix()


@dataclass(frozen=True)
class Finding:
    """One thing the doctor says; `code` is a fixed word for programs that read the report."""

    level: Level
    code: str
    text: str
    count: int = 0  # of the files, lines or images concerned
    examples: tuple[str, ...] = ()
    cause: str = ""
    fix: Fix = _NO_FIX


def fine(code: str, text: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding("ok", code, text)


def note(
    code: str, text: str, cases: Sequence[str] = (), cause: str = "", fix: Fix = _NO_FIX
) -> Finding:
    """Something special that training accepts; `cases` are all that it concerns."""
    return Finding("note", code, text, len(cases), tuple(cases[:NUM_EXAMPLES]), cause, fix)


def problem(
    code: str, text: str, cases: Sequence[str] = (), cause: str = "", fix: Fix = _NO_FIX
) -> Finding:
    """Something that stops training or spoils its numbers."""
    return Finding("problem", code, text, len(cases), tuple(cases[:NUM_EXAMPLES]), cause, fix)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Join findings that say the same of several splits: `train: ...` and `test: ...`."""
    groups: dict[tuple, list[Finding]] = {}
    for finding in findings:
        what = finding.text.partition(": ")[2] or finding.text
        key = (finding.level, finding.code, what, finding.cause, finding.fix)
        groups.setdefault(key, []).append(finding)
    return [_join(group) for group in groups.values()]


def _join(group: list[Finding]) -> Finding:
    if len(group) == 1:
        return group[0]
    names = dict.fromkeys(finding.text.partition(": ")[0] for finding in group)
    text = f"{', '.join(names)}: {group[0].text.partition(': ')[2]}"
    examples = tuple(example for finding in group for example in finding.examples)
    count = sum(finding.count for finding in group)
    return replace(group[0], text=text, count=count, examples=examples[:NUM_EXAMPLES])


def quoted(value: object) -> str:
    """One argument of a command line."""
    return shlex.quote(str(value))


def some_of(items: Sequence[Checked], most: int) -> list[Checked]:
    """At most `most` items, spread evenly over the sequence, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / max(most - 1, 1)
    return [items[round(i * step)] for i in range(most)]


def in_threads(work: Callable[[Checked], R], items: Sequence[Checked], label: str) -> list[R]:
    """`work` on every item, in order; reading and decoding files leaves Python's lock free."""
    size = min(max(len(items) // 64, 1), 64)  # of a chunk: a task for each file costs more than it
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    results: list[R] = []
    with (
        ThreadPoolExecutor(min(8, 2 * num_cores())) as pool,
        progress_bar(label, len(items), stays=False) as bar,
    ):
        for chunk in pool.map(lambda chunk: [work(item) for item in chunk], chunks):
            results += chunk
            bar.update(len(chunk))
    return results
