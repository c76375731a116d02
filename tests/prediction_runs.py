"""Tiny runs to predict with, and a text encoder whose features are as long as theirs."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Workspace, train
from text_models import make_bert
from tiny_configs import TEXT_DIM

from scripts.prediction.load import load
from scripts.prediction.model import DepthModel

CAPTION = "a kitchen with a table"


def make_encoder(folder: Path) -> str:
    """The override that names it."""
    assert TEXT_DIM == 16
    return f"text.encoder=hf:{make_bert(folder / 'bert')}"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """For tests with `pytest_plugins = ["prediction_runs"]`."""
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def make_run(workspace: Workspace, stage: str, folder: Path, *overrides: str) -> Path:
    """Train for one step."""
    outcome = train(stage, *workspace.arguments(stage, folder, "train.max_steps=1", *overrides))
    assert outcome.code == 0, outcome.err
    return next(folder.glob("*/*/checkpoints")).parent


def open_run(run: Path, encoder: str, *overrides: str) -> DepthModel:
    return load(run, "cpu", [encoder, *overrides])


def picture(height: int = 48, width: int = 80) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
