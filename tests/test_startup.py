"""A run imports what it needs: some libraries take as long to import as torch itself."""

import re
import sys

import pytest
from conftest import Outcome, run_process, train_process

# What takes from a tenth of a second to several, and what needs it.
HEAVY = {
    "timm": "networks and weights that are named timm:NAME",
    "torchvision": "timm",
    "torch._dynamo": "train.compile",
    "sympy": "torch._dynamo",
    "transformers": "LLM-MDE, sentence encoders, captioners",
    "peft": "LLM-MDE",
    "open_clip": "CLIP encoders",
    "scipy": "scripts/prepare_nyu.py",
    "h5py": "scripts/prepare_nyu.py",
    "trimesh": "scripts/predict.py --glb",
}
TOLD = {"PYTHONPROFILEIMPORTTIME": "1"}  # Python tells every import on stderr


def imports(outcome: Outcome) -> set[str]:
    assert outcome.code == 0, outcome.err
    names = set(re.findall(r"^import time: .*\| +(\S+)$", outcome.err, re.MULTILINE))
    assert "common.errors" in names
    return names


def heavy_imports(outcome: Outcome) -> set[str]:
    names = imports(outcome)
    assert "torch" in names
    return names & HEAVY.keys()


def test_making_rooms(tmp_path):
    """Its worker processes import it, too."""
    sizes = {"height": 8, "width": 8, "scenes": 1, "val-scenes": 1, "test-scenes": 1}
    words = [f"--{name}={number}" for name, number in sizes.items()]
    command = (sys.executable, "scripts/make_demo_data.py", "--out", str(tmp_path / "demo"))
    outcome = run_process(*command, *words, **TOLD)
    assert not imports(outcome) & {"torch", *HEAVY}


def test_a_training_run_of_stage_1(workspace, tmp_path):
    assert not heavy_imports(
        train_process("stage1", *workspace.arguments("stage1", tmp_path), **TOLD)
    )


@pytest.mark.slow
def test_a_training_run_of_stage_3(workspace, tmp_path):
    words = workspace.arguments("stage3", tmp_path, "language.mode=none")
    assert not heavy_imports(train_process("stage3", *words, **TOLD))


@pytest.mark.slow
def test_an_evaluation(trained):
    place = str(trained / "tiny" / "stage3")
    command = (sys.executable, "stage3_depth/eval.py", "--checkpoint", place)
    outcome = run_process(*command, **TOLD)
    assert not heavy_imports(outcome)
    assert "tensorboard" not in outcome.err
