"""Seconds from the command to the first training step, with short and long lists; import time.

  python benchmarks/startup.py
  python benchmarks/startup.py --entries 100 24000 48000

Real runs of stage 1 (a tiny network, so that the step itself takes no time) on generated frames:
Python and its imports, reading the list, checking that every file and feature is there, the loader,
the first step. Files are links in the page cache; a cold network disk takes longer.
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.launching import run_stage1, write_config
from benchmarks.measure import Measurement, benchmark_parser, repeat, report
from common.config import REPO_ROOT
from common.config_values import positive
from common.errors import run_program

SIZE = (32, 64)
MODEL = {"text_dim": 16, "hidden_dims": [16], "latent_dim": 16, "code_channels": 8}
WORDS = ("train.max_steps=1", "train.batch_size=1", "train.precision=fp32")
IMPORTS = {
    "import torch": "import torch",
    "import stage 1": "import stage1_vae.train",
    "import stage 3": "import stage3_depth.train",
}


def main() -> None:
    """Imports, then runs with each length of the list."""
    arguments = parse()
    rows = import_rows(arguments) + [run_row(count, arguments) for count in arguments.entries]
    report("startup", arguments, rows)


def import_rows(arguments: argparse.Namespace) -> list[Measurement]:
    """Fresh interpreters that import and end."""
    programs = {name: partial(_python, code) for name, code in IMPORTS.items()}
    times = repeat(programs, arguments.rounds)
    return [Measurement(name, "s", values) for name, values in times.items()]


def run_row(num_entries: int, arguments: argparse.Namespace) -> Measurement:
    """From the command to the first step's line in metrics.jsonl."""
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder), num_entries, SIZE, MODEL)
        runs = [run_stage1(config, WORDS, NPROC="1") for _ in range(arguments.rounds + 1)]
    values = tuple(run.seen_at[0] for run in runs[1:])
    return Measurement(f"command to first step, {num_entries:,} entries", "s", values)


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, check=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__ or "", rounds=3)
    parser.add_argument(
        "--entries",
        nargs="+",
        type=positive,
        default=[100, 24_000],
        help="lengths of the training list (default 100 24000)",
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.entries = 1, [8]
    return arguments


if __name__ == "__main__":
    run_program(main)
