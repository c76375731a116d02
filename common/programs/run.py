"""A run's folder: resolved config, log, scalars, pictures, checkpoints, and what may continue it.

runs/<experiment>/<stage>/: config.yaml, log.txt, metrics.jsonl, tensorboard/, panels/,
checkpoints/last.pt and best.pt. The same command continues the run it finds there. A command whose
settings would give other numbers never touches it: it writes to <stage>-2, <stage>-3, ...
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from common.config import build_config, deciding_keys, look_up, to_dict
from common.errors import UserError
from common.evaluation.panels import write_png
from common.programs.run_config import RunConfig
from common.runtime.machine import environment
from common.runtime.processes import Processes


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


def open_run(config: RunConfig, stage: str, processes: Processes, arguments: list[str]) -> Run:
    """Choose the run's folder and write its resolved config. arguments: the command line's."""
    folder = choose_folder(config, stage)
    processes.barrier()  # everyone has chosen before anyone writes
    if processes.is_main:
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror}; set output_root"
            ) from None
        (folder / "config.yaml").write_text(
            _resolved(config, arguments, processes), encoding="utf-8"
        )
    processes.barrier()
    run = Run(folder, stage, processes, config.train.resume)
    if folder.name != stage:
        run.log(f"{folder.with_name(stage)} holds a run with other settings and is left alone")
    run.log(f"run folder: {folder}")
    return run


def find_resumed(config: RunConfig, stage: str) -> Path | None:
    """The checkpoint that a run of this config goes on from; None: it starts."""
    last = choose_folder(config, stage) / "checkpoints/last.pt"
    return last if config.train.resume and last.exists() else None


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
    if any(_value(saved, key) != _value(own, key) for key in deciding_keys(config)):
        return False
    lengths = [(t.get("max_steps"), t.get("epochs")) for t in (saved["train"], own["train"])]
    return lengths[0] == lengths[1] or _is_longer(*lengths)


def _value(tree: dict, key: str) -> Any:
    """A plain value; a section's are compared one by one."""
    value = look_up(tree, key)
    return None if isinstance(value, dict) else value


def _is_longer(saved: tuple, own: tuple) -> bool:
    return all(
        a == b or (a is not None and b is not None and b > a)
        for a, b in zip(saved, own, strict=True)
    )


def _resolved(config: RunConfig, arguments: list[str], processes: Processes) -> str:
    facts = {"command": " ".join(arguments), "processes": processes.world_size, **environment()}
    head = "".join(f"# {name}: {value}\n" for name, value in facts.items())
    return head + yaml.safe_dump(to_dict(config), sort_keys=False)
