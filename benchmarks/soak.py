"""Memory, open files and logs of a long training run, and of its data workers: do they grow?

  python benchmarks/soak.py
  python benchmarks/soak.py --steps 20000 --json soak.json
  python benchmarks/soak.py --program llm_mde/train.py --config runs/mine/llm_mde/config.yaml

A real run (the joint recipe with a tiny network, averaged weights, two workers, generated pictures)
with an evaluation, panels and checkpoints every 100 steps. At each logged step its processes are
looked at: memory (without code; "its part": shared pages by parts), open files, size of the logs.
The first quarter is warm-up. Of the rest: growth per 1,000 steps with its 95 % interval, and a
verdict against the limits (--limit-kb; 5 files). Exit code 1 where something grows. --config:
another run, in a new folder that goes afterwards; its first evaluation must fall into the warm-up.
Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from benchmarks.frames import write_nyu
from benchmarks.launching import last_line
from benchmarks.measure import Measurement, benchmark_parser, report
from benchmarks.process_memory import NUM_WINDOWS, Figures, children, look, slope
from common.config import REPO_ROOT
from common.config_values import positive
from common.errors import UserError, run_program

SIZE, TEXT_DIM, NUM_IMAGES, BATCH = (64, 96), 16, 300, 4
POLL_SECONDS = 0.05
WARM_UP = 0.25  # of the samples
LOG_EVERY = 5  # steps
EVENT_EVERY = 100  # steps between evaluations, and between checkpoints
FILE_LIMIT = 5.0  # open files, or processes, per 1,000 steps: less than one at each evaluation
LOGS = ("metrics.jsonl", "log.txt", "tensorboard", "panels", "checkpoints")
MODEL = {
    "decoder_channels": [16, 8, 8],
    "metric_hidden": 8,
    "hidden_dims": [16],
    "code_channels": 8,
    "text_dim": TEXT_DIM,
    "encoder": {
        "embed_dim": 8,
        "depths": [1, 2, 1, 1],
        "num_heads": [1, 2, 2, 4],
        "window_size": 2,
        "drop_path": 0.0,
    },
}


@dataclass(frozen=True)
class Moment:
    """A run at one logged step: the trainer, those it started by number, bytes of its logs."""

    step: int
    trainer: Figures
    others: dict[int, Figures]
    sizes: dict[str, int]


def main() -> None:
    """Run, look, judge."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        config = arguments.config or write_config(root)
        words = run_words(root, arguments.steps)
        samples = watch_run(REPO_ROOT / arguments.program, config, root / "runs", words)
    rows = judge(samples, arguments.limit_kb)
    report("soak", arguments, rows)
    growing = [row.name for row in rows if row.facts.get("verdict") == "grows"]
    print(f"grows: {', '.join(growing)}" if growing else "nothing grows")
    raise SystemExit(1 if growing else 0)


def write_config(root: Path) -> Path:
    """Generated pictures, and the joint recipe of a tiny network for them."""
    data = write_nyu(root / "data", NUM_IMAGES, num_frames=20, size=SIZE, text_dim=TEXT_DIM)
    lists = {"train_list": data.train_list, "val_list": data.val_list}
    content = {
        "recipe": "joint",
        "data": {
            "name": data.name,
            "root": str(data.root),
            "height": SIZE[0],
            "width": SIZE[1],
            "max_depth": data.max_depth,
            **lists,
        },
        "text": {"features": "text.safetensors"},
        "model": MODEL,
        "train": {"batch_size": BATCH, "precision": "fp32", "ema_decay": 0.99, "lr": 1e-4},
        "eval": {"protocol": "none", "batch_size": BATCH},
    }
    path = root / "soak.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run_words(root: Path, steps: int) -> list[str]:
    """What makes a run of any config a soak: its place, its length, how often anything happens."""
    return [
        f"output_root={root / 'runs'}",
        "experiment=soak",
        "train.epochs=",
        f"train.max_steps={steps}",
        "train.num_workers=2",
        f"train.log_every={LOG_EVERY}",
        f"train.save_every={EVENT_EVERY}",
        f"eval.every={EVENT_EVERY}",
    ]


def watch_run(program: Path, config: Path, runs: Path, words: list[str]) -> list[Moment]:
    """Start a training and look at it whenever it has logged a step, until it ends."""
    launcher = REPO_ROOT / "common" / "runtime" / "launcher.py"
    command = [sys.executable, str(launcher), str(program), str(config), *words]
    output = runs.parent / "output.txt"
    samples: list[Moment] = []
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "NPROC": "1"}
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                logs = next(runs.glob("*/*/metrics.jsonl"), None)
                line = last_line(logs) if logs else None
                step = json.loads(line)["step"] if line else 0
                if logs and step > (samples[-1].step if samples else 0):
                    samples += take_sample(step, process.pid, logs.parent)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        reason = (output.read_text(encoding="utf-8").strip().splitlines() or ["no message"])[-1]
        raise UserError(f"the training run ended with code {process.returncode}: {reason}")
    return samples


def take_sample(step: int, pid: int, run: Path) -> list[Moment]:
    """One, or none of a run that is at its end."""
    trainer = look(pid)
    if trainer is None:
        return []
    found = {child: figures for child in children(pid) if (figures := look(child))}
    return [Moment(step, trainer, found, {name: size_of(run / name) for name in LOGS})]


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    total = 0
    for file in [path] if path.is_file() else path.glob("*"):
        try:
            total += file.stat().st_size
        except OSError:  # a checkpoint that has just been renamed
            continue
    return total


def judge(samples: list[Moment], limit_kb: float) -> list[Measurement]:
    """One row for each thing that could grow; the values are those after the warm-up."""
    kept = samples[int(WARM_UP * len(samples)) :]
    if len(kept) < 2 * NUM_WINDOWS:
        raise UserError(
            f"{len(samples)} steps were seen, too few for a slope; give more --steps "
            f"({4 * NUM_WINDOWS * LOG_EVERY} at least)"
        )
    seen = Counter(child for sample in kept for child in sample.others)
    workers = sorted(child for child, count in seen.items() if count > 0.9 * len(kept))
    if not workers:
        raise UserError("no data worker was there from the warm-up to the end; nothing is judged")

    def row(
        name: str, unit: str, limit: float | None, of: Callable[[Moment], float]
    ) -> Measurement:
        having = [(sample.step, of(sample)) for sample in kept]
        return judged(name, unit, limit, having)

    rows = [
        row("trainer, memory", "kB", limit_kb, lambda s: s.trainer.kilobytes),
        row("trainer, its part", "kB", None, lambda s: s.trainer.part_kilobytes),
        row("trainer, open files", "files", FILE_LIMIT, lambda s: s.trainer.files),
        row("processes it started", "processes", FILE_LIMIT, lambda s: len(s.others)),
    ]
    for number, pid in enumerate(workers, start=1):
        there = [(s.step, s.others[pid]) for s in kept if pid in s.others]
        memory = [(step, float(figures.kilobytes)) for step, figures in there]
        part = [(step, float(figures.part_kilobytes)) for step, figures in there]
        files = [(step, float(figures.files)) for step, figures in there]
        rows += [
            judged(f"worker {number}, memory", "kB", limit_kb, memory),
            judged(f"worker {number}, its part", "kB", None, part),
            judged(f"worker {number}, open files", "files", FILE_LIMIT, files),
        ]
    return rows + [row(name, "bytes", None, lambda s, name=name: s.sizes[name]) for name in LOGS]


def judged(
    name: str, unit: str, limit: float | None, points: list[tuple[int, float]]
) -> Measurement:
    """limit: of the growth per 1,000 steps; None: it grows by what is written, and is only told."""
    steps, values = zip(*points, strict=True)
    found = slope(steps, values)
    facts: dict[str, float | str] = {
        "per 1,000 steps": found.value,
        "+-": found.uncertainty,
        "verdict": "" if limit is None else found.verdict(limit),
    }
    return Measurement(name, unit, values, facts)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__ or "", rounds=1)
    add = parser.add_argument
    add("--steps", type=positive, default=2000, metavar="N", help="of the run (default 2000)")
    add("--limit-kb", type=positive, default=2000, metavar="KB",
        help="growth of a process per 1,000 steps that is too much (default 2000)")  # fmt: skip
    add("--program", default="stage3_depth/train.py", help="what trains (default: %(default)s)")
    add("--config", type=Path, help="of another run (default: generated pictures)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps = 4 * NUM_WINDOWS * LOG_EVERY
    return arguments


if __name__ == "__main__":
    run_program(main)
