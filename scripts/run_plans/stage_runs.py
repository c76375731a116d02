"""Start a stage's `train.sh` as a user would type it, and find the folder of its run."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.config import REPO_ROOT
from common.errors import INTERRUPTED
from common.files import write_errors_told
from common.programs.run import choose_folder
from common.programs.run_config import RunConfig
from common.programs.settings import Settings, read_settings
from common.programs.stage import Stage
from scripts.run_plans.jobs import POLL_SECONDS, noted_signals


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

    Raises SystemExit with its exit code, or KeyboardInterrupt after a signal: a training saves
    itself first, and is waited for.
    """
    print(f"\n$ {typed(arguments)}", flush=True)
    with noted_signals() as signals:
        code = _wait_for([subprocess.Popen(arguments, env={**os.environ, **variables})], signals)
    _stop_at(code, signals)


def run_side_by_side(shown: list[str], quiet: list[str], log: Path, **variables: str) -> None:
    """Run two commands at the same time; what `quiet` prints goes to a new file.

    Ends as `run_command` does. Where one fails the other is told to save itself, and waited for.
    """
    print(f"\n$ {typed(quiet)} > {log} 2>&1 &\n$ {typed(shown)}", flush=True)
    environment = {**os.environ, **variables}
    with write_errors_told(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")

    def tell_failure(process: subprocess.Popen) -> None:
        if process.args is quiet:
            with suppress(OSError):  # the terminal may be gone
                print(f"error: {typed(quiet)} has failed: see {log}", file=sys.stderr)

    with output, noted_signals() as signals:
        started = [
            subprocess.Popen(
                quiet,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ),
            subprocess.Popen(shown, env=environment),
        ]
        code = _wait_for(started, signals, tell_failure)
    _stop_at(code, signals)


def _wait_for(
    started: list[subprocess.Popen],
    signals: list[int],
    on_failure: Callable[[subprocess.Popen], None] = lambda _: None,
) -> int:
    """Until all have ended; return the exit code of the first that failed, or 0.

    signals: those that have arrived, and will. A terminal sends Ctrl-C to them too, so it is not
    handed on; other signals are, as SIGTERM.
    """
    codes: list[int] = []  # in the order of their ends
    running, num_handed_on = list(started), 0
    while running:
        for process in [one for one in running if one.poll() is not None]:
            running.remove(process)
            codes.append(process.returncode)
            was_told = -process.returncode in (*signals, signal.SIGTERM)
            if process.returncode not in (0, INTERRUPTED) and not was_told:
                on_failure(process)
            for other in running if process.returncode else []:
                other.terminate()
        asked = len(signals) - signals.count(signal.SIGINT)
        if asked > num_handed_on:
            num_handed_on = asked
            for process in running:
                process.terminate()
        time.sleep(POLL_SECONDS if running else 0)
    return next((code for code in codes if code), 0)


def typed(arguments: list[str]) -> str:
    """As one would type it in the repository."""
    return shlex.join(arguments).replace(f"{REPO_ROOT}/", "")


def _stop_at(code: int, signals: list[int]) -> None:
    if signals or code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)
