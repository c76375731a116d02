"""Time and memory of a training step, beside the published step in plain float32 eager PyTorch.

  python benchmarks/train_step.py                                   # stage 1, stage 3, joint
  python benchmarks/train_step.py --what stage1 --size 96 128       # smaller images
  python benchmarks/train_step.py --variants bf16 --without all     # what each trick contributes
  python benchmarks/train_step.py --what stage3 --batch 16 --device cuda --variants plain fp32 bf16

Each line is a process of its own, one after the other: `plain` is the networks of
common/networks/published/plain.py with PyTorch's Adam, as the published code trains; `fp32` and
`bf16` are this project's `fit`, started as `train.sh` starts it. Seconds are of forward, backward
and update, waited for at the end of a round; data are made up and on the device already. Memory is
the peak of the process on a CPU (Python and PyTorch included), and of PyTorch's allocator on a GPU.
The published sizes (Swin-L) at 480x640 need 12 GB. `--network swin-t` and `tiny` are smaller.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn

from benchmarks.measure import Measurement, benchmark_parser, report
from benchmarks.networks import (
    NETWORKS,
    WHAT,
    make_batch,
    make_network,
    make_step,
)
from benchmarks.plain_steps import time_plain
from benchmarks.tricks import MALLOC, TRICKS, without
from common.config import REPO_ROOT
from common.config_values import positive
from common.data.batch import Batch
from common.engine.log_window import memory_gb
from common.engine.loop import Hooks, Plan, Task, fit
from common.engine.optimization import adam
from common.engine.train_config import TrainConfig
from common.errors import UserError, run_program
from common.networks.layers import trainable_parameters
from common.networks.swin import SwinEncoder
from common.progress import tracked
from common.runtime.processes import Processes, compile_if_possible

VARIANTS = ("plain", "fp32", "bf16")
WARM_UP = 3  # rounds: the first steps wait for the system to hand out memory
BATCH = {"stage1": 4, "stage3": 1, "joint-image": 1, "joint-text": 1}  # as first measured, on a CPU


def main() -> None:
    """Run every line in a process of its own; print a table for each network."""
    arguments = parse()
    if arguments.line is not None:
        print(json.dumps(measure(arguments, **json.loads(arguments.line))))
        return
    choose_device(arguments.device)
    rows = [row for what in arguments.what for row in rows_of(what, arguments)]
    report("train_step", arguments, rows)


def rows_of(what: str, arguments: argparse.Namespace) -> list[Measurement]:
    """All lines of one network; ratios are to the first of them."""
    rows: list[Measurement] = []
    height, width = arguments.size
    wanted = lines(arguments.variants, arguments.without)
    for variant, left_out in tracked(wanted, what, unit="line"):
        line = {"what": what, "variant": variant, "left_out": left_out}
        found = in_a_process(line, malloc=variant != "plain" and left_out != MALLOC)
        batch = arguments.batch or BATCH[what]
        values = tuple(seconds / batch for seconds in found["seconds"])
        label = f"{what} {height}x{width} batch {batch} {variant}"
        row = Measurement(f"{label} without {left_out}" if left_out else label, "s/image", values)
        first = rows[0] if rows else row
        row.facts["images/s"] = 1 / row.median
        row.facts["GB"] = found["memory_gb"]
        row.facts["times faster"] = first.median / row.median
        row.facts["share of memory"] = found["memory_gb"] / float(first.facts["GB"])
        rows.append(row)
    return rows


def lines(variants: list[str], tricks: list[str]) -> list[tuple[str, str | None]]:
    """(variant, trick left out): each variant as it is, then without each trick in turn."""
    names = TRICKS if "all" in tricks else tricks
    return [
        (variant, left_out)
        for variant in variants
        for left_out in (None, *(names if variant != "plain" else ()))
    ]


def in_a_process(line: dict[str, str | None], malloc: bool) -> dict[str, Any]:
    """What `measure` returns, in a fresh process; malloc: with `train.sh`'s settings of it."""
    own_arguments = [*sys.argv[1:], "--line", json.dumps(line)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, str(Path(__file__).resolve()), *own_arguments]
    if malloc:
        env |= malloc_settings()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        case = ", ".join(name for name in line.values() if name)
        raise UserError(
            f"{case}: {reason.removeprefix('error: ')}; if memory was short, try a smaller --size, "
            "--batch or --network"
        )
    return json.loads(done.stdout.splitlines()[-1])


def malloc_settings() -> dict[str, str]:
    """The `MALLOC_*` defaults of scripts/launch.sh, read where they stand."""
    settings = {}
    for text in (REPO_ROOT / "scripts" / "launch.sh").read_text(encoding="utf-8").splitlines():
        if text.startswith("export MALLOC_"):
            name, _, value = text.removeprefix("export ").partition("=")
            settings[name] = value.strip('"}').partition(":-")[2]
    return settings


def measure(
    arguments: argparse.Namespace, what: str, variant: str, left_out: str | None
) -> dict[str, Any]:
    """Seconds of a step, one number for each round, and peak memory, of this process."""
    device = choose_device(arguments.device)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sizes, size = NETWORKS[arguments.network], tuple(arguments.size)
    network = make_network(what, sizes, size)
    if arguments.checkpointing:
        checkpoint_activations(network)
    batch = make_batch(arguments.batch or BATCH[what], size, sizes, device)
    steps = arguments.steps or (10 if device.type == "cuda" else 1)
    network.to(device).train()
    if variant == "plain":
        seconds = time_plain(what, network, batch, sizes, arguments.rounds + WARM_UP, steps)
    else:
        with without(*([left_out] if left_out else [])):
            seconds = time_fit(what, network, batch, variant, arguments, steps)
    return {"seconds": seconds[WARM_UP:], "memory_gb": memory_gb(device)}


def time_fit(
    what: str,
    network: nn.Module,
    batch: Batch,
    precision: Any,
    arguments: argparse.Namespace,
    steps: int,
) -> list[float]:
    """Seconds of a step of this project's loop: one mean over `steps` of them for each round."""
    total = (arguments.rounds + WARM_UP) * steps
    count = len(batch)
    config = TrainConfig(batch_size=count, max_steps=total, precision=precision, log_every=steps)
    processes = Processes(0, 1, batch.image.device)
    if arguments.compile:
        network = compile_if_possible(network, processes, partial(print, file=sys.stderr))
    times: list[float] = []
    fit(
        network,
        Task(make_step(what)),
        iter([batch] * total),
        adam(trainable_parameters(network), config),
        Plan(config, seed=0, start_step=0, total_steps=total, evaluate_every=total + 1),
        Hooks(
            log=lambda step, values: times.append(values["step_seconds"]),
            evaluate=lambda step: None,
            save=lambda step: None,
        ),
        processes,
    )
    return times


def checkpoint_activations(network: nn.Module) -> None:
    """As `model.encoder.activation_checkpointing=true`."""
    for module in network.modules():
        if isinstance(module, SwinEncoder):
            module.config = replace(module.config, activation_checkpointing=True)


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU if there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no GPU here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def parse() -> argparse.Namespace:
    """The command line; `--quick` makes everything tiny."""
    parser = benchmark_parser(__doc__ or "", rounds=3)
    add = parser.add_argument
    add("--what", nargs="+", choices=WHAT, default=["stage1", "stage3", "joint-image"])
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    add(
        "--without",
        nargs="+",
        choices=(*TRICKS, "all"),
        default=[],
        metavar="TRICK",
        help=f"also without this one: {', '.join(TRICKS)}, or all, one at a time",
    )
    add("--size", nargs=2, type=positive, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    add("--batch", type=positive, help="images of a step (default: 4 for stage 1, 1 else)")
    add("--network", choices=NETWORKS, default="published")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--threads", type=positive, help="CPU threads (default: PyTorch's)")
    add("--steps", type=positive, help="steps of a round (default: 10 on a GPU, 1 on a CPU)")
    add("--checkpointing", action="store_true", help="encoder.activation_checkpointing=true")
    add("--compile", action="store_true", help="train.compile=true")
    add("--line", help=argparse.SUPPRESS)  # measure this line, in this process
    arguments = parser.parse_args()
    if any(side % 32 for side in arguments.size):
        parser.error("--size: the plain networks need multiples of 32")
    if arguments.quick:
        arguments.network, arguments.size, arguments.rounds = "tiny", [64, 96], 1
    return arguments


if __name__ == "__main__":
    run_program(main)
