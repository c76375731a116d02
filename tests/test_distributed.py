"""Two gloo processes, or micro-batches, take the same steps as one process with the whole batch."""

import shutil

import pytest
import torch
from conftest import metrics_of, train, train_process

from common.data.sampling import epoch_order

# An instance norm follows: the gradient of these is rounding, and Adam takes full steps along it.
ROUNDING_ONLY = ("mix.1.bias", "mix.4.bias")


@pytest.fixture
def words(workspace, trained, tmp_path):
    """The command line of a stage that trains three steps into `tmp_path/<name>`."""

    def of(stage, name, *overrides):
        earlier = {"stage2": "stage1", "stage3": "stage2"}.get(stage)
        init = [f"init.{earlier}={trained / 'tiny' / earlier}"] if earlier else []
        return workspace.words(stage, tmp_path / name, "train.max_steps=3", *init, *overrides)

    return of


def check_same_training(one, other, tolerance=1e-5):
    """The same losses, gradient norms, scores and weights."""
    for kind in ("train", "val"):
        lines = metrics_of(one, kind), metrics_of(other, kind)
        assert len(lines[0]) == len(lines[1]) > 0
        for a, b in zip(*lines, strict=True):
            names = [n for n in a if n.startswith(("loss/", "grad_norm", "abs", "rmse", "d1"))]
            assert len(names) >= 3
            for name in names:
                assert b[name] == pytest.approx(a[name], rel=tolerance, abs=1e-7), (name, a, b)
    path = "checkpoints/last.pt"
    weights = [torch.load(run / path, weights_only=True)["model"] for run in (one, other)]
    for name, value in weights[0].items():
        if name.endswith(ROUNDING_ONLY):
            continue
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "joint"])
def test_micro_batches_equal_the_whole_batch(words, tmp_path, stage):
    folder = "stage3" if stage == "joint" else stage
    assert train(stage, *words(stage, "whole")).code == 0
    assert train(stage, *words(stage, "parts", "train.micro_batch_size=3")).code == 0
    check_same_training(tmp_path / "whole/tiny" / folder, tmp_path / "parts/tiny" / folder)


@pytest.mark.parametrize(
    ("stage", "micro"), [("stage1", "null"), ("stage2", "null"), ("stage3", "1")]
)
def test_two_processes_equal_one(words, tmp_path, stage, micro):
    assert train(stage, *words(stage, "one")).code == 0
    outcome = train_process(
        stage, *words(stage, "two", f"train.micro_batch_size={micro}"), NPROC="2"
    )
    assert outcome.code == 0, outcome.err
    assert "on 2 process(es), cpu" in outcome.err
    assert outcome.err.count("run folder:") == 1  # one process speaks
    check_same_training(tmp_path / "one/tiny" / stage, tmp_path / "two/tiny" / stage)


def test_a_mistake_is_told_once(words, tmp_path):
    outcome = train_process("stage1", *words("stage1", "x", "data.root=/nowhere"), NPROC="2")
    assert outcome.code == 2
    assert outcome.errors == [
        "error: data.root: no folder /nowhere; set data.root to where the images are"
    ]
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "x").exists()


def test_a_mistake_that_only_the_second_process_meets(workspace, words, tmp_path):
    """The second process owns samples 2 and 3 of the first step."""
    data = shutil.copytree(workspace.data, tmp_path / "data")
    image = (data / "train.txt").read_text().splitlines()[epoch_order(12, 0, 0)[2]].split()[0]
    (data / image.lstrip("/")).write_bytes(b"nothing")
    outcome = train_process("stage1", *words("stage1", "x", f"data.root={data}"), NPROC="2")
    # The first process may lose contact, and say so, before the launcher ends it.
    assert outcome.code != 0
    assert any(image.lstrip("/") in error for error in outcome.errors), outcome.err


def test_nproc_must_be_a_number():
    outcome = train_process("stage1", NPROC="two")
    assert outcome.code == 2
    assert outcome.errors == ["error: NPROC=two: must be a whole number of at least 1"]
