"""Start a stage's `train.sh` as a user would type it, and find the folder of its run."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from common.config import REPO_ROOT
from common.programs.run import choose_folder
from common.programs.run_config import RunConfig
from common.programs.settings import read_settings
from common.programs.stage import Stage


@dataclass(frozen=True)
class StageRun:
    """One training: a stage, its YAML file, and the `key=value` overrides of it."""

    stage: Stage
    config_file: Path
    overrides: tuple[str, ...]

    @property
    def config(self) -> RunConfig:
        return read_settings(self.config_file, list(self.overrides), self.stage).config()

    @property
    def folder(self) -> Path:
        """Where this run is or will be."""
        return choose_folder(self.config, self.stage.name)

    def train(self, **variables: str) -> None:
        """Train, or go on, or find it done. variables: of the environment, as NPROC."""
        program = REPO_ROOT / self.stage.train_program
        run_command(["sh", str(program), str(self.config_file), *self.overrides], **variables)


def run_command(arguments: list[str], **variables: str) -> None:
    """Print and run one command in the current folder; stop where it stops.

    Raises SystemExit with its exit code, or KeyboardInterrupt: at Ctrl-C a training saves itself
    first, and is waited for.
    """
    print(f"\n$ {shlex.join(arguments).replace(str(REPO_ROOT) + '/', '')}", flush=True)
    with subprocess.Popen(arguments, env={**os.environ, **variables}) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)
