"""Images per second of two processes with one core each, against one process with one core.

  python benchmarks/scaling.py                         # stage 1 at 480x640, batch 8
  python benchmarks/scaling.py --processes 1 2 4 --size 96 128 --batch 16

Real training runs (`common/runtime/launcher.py`, torchrun's launcher, gloo) of stage 1 on generated
frames, loading included, the same effective batch for all. Every process has one thread; on a
machine with fewer free cores than processes the ratio says nothing. The runs take turns; of each,
the first steps are left out.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.launching import Outcome, run_stage1, write_config
from benchmarks.measure import Measurement, benchmark_parser, report
from common.config_values import positive
from common.errors import run_program

WARM_UP = 3
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
MODEL = {"text_dim": 64, "hidden_dims": [64], "latent_dim": 128, "code_channels": 64}
SMALL_MODEL = {"text_dim": 16, "hidden_dims": [16], "latent_dim": 16, "code_channels": 8}


def main() -> None:
    """Train with each number of processes in turn."""
    arguments = parse()
    speeds: dict[int, list[float]] = {count: [] for count in arguments.processes}
    with tempfile.TemporaryDirectory() as folder:
        model = SMALL_MODEL if arguments.quick else MODEL
        config = write_config(Path(folder), 64, tuple(arguments.size), model)
        for _ in range(arguments.rounds):
            for count, values in speeds.items():
                outcome = run_stage1(
                    config, run_overrides(arguments), NPROC=str(count), **ONE_THREAD
                )
                values.append(images_per_second(outcome, WARM_UP))
    rows = [
        Measurement(f"{count} process(es)", "images/s", tuple(values))
        for count, values in speeds.items()
    ]
    for row in rows:
        row.facts["times the first"] = row.median / rows[0].median
    rows[0].facts["cores"] = float(os.cpu_count() or 1)
    report("scaling", arguments, rows)


def run_overrides(arguments: argparse.Namespace) -> list[str]:
    """Config keys of a run."""
    steps = arguments.steps + WARM_UP
    return [
        f"train.batch_size={arguments.batch}",
        f"train.max_steps={steps}",
        f"train.precision={arguments.precision}",
    ]


def images_per_second(outcome: Outcome, warm_up: int) -> float:
    """Of the median step after the first `warm_up`."""
    return statistics.median(line["images_per_s"] for line in outcome.lines[warm_up:])


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__ or "", rounds=3)
    add = parser.add_argument
    add("--processes", nargs="+", type=positive, default=[1, 2], help="default 1 2")
    add("--steps", type=positive, default=8, help="steps of a run that count (default 8)")
    add("--batch", type=positive, default=8, help="effective batch (default 8)")
    add("--size", nargs=2, type=positive, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.rounds, arguments.size, arguments.batch = 3, 1, [32, 64], 4
    return arguments


if __name__ == "__main__":
    run_program(main)
