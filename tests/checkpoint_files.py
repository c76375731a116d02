"""Tiny checkpoints, and a folder with three saves."""

import pytest
import torch

from common.runtime import checkpoints
from common.runtime.checkpoint_folder import CheckpointFolder


def content(step, size=300):
    """A tiny checkpoint whose weights say its step."""
    return {
        "stage": "stage1",
        "recipe": "staged",
        "model": {"weight": torch.full((size,), float(step)), "bias": torch.arange(9.0)},
        "step": step,
    }


@pytest.fixture
def folder(tmp_path):
    """A run's folder of checkpoints with saves of the steps 1, 2 and 3."""
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.folder.mkdir()
    for step in (1, 2, 3):
        folder.save_last(content(step), is_first=step == 1)
    return folder


def names(folder):
    return sorted(path.name for path in folder.folder.iterdir())


def step_of(path):
    return checkpoints.read_checkpoint(path)["step"]


@pytest.fixture
def words(workspace, tmp_path):
    """The command line of stage 1 with a save after every step."""

    def of(*overrides):
        settings = ("train.save_every=1", "eval.every=2", "train.schedule=constant")
        return workspace.arguments("stage1", tmp_path, *settings, *overrides)

    return of
