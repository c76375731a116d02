"""What every benchmark shares: repeats after a warm-up, median and spread, machine, table, JSON.

    times = repeat({"decode": decode, "rotate": rotate}, rounds=5, scale=1e3)
    rows = [Measurement(name, "ms", values) for name, values in times.items()]
    report("data_loading", arguments, rows)

A spread is shown as the lowest and the highest of all repeats, so that a noisy machine shows.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.config_values import output_path, positive
from common.files import check_output
from common.runtime.machine import environment
from common.text_files import write_json


@dataclass(frozen=True)
class Measurement:
    """One measured thing: its repeats in `unit`, and further facts such as memory or a ratio."""

    name: str
    unit: str
    values: tuple[float, ...]
    facts: dict[str, float | str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_dict(self) -> dict[str, Any]:
        """What the JSON file holds."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "lowest": min(self.values),
            "highest": max(self.values),
            "values": list(self.values),
            **self.facts,
        }


Clock = Callable[[], float]
cpu_clock: Clock = time.process_time  # of this process: other jobs and waiting do not count


def repeat(
    actions: dict[str, Callable[[], Any]],
    rounds: int,
    scale: float = 1.0,
    clock: Clock = time.perf_counter,
) -> dict[str, tuple[float, ...]]:
    """Seconds times `scale` of `rounds` calls of each action, after one call that is left out.

    Every round calls each action once, so that a busy moment hits all of them.
    """
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(scale * seconds_of(action, clock))
    return {name: tuple(values) for name, values in times.items()}


def seconds_of(action: Callable[[], Any], clock: Clock = time.perf_counter) -> float:
    """Seconds that one call takes."""
    start = clock()
    action()
    return clock() - start


def benchmark_parser(doc: str, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--rounds",
        type=positive,
        default=rounds,
        metavar="N",
        help=f"timed repeats after the warm-up (default {rounds})",
    )
    add("--quick", action="store_true", help="a tiny case, to see that it runs; means nothing")
    add("--json", type=output_file, metavar="FILE", help="write every figure to FILE")
    return parser


def output_file(text: str) -> Path:
    """A file to write, as named on the command line; tried before anything is measured."""
    path = output_path(text)
    check_output(path)
    return path


def report(benchmark: str, arguments: argparse.Namespace, rows: Sequence[Measurement]) -> None:
    """Print machine and table; with `--json`, write them to a file too."""
    facts = machine_facts()
    print(f"{benchmark}: {facts['machine']}, {facts['versions']}")
    print(f"{facts['threads']} threads, load {facts['load']}, commit {facts['commit']}")
    if arguments.quick:
        print("--quick: these figures mean nothing")
    print(markdown_table(rows))
    if arguments.json is not None:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()}
        content = {"benchmark": benchmark, **facts, "settings": settings}
        write_json(arguments.json, {**content, "rows": [row.as_dict() for row in rows]})


def machine_facts() -> dict[str, Any]:
    """Where the figures come from: machine, versions, commit, threads, and how busy it was."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {**environment(), "threads": torch.get_num_threads(), "load": load}


def markdown_table(rows: Sequence[Measurement]) -> str:
    """One line for each row; the facts of all rows are further columns."""
    names = list(dict.fromkeys(name for row in rows for name in row.facts))
    head = ["what", "median", "lowest", "highest", "unit", *names]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        spread = (row.median, min(row.values), max(row.values))
        facts = [_cell(row.facts.get(name, "")) for name in names]
        lines.append([row.name, *map(_cell, spread), row.unit, *facts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
