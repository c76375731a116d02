"""Weights & Biases beside TensorBoard: `logging.wandb=true`, after `pip install wandb`.

The same scalars under the same names, by the run's own step, and the same pictures. A run that goes
on goes on there, too: `wandb_id` in its folder says under which id. `WANDB_MODE=offline` (wandb's
own switch) sends nothing and keeps all in RUN/wandb, for `wandb sync` later.
"""

import importlib
import importlib.util
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.text_files import write_text

_OFF = "or leave out logging.wandb=true"


def check_wandb() -> None:
    """Raise a `UserError` where the package is not installed."""
    if importlib.util.find_spec("wandb") is None:
        raise UserError(
            "logging.wandb=true needs the package wandb, which is not installed here: pip install "
            f"wandb, {_OFF}"
        )


class WandbBoard:
    """Hands scalars and pictures on; what wandb refuses is told once and ends no run."""

    def __init__(self, module: Any, run: Any, log: Callable[[str], None]) -> None:
        """module: wandb. run: what its `init` gave. log: takes a line."""
        self._module, self._run, self._log = module, run, log
        self._is_told = False
        run.define_metric("step")
        run.define_metric("*", step_metric="step")  # one that may go back, when a run goes on

    def scalars(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Named numbers of one step."""
        self._send(step, {f"{kind}/{name}": value for name, value in values.items()})

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        """uint8 RGB [H, W, 3]."""
        self._send(step, {name: self._module.Image(rgb)})

    def _send(self, step: int, values: dict[str, Any]) -> None:
        try:
            self._run.log({**values, "step": step})
        except self._module.Error as error:
            if not self._is_told:
                self._log(f"Weights & Biases takes no more ({error}); metrics.jsonl has it all")
            self._is_told = True


@contextmanager
def open_wandb(
    project: str, folder: Path, config: dict[str, Any], resumes: bool, log: Callable[[str], None]
) -> Iterator[WandbBoard]:
    """The board of a run for the length of the block, which tells wandb how it ended.

    folder: the run's. config: what is to be seen there. A `UserError` where wandb does not start.
    """
    check_wandb()
    module = importlib.import_module("wandb")
    try:
        run = module.init(
            project=project,
            name=f"{folder.parent.name}/{folder.name}",
            id=_run_id(folder, resumes),
            resume="allow",
            dir=str(folder),
            config=config,
            settings=module.Settings(console="off", silent=True),
        )
    except module.Error as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"logging.wandb: Weights & Biases does not start ({reason}); call wandb login, set "
            f"WANDB_MODE=offline, {_OFF}"
        ) from error
    log(f"Weights & Biases: {run.url or f'offline, in {folder}/wandb'}")
    code = 1
    try:
        yield WandbBoard(module, run, log)
        code = 0
    finally:
        run.finish(exit_code=code)


def _run_id(folder: Path, resumes: bool) -> str:
    """The id of the run that goes on; a new one for a run that starts."""
    path = folder / "wandb_id"
    if not (resumes and path.is_file()):
        write_text(path, f"{uuid.uuid4().hex[:12]}\n")
    return path.read_text(encoding="utf-8").strip()
