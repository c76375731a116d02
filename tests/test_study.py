"""The program that runs a grid of recipes, words and seeds."""

import json
import subprocess
import sys

import pytest
import yaml
from conftest import write_yaml
from studies import StudyProgram

from common.evaluation.metrics import METRIC_NAMES


@pytest.fixture
def study(workspace, tmp_path, monkeypatch) -> StudyProgram:
    program = StudyProgram(workspace, tmp_path / "a study")
    monkeypatch.setattr(subprocess, "Popen", program.start)
    monkeypatch.setattr("scripts.run_plans.jobs.POLL_SECONDS", 0)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return program


def test_a_grid_is_trained_scored_and_written(study):
    study.write(train_control=["caption", "none"], eval_control=["same", "shuffled"], seeds=[0, 1])
    outcome = study.run("--jobs=2")
    assert outcome.code == 0, outcome.err
    print(outcome.out)
    assert study.started[:3] == ["train joint caption 0", "eval stage3 caption 0"]
