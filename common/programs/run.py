"""A run's folder: resolved config, log, scalars, pictures, checkpoints, and what may continue it.

runs/<experiment>/<stage>/: config.yaml, log.txt, metrics.jsonl, tensorboard/, panels/,
checkpoints/last.pt and best.pt. The same command continues the run it finds there. A command whose
settings would give other numbers never touches it: it writes to <stage>-2, <stage>-3, ...
"""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from common.config import REPO_ROOT, build_config, require_at_least, to_dict, valid_keys
from common.data.dataset import DataConfig
from common.engine.loop import TrainConfig
from common.errors import UserError
from common.evaluation.panels import write_png
from common.evaluation.scoring import EvalConfig
from common.language.features import TextConfig
from common.runtime.processes import Processes

# Settings that change how a run is computed or reported, not what it computes.
FREE_KEYS = (
    "output_root", "data.root", "data.gt_root", "data.cache",
    "train.num_workers", "train.micro_batch_size", "train.compile", "train.log_every",
    "train.profile",
    "train.save_every", "train.resume", "train.max_steps", "train.epochs", "eval",
)  # fmt: skip
MAX_SEED = 2**32 - 1  # numpy's global generator takes no larger one


@dataclass(frozen=True)
class RunConfig:
    """What every stage's config has; a stage adds its model, loss and earlier stages."""

    data: DataConfig
    experiment: str = "nyu"
    output_root: Path = REPO_ROOT / "runs"
    seed: int = 0
    text: TextConfig = field(default_factory=TextConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if self.experiment in ("", "..") or self.experiment != Path(self.experiment).name:
            raise ValueError(f"experiment: '{self.experiment}' must be a plain folder name")
        require_at_least(0, self, "seed")
        if self.seed > MAX_SEED:
            raise ValueError(f"seed: must be at most {MAX_SEED}, not {self.seed}")


class Run:
    """The folder of one stage of one experiment; only the main process writes to it."""

    def __init__(self, folder: Path, stage: str, processes: Processes, resume: bool = True):
        self.folder, self.stage, self.processes = folder, stage, processes
        self.last = folder / "checkpoints" / "last.pt"
        self.resumes = resume and self.last.exists()  # its weights replace every other start
        self.best = folder / "checkpoints" / "best.pt"
        self._board: SummaryWriter | None = None
        self._first_step = 0

    def log(self, text: str) -> None:
        """One line on the terminal and in log.txt."""
        if not self.processes.is_main:
            return
        tqdm.write(text, file=sys.stderr)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def scalars(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Named numbers of one step, to metrics.jsonl and TensorBoard."""
        if not self.processes.is_main:
            return
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(f"{kind}/{name}", value, step)
        self.board.flush()

    def panels(self, step: int, name: str, pictures: list[np.ndarray]) -> None:
        """Picture panels (uint8 RGB), as PNG files and in TensorBoard."""
        for index, picture in enumerate(pictures):
            write_png(self.folder / "panels" / f"{name}_{step:07d}_{index}.png", picture)
            self.board.add_image(f"{name}/{index}", picture, step, dataformats="HWC")
        self.board.flush()

    @property
    def board(self) -> SummaryWriter:
        if self._board is None:
            place = str(self.folder / "tensorboard")
            self._board = SummaryWriter(place, purge_step=self._first_step)
        return self._board

    def rewind(self, step: int) -> None:
        """Drop metrics written after `step`: a resumed run writes them again."""
        self._first_step = step + 1
        path = self.folder / "metrics.jsonl"
        if not self.processes.is_main or not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> float:
    """The line's step; infinite for a line a killed process left half-written."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")


def open_run(config: RunConfig, stage: str, processes: Processes, words: list[str]) -> Run:
    """Choose the run's folder and write its resolved config. words: the command line's."""
    folder = choose_folder(config, stage)
    processes.barrier()  # everyone has chosen before anyone writes
    if processes.is_main:
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror}; set output_root"
            ) from None
        (folder / "config.yaml").write_text(_resolved(config, words, processes), encoding="utf-8")
    processes.barrier()
    run = Run(folder, stage, processes, config.train.resume)
    if folder.name != stage:
        run.log(f"{folder.with_name(stage)} holds a run with other settings and is left alone")
    run.log(f"run folder: {folder}")
    return run


def choose_folder(config: RunConfig, stage: str) -> Path:
    """The stage's folder, or the next numbered one if that holds a run with other settings."""
    parent = config.output_root / config.experiment
    number = 1
    while True:
        folder = parent / (stage if number == 1 else f"{stage}-{number}")
        if not (folder / "checkpoints" / "last.pt").exists() or _continues(config, folder):
            return folder
        number += 1


def _continues(config: RunConfig, folder: Path) -> bool:
    """Whether `config` describes the run in `folder`, or the same run with more steps."""
    try:
        written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        saved = to_dict(build_config(type(config), written or {}))  # a key it lacks: the default
    except (OSError, yaml.YAMLError, UserError):
        return False
    own = to_dict(config)
    keys = [k for k in valid_keys(type(config)) if not _is_free(k)]
    if any(_look_up(saved, k) != _look_up(own, k) for k in keys):
        return False
    lengths = [(t.get("max_steps"), t.get("epochs")) for t in (saved["train"], own["train"])]
    return lengths[0] == lengths[1] or _is_longer(*lengths)


def _is_longer(saved: tuple, own: tuple) -> bool:
    return all(
        a == b or (a is not None and b is not None and b > a)
        for a, b in zip(saved, own, strict=True)
    )


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE_KEYS)


def _look_up(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return None if isinstance(tree, dict) else tree


def _resolved(config: RunConfig, words: list[str], processes: Processes) -> str:
    facts = {"command": " ".join(words), "processes": processes.world_size, **environment()}
    head = "".join(f"# {name}: {value}\n" for name, value in facts.items())
    return head + yaml.safe_dump(to_dict(config), sort_keys=False)


def environment() -> dict[str, str]:
    """Where numbers come from: commit, versions, machine."""
    packages = ("torch", "torchvision", "timm", "open_clip_torch", "numpy")
    return {
        "commit": _git_commit(),
        "versions": ", ".join(f"{p} {version(p)}" for p in packages),
        "python": platform.python_version(),
        "machine": machine(),
    }


def machine() -> str:
    """GPU names, or the processor and its number of cores."""
    import os

    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ", ".join(names)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {os.cpu_count()} cores"


def _git_commit() -> str:
    command = ["git", "-C", str(REPO_ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"
