"""Everything that can be measured on one GPU, in one command of at most 8 minutes, no downloads.

  sh benchmarks/gpu.sh                              # all parts, table, gpu.json, gpu.log
  sh benchmarks/gpu.sh --parts card steps stalls    # some of them
  sh benchmarks/gpu.sh --minutes 4 --json other.json
  sh benchmarks/gpu.sh --parts steps compile --recipes stage3 --variants bf16 compile --batches 16
  sh benchmarks/gpu.sh --device cpu --tiny          # to see that it runs; figures mean nothing
  python -m benchmarks.gpu.table gpu.json           # the table again, for the documentation

Every part is a process of its own with a limit of its own, the most important first. What fails
leaves its reason in the table and its traceback in the log, and the rest goes on. The JSON file is
written all along, so that nothing is lost when the time ends.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.bench import Bench, Choice, reason_of
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.recipes import RECIPES
from benchmarks.gpu.table import VARIANTS, markdown
from benchmarks.measure import machine_facts, output_file
from benchmarks.train_step import choose_device
from common.config_values import positive
from common.errors import run_program
from common.files import make_folder
from common.text_files import write_json

SHORTEST = 8.0  # seconds; a part is not started with less
POLL_SECONDS = 1.0


def main() -> None:
    """Run the parts one after the other, or, as their process, one of them."""
    arguments = parse()
    if arguments.part is not None:
        run_part(arguments)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part is ended too
    begin = time.monotonic()
    deadline = begin + 60 * arguments.minutes
    device = choose_device(arguments.device)
    content: dict[str, Any] = {
        "benchmark": "gpu",
        **machine_facts(),
        "settings": {
            "device": device.type,
            "tiny": arguments.tiny,
            "minutes": arguments.minutes,
            "choice": choice_of(arguments).options(),
        },
        "parts": {},
    }
    make_folder(arguments.json.parent)
    arguments.json.with_suffix(".log").unlink(missing_ok=True)
    for name in arguments.parts:
        part = content["parts"][name] = {"status": "running", "rows": []}
        limit = min(PARTS[name].limit, deadline - time.monotonic())
        print(f"{name} (at {time.monotonic() - begin:.0f} s)", flush=True)
        start = time.monotonic()
        if limit < SHORTEST:
            part["status"] = "no time left"
        else:
            with tempfile.TemporaryDirectory() as folder:
                watch_part(name, limit, Path(folder), arguments, content)
        part["seconds"] = time.monotonic() - start
        write_json(arguments.json, content)
    print(markdown(content))


def watch_part(
    name: str, limit: float, folder: Path, arguments: argparse.Namespace, content: dict[str, Any]
) -> None:
    """Start the part and keep its rows in `content` and the JSON file, until its end or limit."""
    rows, part = folder / "rows.jsonl", content["parts"][name]
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--part", name, "--rows", str(rows)),
        *("--seconds", str(limit - 2), "--device", content["settings"]["device"]),
        *(["--tiny"] if arguments.tiny else []),
        *choice_of(arguments).options(),
    ]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    start = time.monotonic()
    with arguments.json.with_suffix(".log").open("a", encoding="utf-8") as log:
        print(f"== {name}", file=log, flush=True)
        process = subprocess.Popen(command, stderr=log, env=environment, start_new_session=True)
        try:
            while process.poll() is None and time.monotonic() - start < limit:
                time.sleep(POLL_SECONDS)
                if keep_rows(rows, part):
                    write_json(arguments.json, content)
            is_late = process.poll() is None
        finally:
            end_group(process)
    keep_rows(rows, part)
    if is_late:
        part["status"] = f"stopped after {limit:.0f} s"
    elif process.returncode:
        part["status"] = f"failed, exit code {process.returncode}; see the log"
    else:
        part["status"] = "done"


def keep_rows(file: Path, part: dict[str, Any]) -> bool:
    """Take over the rows that are written whole; returns whether there are new ones."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
    is_new = len(found) > len(part["rows"])
    part["rows"] = found
    return is_new


def end_group(process: subprocess.Popen) -> None:
    """End the part's process and all that it started, workers and training runs."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_part(arguments: argparse.Namespace) -> None:
    """One part, in this process."""
    device = choose_device(arguments.device)
    deadline = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        choice = choice_of(arguments)
        bench = Bench(device, arguments.tiny, arguments.rows, deadline, Path(folder), choice)
        for measure in PARTS[arguments.part].measures:
            try:
                measure(bench)
            except Exception as error:  # the part's other halves can still run
                bench.add(measure.__name__, error=reason_of(error))
                sys.excepthook(type(error), error, error.__traceback__)
            bench.free()


def choice_of(arguments: argparse.Namespace) -> Choice:
    """Which cases the command line asks for."""
    lists = (arguments.recipes, arguments.variants, arguments.batches)
    return Choice(*(tuple(some) for some in lists))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="sh benchmarks/gpu.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
        help=f"some of {', '.join(PARTS)}, in this order (default: all)")  # fmt: skip
    add("--recipes", nargs="+", choices=RECIPES, default=[], metavar="RECIPE",
        help=f"some of {', '.join(RECIPES)}")  # fmt: skip
    add("--variants", nargs="+", choices=VARIANTS, default=[], metavar="VARIANT",
        help=f"of a step: some of {', '.join(VARIANTS)}")  # fmt: skip
    add("--batches", nargs="+", type=positive, default=[], metavar="N",
        help="of a step: some of 1, 4, 16")  # fmt: skip
    add("--minutes", type=float, default=8.0, help="for all of it (default 8)")
    add("--json", type=output_file, default="gpu.json", metavar="FILE", help="default gpu.json")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--tiny", action="store_true", help="tiny networks and pictures; figures mean nothing")
    add("--threads", type=positive, help="CPU threads (default: PyTorch's)")
    add("--part", choices=PARTS, help=argparse.SUPPRESS)  # measure this one, in this process
    add("--rows", type=Path, help=argparse.SUPPRESS)
    add("--seconds", type=float, default=600.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.minutes > 0:
        parser.error("--minutes: must be positive")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    return arguments


if __name__ == "__main__":
    run_program(main)
