"""Start a stage's `train.sh` as a user would type it, and find the folder of its run."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from common.config import REPO_ROOT, load_config
from common.programs.evaluation import StageProgram
from common.programs.run import RunConfig, choose_folder
from common.runtime.checkpoints import TRAINED_BY


@dataclass(frozen=True)
class StageRun:
    """One training: a stage, its YAML file, and the `key=value` overrides of it."""

    program: StageProgram
    config_file: Path
    overrides: tuple[str, ...]

    @property
    def config(self) -> RunConfig:
        return load_config(self.program.config_type, self.config_file, list(self.overrides))

    @property
    def folder(self) -> Path:
        """Where this run is or will be."""
        return choose_folder(self.config, self.program.stage)

    def train(self, **variables: str) -> None:
        """Train, or go on, or find it done. variables: of the environment, as NPROC."""
        program = REPO_ROOT / TRAINED_BY[self.program.stage] / "train.sh"
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
