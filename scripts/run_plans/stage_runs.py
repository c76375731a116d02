"""Start a stage's `train.sh` as a user would type it, and find the folder of its run."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.config import REPO_ROOT
from common.errors import INTERRUPTED
from common.programs.run import choose_folder
from common.programs.run_config import RunConfig
from common.programs.settings import Settings, read_settings
from common.programs.stage import Stage


@dataclass(frozen=True)
class StageRun:
    """One training: a stage, its YAML file, and the `key=value` overrides of it."""

    stage: Stage
    config_file: Path
    overrides: tuple[str, ...]

    @cached_property
    def settings(self) -> Settings:
        return read_settings(self.config_file, list(self.overrides), self.stage)

    @cached_property
    def config(self) -> RunConfig:
        return self.settings.config()

    @property
    def folder(self) -> Path:
        """Where this run is or will be."""
        return choose_folder(self.config, self.stage.name)

    @property
    def command(self) -> list[str]:
        """Trains, or goes on, or finds it done."""
        program = REPO_ROOT / self.stage.train_program
        return ["sh", str(program), str(self.config_file), *self.overrides]

    def train(self, **variables: str) -> None:
        """Run `command`. variables: of the environment, as NPROC."""
        run_command(self.command, **variables)


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
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)
