"""Depth maps of a tiny run, and score.py on them: a plugin."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import evaluate, run_script, train


class ExactWriter:
    """In `DepthWriter`'s place: the very numbers that are scored, as .npy files."""

    changed: tuple = ()

    def __init__(self, folder, depth_scale, *_):
        self.folder, self.depth_scale = folder, depth_scale

    def __call__(self, key, depth):
        path = self.folder / Path(key).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, depth.cpu().numpy())


@pytest.fixture(scope="module")
def scored(workspace, tmp_path_factory):
    """Stage 1, two steps old, scored by `eval.py`: `out.json`, `out.csv`, `png/` and `npy/`."""
    folder = tmp_path_factory.mktemp("scored")
    assert train("stage1", *workspace.arguments("stage1", folder)).code == 0
    words = ["--checkpoint", str(folder / "tiny/stage1"), "--json", str(folder / "out.json")]
    words += ["--csv", str(folder / "out.csv")]
    assert evaluate("stage1", *words, "--save-predictions", str(folder / "png")).code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.programs.evaluate.DepthWriter", ExactWriter)
        assert evaluate("stage1", *words, "--save-predictions", str(folder / "npy")).code == 0
    (folder / "npy/dataset.json").unlink()
    return folder


@pytest.fixture
def maps(scored, tmp_path):
    """A copy of the exact predictions that a test may change."""
    return shutil.copytree(scored / "npy", tmp_path / "maps")


@pytest.fixture
def score(workspace, tmp_path):
    """Run score.py; gives the outcome and the JSON's content, if there is one."""

    def run(folder, *words):
        out = tmp_path / "scored.json"
        config = workspace.configs / "stage1.yaml"
        outcome = run_script("score.py", "--predictions", folder, config, "--json", out, *words)
        return outcome, json.loads(out.read_text()) if out.exists() else None

    return run


def first_of(folder):
    return sorted(folder.rglob("*.npy"))[0]


def rows_of(path):
    return list(csv.DictReader(path.open()))
