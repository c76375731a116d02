"""A run's folder: resolved config, log, scalars, pictures, checkpoints, and what may continue it.

runs/<experiment>/<stage>/: config.yaml, log.txt, metrics.jsonl, tensorboard/, panels/,
checkpoints/ (`common/runtime/checkpoint_folder.py`); splits/ where a folder without lists was
divided, profile/ if wanted. The same command continues the run it finds there, unless that is still
running. A command whose settings would give other numbers never touches it: it writes to <stage>-2,
<stage>-3, ...
"""

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common.config import build_config, deciding_keys, look_up, to_dict
from common.config_values import read_yaml
from common.errors import UserError
from common.evaluation.panels import write_png
from common.files import write_errors_told
from common.printable import one_line
from common.programs.board import Board
from common.programs.run_config import RunConfig
from common.programs.wandb_board import WandbBoard, open_wandb
from common.progress import write_line
from common.runtime.checkpoint_folder import CheckpointFolder, StartingPoint
from common.runtime.claims import Claim, Held, claim_folder, find_holder
from common.runtime.machine import environment
from common.runtime.processes import Processes
from common.text_files import ESCAPED, write_text

_ALTERNATIVE = (
    "set experiment=NAME for a run beside it (several GPUs of one run are NPROC=4 sh .../train.sh)"
)


class Run:
    """The folder of one stage of one experiment; only the main process writes to it."""

    def __init__(
        self,
        folder: Path,
        stage: str,
        processes: Processes,
        resumed: Path | None = None,
        claim: Claim | None = None,
    ):
        """claim: the main process's on the folder. resumed: the checkpoint that it goes on from,
        whose weights replace every other start; None: it starts.
        """
        self.folder, self.stage, self.processes, self.claim = folder, stage, processes, claim
        self.checkpoints, self.resumed = CheckpointFolder(folder / "checkpoints"), resumed
        self._board: Board | None = None
        self.wandb_board: WandbBoard | None = None
        self._first_step = 0

    def log(self, text: str) -> None:
        """One line on the terminal and in log.txt."""
        if not self.processes.is_main:
            return
        text = one_line(text)
        write_line(text)
        if self.claim is not None and self.claim.lost_to is not None:
            return  # the file is another run's now
        try:
            with (self.folder / "log.txt").open("a", encoding="utf-8", errors=ESCAPED) as file:
                file.write(text + "\n")
        except OSError as error:  # the line was told; what ends the run must not hang on its copy
            write_line(f"(not in log.txt: {error.strerror})")

    def scalars(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Named numbers of one step, to metrics.jsonl and the boards."""
        if not self.processes.is_main:
            return
        self.check_claim()
        path = self.folder / "metrics.jsonl"
        with write_errors_told(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        for board in self.boards:
            board.scalars(step, kind, values)

    def panels(self, step: int, name: str, pictures: list[np.ndarray]) -> None:
        """Picture panels (uint8 RGB), as PNG files and to the boards."""
        for index, picture in enumerate(pictures):
            write_png(self.folder / "panels" / f"{name}_{step:07d}_{index}.png", picture)
            for board in self.boards:
                board.picture(step, f"{name}/{index}", picture)

    @property
    def boards(self) -> list[Board | WandbBoard]:
        """Who else is told of scalars and pictures."""
        return [self.board, *([self.wandb_board] if self.wandb_board else [])]

    @property
    def board(self) -> Board:
        """Made when it is first written to."""
        if self._board is None:
            self._board = Board(self.folder / "tensorboard", self._first_step)
        return self._board

    def check_claim(self) -> None:
        """Raise a `UserError` if the folder is no longer this run's."""
        if self.claim is not None:
            self.claim.check()

    def rewind(self, step: int) -> None:
        """Drop metrics written after `step`: a resumed run writes them again."""
        self._first_step = step + 1
        path = self.folder / "metrics.jsonl"
        if not self.processes.is_main or not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        write_text(path, "".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    """The line's step; infinite for a line a killed process left half-written."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")


@contextmanager
def open_run(
    config: RunConfig, stage: str, processes: Processes, arguments: list[str]
) -> Iterator[Run]:
    """Claim the run's folder for the length of the block and write its resolved config.

    arguments: the command line's. `Held` where the same run is going on.
    """
    with ExitStack() as held:
        claim = _claim_run(held, config, stage) if processes.is_main else None
        found = _find_start(claim.target, config) if claim else StartingPoint(None)
        places = processes.gather([(claim.target, found.path)] if claim else [])
        folder, resumed = places[0]  # the other processes learn it
        run = Run(folder, stage, processes, resumed, claim)
        if processes.is_main:
            _prepare_folder(run, _resolved(config, arguments, processes))
            _set_aside(run, found)
        processes.barrier()
        if run.folder.name != stage:
            first = run.folder.with_name(stage)
            run.log(f"{first} holds a run with other settings and is left alone")
        run.log(f"run folder: {run.folder}")
        if processes.is_main and config.logging.wandb:
            project = config.logging.wandb_project
            opening = open_wandb(project, run.folder, to_dict(config), bool(resumed), run.log)
            run.wandb_board = held.enter_context(opening)
        yield run


def _find_start(folder: Path, config: RunConfig) -> StartingPoint:
    return (
        CheckpointFolder(folder / "checkpoints").find()
        if config.train.resume
        else StartingPoint(None)
    )


def _set_aside(run: Run, found: StartingPoint) -> None:
    """Tell of damaged checkpoints, loudly, and keep them where nothing reads them."""
    if text := found.describe():
        run.log(text)
    for path in found.damaged:
        run.log(f"WARNING: {path} is kept as {run.checkpoints.set_aside(path).name}")


def _prepare_folder(run: Run, resolved_config: str) -> None:
    best = run.checkpoints.best
    try:
        run.checkpoints.folder.mkdir(parents=True, exist_ok=True)
        run.checkpoints.remove_unfinished()
    except OSError as error:
        raise UserError(
            f"cannot write to {run.folder}: {error.strerror}; set output_root"
        ) from None
    write_text(run.folder / "config.yaml", resolved_config)
    if best.exists() and not (run.resumed or run.checkpoints.last.exists()):
        # It was stopped before it was saved, and starts over.
        names = (best.with_name(f"best_of_stopped_run_{number}.pt") for number in count(1))
        kept = next(name for name in names if not name.exists())
        best.rename(kept)
        run.log(f"the run here was stopped before its first last.pt; its best.pt is kept as {kept}")


def find_resumed(config: RunConfig, stage: str) -> Path | None:
    """The checkpoint that a run of this config goes on from; None: it starts."""
    return _find_start(choose_folder(config, stage), config).path


def choose_folder(config: RunConfig, stage: str) -> Path:
    """The stage's folder, or the next numbered one if that is of a run with other settings."""
    parent = config.output_root / config.experiment
    folders = (parent / (stage if n == 1 else f"{stage}-{n}") for n in count(1))
    return next(folder for folder in folders if not _is_of_another(config, folder))


def _claim_run(held: ExitStack, config: RunConfig, stage: str) -> Claim:
    """Hold the run's folder, whoever else looks for one at the same time."""
    while True:
        folder = choose_folder(config, stage)
        try:
            claim = held.enter_context(claim_folder(folder, _ALTERNATIVE, to_dict(config)))
        except Held as error:
            if _continues(config, error.holder.note):
                raise
        else:
            if not _holds_other_work(config, folder):
                return claim
            held.close()  # another run came and went while this one looked


def _is_of_another(config: RunConfig, folder: Path) -> bool:
    """Whether a run with other settings is going on in the folder, or has left work there."""
    holder = find_holder(folder)
    if holder is not None:
        return not _continues(config, holder.note)
    return _holds_other_work(config, folder)


def _holds_other_work(config: RunConfig, folder: Path) -> bool:
    metrics = folder / "metrics.jsonl"
    try:
        is_used = any((folder / "checkpoints").glob("*.pt")) or (
            metrics.is_file() and metrics.stat().st_size > 0
        )
    except OSError as error:  # not allowed, a name too long
        raise UserError(
            f"cannot look for a run in {folder}: {error.strerror}; set output_root, or experiment"
        ) from error
    return is_used and not _continues(config, _written_config(folder))


def _written_config(folder: Path) -> Any:
    """What the run's config.yaml says; None: it cannot be read."""
    try:
        return read_yaml(folder / "config.yaml")
    except UserError:
        return None


def _continues(config: RunConfig, written: Any) -> bool:
    """Whether `config` describes the run of a `written` config, or the same run with more steps."""
    try:
        saved = to_dict(build_config(type(config), written))  # a key it lacks: the default
    except UserError:
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
    facts = {"command": shlex.join(arguments), "processes": processes.world_size, **environment()}
    head = "".join(f"# {name}: {' '.join(str(value).split())}\n" for name, value in facts.items())
    return head + yaml.safe_dump(to_dict(config), sort_keys=False)
