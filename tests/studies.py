"""Studies of the tiny workspace, run in this process: for the tests of scripts/study.py."""

import csv
import runpy
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import yaml
from conftest import EVAL_MAINS, MAINS, Outcome, Workspace, call

from common.config import REPO_ROOT

PROGRAM = str(REPO_ROOT / "scripts" / "study.py")
STAGES = {"stage1_vae": "stage1", "stage2_sampler": "stage2", "stage3_depth": "stage3"}


class FakeProcess:
    """A program that has run to its end."""

    def __init__(self, code: int):
        self.code = code

    def poll(self) -> int:
        return self.code

    def wait(self) -> int:
        return self.code


class StudyProgram:
    """`scripts/study.py`, and all that it starts, in this process.

    started: `train stage1 caption`, `eval joint none` and so on, of one command. environments: of
    each. broken: a started one's name -> its exit code.
    """

    def __init__(self, workspace: Workspace, folder: Path):
        self.workspace, self.folder = workspace, folder
        self.file = folder.with_suffix(".yaml")
        self.started: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.broken: dict[str, int] = {}
        self.popen = subprocess.Popen

    def write(self, **keys: object) -> None:
        """The STUDY.yaml."""
        study = {
            "name": "tiny",
            "question": "Do words help?",
            "data": {"rooms": str(self.workspace.configs)},
            "recipes": {"joint": "joint"},
            "seeds": [0],
        }
        self.file.write_text(yaml.safe_dump({**study, **keys}, sort_keys=False))

    def start(self, command: tuple[str, ...], stdout: IO[bytes] | None = None, **options: object):
        """In place of subprocess.Popen."""
        program = Path(command[1]) if command[1:] else Path()
        if program.name not in ("train.sh", "eval.py"):
            return self.popen(command, stdout=stdout, **options)
        word = {item.partition("=")[0]: item.partition("=")[2] for item in command}
        stage = Path(command[2]).stem if program.name == "train.sh" else program.parent.name
        stage = STAGES.get(stage, stage)
        control = [item for item in command if item.startswith("text.control=")][-1]
        name = f"{program.stem} {stage} {control.partition('=')[2]} {word['data.subset_seed']}"
        self.started.append(name)
        self.environments.append(options["env"])
        if name in self.broken:
            stdout.write(b"error: it is broken\n")
            return FakeProcess(self.broken[name])
        main = MAINS[stage] if program.name == "train.sh" else EVAL_MAINS[stage]
        outcome = call(main, *command[2:])
        stdout.write((outcome.out + outcome.err).encode())
        return FakeProcess(outcome.code)

    def run(self, *arguments: str) -> Outcome:
        self.started.clear()

        def main() -> None:
            runpy.run_path(PROGRAM)["main"]()

        return call(main, str(self.file), f"--output={self.folder}", *arguments)

    def results(self) -> list[dict[str, str]]:
        """The lines of results.csv."""
        with (self.folder / "results.csv").open() as file:
            return list(csv.DictReader(file))


def study_in_process(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> StudyProgram:
    """A program whose trainings and scorings also run in this process, without waiting."""
    program = StudyProgram(workspace, folder)
    monkeypatch.setattr(subprocess, "Popen", program.start)
    monkeypatch.setattr("scripts.run_plans.jobs.POLL_SECONDS", 0)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return program
