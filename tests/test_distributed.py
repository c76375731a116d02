"""Two gloo processes, or micro-batches, take the same steps as one process with the whole batch."""

import socket
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from conftest import call, metrics_of, run_process, train, train_process

from common import errors
from common.data.sampling import check_share
from common.errors import UserError
from common.programs.assembly import load_data
from common.runtime.processes import Processes

# An instance norm follows: the gradient of these is rounding, and Adam takes full steps along it.
ROUNDING_ONLY = ("mix.1.bias", "mix.4.bias")


@pytest.fixture
def words(workspace, trained, tmp_path):
    """The command line of a stage that trains three steps into `tmp_path/<name>`."""

    def of(stage, name, *overrides):
        earlier = {"stage2": "stage1", "stage3": "stage2"}.get(stage)
        init = [f"init.{earlier}={trained / 'tiny' / earlier}"] if earlier else []
        return workspace.arguments(stage, tmp_path / name, "train.max_steps=3", *init, *overrides)

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


@pytest.fixture
def store(monkeypatch):
    """The launcher's store, of two processes on each machine; this process plays all of them."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.setattr(errors, "PATIENCE", timedelta(seconds=1))
    monkeypatch.setattr(errors, "_leave", sys.exit)  # the test's own process stays
    return server


def play(monkeypatch, rank, error, machine=0):
    """A program that ends with `error`, as the process `rank` on `machine`."""

    def main():
        raise error

    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("GROUP_RANK", str(machine))
    return call(main)


def test_each_machine_tells_the_first_mistake_once(store, monkeypatch):
    first, second = UserError("first"), UserError("another")
    outcomes = [
        play(monkeypatch, rank, error, machine)
        for rank, error, machine in ((1, first, 0), (0, second, 0), (3, second, 1), (2, first, 1))
    ]
    assert [o.errors for o in outcomes] == [["error: first"], [], ["error: first"], []]
    assert {o.code for o in outcomes} == {2}


def test_a_process_that_loses_contact_finds_the_reason(store, monkeypatch):
    lost = RuntimeError("Connection closed by peer")
    with pytest.raises(RuntimeError, match="closed by peer"):  # nobody has told one
        play(monkeypatch, 0, lost)
    assert play(monkeypatch, 1, UserError("why")).errors == ["error: why"]
    outcome = play(monkeypatch, 0, lost)
    assert (outcome.code, outcome.err) == (2, "")
    with pytest.raises(ValueError, match="a bug"):
        play(monkeypatch, 0, ValueError("a bug"))


def test_without_the_store_every_process_speaks_for_itself(store, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
        assert play(monkeypatch, 1, UserError("why")).errors == ["error: why"]
        with pytest.raises(RuntimeError, match="lost"):
            play(monkeypatch, 0, RuntimeError("lost"))


def test_ctrl_c_keeps_its_code(store, monkeypatch):
    assert play(monkeypatch, 1, KeyboardInterrupt()).code == 130


def test_a_batch_that_cannot_be_shared_is_told_before_data_is_read():
    with pytest.raises(UserError, match=r"train.batch_size: 5 is not divisible.*use 4 or 6"):
        check_share(5, 2)
    config = SimpleNamespace(train=SimpleNamespace(batch_size=1), data=None)
    with pytest.raises(UserError, match="not divisible by the 2 processes; use 2"):
        load_data(config, None, Processes(1, 2, torch.device("cpu")))


def test_the_launcher_says_how_it_is_used():
    for words, expected in (([], "usage: sh scripts/launch.sh PROGRAM"), (["x.py"], "no program")):
        outcome = run_process("sh", "scripts/launch.sh", *words)
        assert outcome.code == 2 and expected in outcome.err


def test_the_launcher_takes_the_python_it_is_told_of():
    outcome = train_process("stage1", LANGDEPTH_PYTHON="/nowhere/python")
    assert outcome.code == 2
    assert outcome.errors == [
        "error: LANGDEPTH_PYTHON: no program /nowhere/python; name the Python of an environment"
    ]


def test_nproc_must_be_a_number():
    outcome = train_process("stage1", NPROC="two")
    assert outcome.code == 2
    assert outcome.errors == ["error: NPROC=two: must be a whole number of at least 1"]
