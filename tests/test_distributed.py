"""Two gloo processes, or micro-batches, take the same steps as one process with the whole batch."""

import socket
import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from conftest import call, metrics_of, train, train_process
from ranks import train_ranks

from common import errors
from common.config import REPO_ROOT, merge_yaml
from common.engine.train_config import TrainConfig
from common.errors import UserError
from common.runtime.processes import Processes

# An instance norm follows: the gradient of these is rounding, and Adam takes full steps along it.
ROUNDING_ONLY = ("mix.1.bias", "mix.4.bias")


def name_of(path):
    return str(path.relative_to(REPO_ROOT / "configs"))


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
    check_same_weights(one, other)


def check_same_weights(one, other):
    """To rounding; what rounding alone decides is left out."""
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
    two = words(stage, "two", f"train.micro_batch_size={micro}")
    if stage == "stage1":  # as users start it
        outcome = train_process(stage, *two, NPROC="2")
    else:
        outcome = train_ranks(stage, *two)
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
    monkeypatch.setattr(errors, "leave", sys.exit)  # the test's own process stays
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
    lost = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):  # nobody has told one
        play(monkeypatch, 0, lost)
    assert play(monkeypatch, 1, UserError("why")).errors == ["error: why"]
    outcome = play(monkeypatch, 0, lost)
    assert (outcome.code, outcome.err) == (2, "")
    with pytest.raises(ValueError, match="a bug"):
        play(monkeypatch, 0, ValueError("a bug"))


def test_a_process_that_is_gone_is_told_where_nobody_knows_why(store, monkeypatch):
    lost = RuntimeError("[gloo/pair.cc:534] Connection closed by peer [::1]:7. This is typically")
    outcome = play(monkeypatch, 0, lost)
    assert outcome.code == 2
    assert outcome.errors == [
        "error: another process of this run has ended or cannot be reached "
        "(Connection closed by peer [::1]:7)"
    ]


def test_without_the_store_every_process_speaks_for_itself(store, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
        assert play(monkeypatch, 1, UserError("why")).errors == ["error: why"]
        with pytest.raises(RuntimeError, match="lost"):
            play(monkeypatch, 0, RuntimeError("lost"))


def test_ctrl_c_keeps_its_code(store, monkeypatch):
    assert play(monkeypatch, 1, KeyboardInterrupt()).code == 130


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_three_processes_with_shares_of_one_and_two_images_equal_one(words, tmp_path, stage):
    assert train(stage, *words(stage, "one")).code == 0
    outcome = train_process(stage, *words(stage, "three"), NPROC="3")
    assert outcome.code == 0, outcome.err
    assert "on 3 process(es) (NPROC) of 1 or 2 images" in outcome.err
    check_same_training(tmp_path / "one/tiny" / stage, tmp_path / "three/tiny" / stage)


@pytest.mark.slow
def test_processes_without_an_image_end(words, tmp_path):
    changes = ["train.batch_size=2"]
    assert train("stage1", *words("stage1", "one", *changes)).code == 0
    outcome = train_process("stage1", *words("stage1", "three", *changes), NPROC="3")
    assert outcome.code == 0, outcome.err
    assert "2 of 3 processes (NPROC) train: train.batch_size=2 has no image" in outcome.err
    check_same_training(tmp_path / "one/tiny/stage1", tmp_path / "three/tiny/stage1")


@pytest.mark.parametrize("num_gpus", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("path", sorted((REPO_ROOT / "configs").rglob("*.yaml")), ids=name_of)
def test_every_config_can_be_shared_out(path, num_gpus):
    """By the default start, one process for each GPU."""
    tree = {}
    merge_yaml(tree, {}, path)
    size = int(tree.get("train", {}).get("batch_size", TrainConfig.batch_size))
    count = min(num_gpus, size)
    shares = [Processes(rank, count, torch.device("cpu")).share(size) for rank in range(count)]
    assert sum(map(list, shares), []) == list(range(size))
    sizes = {len(share) for share in shares}
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
