"""A run that changes its number of processes goes on over the same samples."""

import json
import sys

import pytest
from conftest import run_process, train
from test_distributed import check_same_weights

from common.config import REPO_ROOT
from common.data.dataset import DepthDataset
from common.data.sampling import epoch_order
from common.engine.loop import fit

# Trains, and writes down which images each step of each process read, as the network got them.
DRIVER = """
import hashlib, json, os, sys
sys.path.insert(0, {root!r})
from common.engine.update import Update
from common.errors import run_program
from {package}.train import main

def told(self, step, parts, *rest):
    rank, row = self.processes.rank, self.rows.start
    with open({seen!r} + str(rank), "a") as file:
        for part in parts:
            for key, image, depth in zip(part.key, part.image, part.gt_depth):
                pixels = hashlib.sha1(image.numpy().tobytes() + depth.numpy().tobytes())
                file.write(json.dumps([step, row, key, pixels.hexdigest()]) + "\\n")
                row += 1
    return update(self, step, parts, *rest)

update, Update.__call__ = Update.__call__, told
run_program(main)
"""


def read_seen(folder, experiment):
    """(step, row of the batch, image, pixels) of all processes, sorted."""
    files = folder.glob(f"{experiment}_seen*")
    return sorted(json.loads(line) for file in files for line in file.read_text().splitlines())


def train_told(folder, experiment, package, arguments, nproc):
    driver = folder / f"{experiment}.py"
    seen = str(folder / f"{experiment}_seen")
    driver.write_text(DRIVER.format(root=str(REPO_ROOT), package=package, seen=seen))
    command = (sys.executable, "common/runtime/launcher.py", str(driver), *arguments)
    outcome = run_process(*command, f"experiment={experiment}", NPROC=nproc)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "package"), [("stage1", "stage1_vae"), ("joint", "stage3_depth")]
)
def test_two_processes_then_one_then_two(workspace, tmp_path, stage, package):
    """Batches of five, micro-batches of two; saves in mid-epoch, between two log lines."""
    settings = ("train.batch_size=5", "train.micro_batch_size=2", "train.log_every=4")
    words = workspace.arguments(
        stage, tmp_path, *settings, "eval.every=100", "train.schedule=constant"
    )
    train_told(tmp_path, "straight", package, [*words, "train.max_steps=9"], "1")
    for steps, nproc in ((3, "2"), (6, "1"), (9, "2")):
        train_told(tmp_path, "changing", package, [*words, f"train.max_steps={steps}"], nproc)
    seen = [read_seen(tmp_path, name) for name in ("straight", "changing")]
    assert len(seen[0]) == 9 * 5
    assert seen[0] == seen[1]
    folder = "stage3" if stage == "joint" else stage
    check_same_weights(*(tmp_path / name / folder for name in ("straight", "changing")))


def test_a_resume_in_mid_epoch_reads_nothing_before_its_step(workspace, tmp_path, monkeypatch):
    """The second epoch's middle: what is read begins with the first sample of that step."""
    words = workspace.arguments("stage1", tmp_path, "eval.every=100", "train.schedule=constant")
    assert train("stage1", *words, "train.max_steps=4").code == 0
    read = []
    get = DepthDataset.__getitem__

    def told(self, key):
        if isinstance(key, tuple):
            read.append(key)
        return get(self, key)

    def fit_told(*arguments):
        monkeypatch.setattr(DepthDataset, "__getitem__", told)
        return fit(*arguments)

    monkeypatch.setattr("common.programs.training.fit", fit_told)
    assert "resuming at step 4" in train("stage1", *words, "train.max_steps=5").err
    order = epoch_order(12, 0, 1)
    assert read == [(order[position - 12], position) for position in range(16, 20)]
