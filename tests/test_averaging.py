"""`train.ema_decay`: the average against its formula, in checkpoints, resumed, on two processes."""

import json

import pytest
import torch
from conftest import evaluate, metrics_of, run_script, train
from ranks import train_ranks
from test_distributed import check_same_training
from test_resume import last, same, stop_after_save
from torch import nn

from common.engine.averaging import WeightAverage, averaged_tensors
from common.engine.update import Update
from common.runtime.processes import Processes
from hubconf import langdepth
from scripts.prediction.trained import open_network

DECAY = 0.7
ON = f"train.ema_decay={DECAY}"
ALONE = Processes(0, 1, torch.device("cpu"))
NO, YES = torch.tensor(False), torch.tensor(True)


class Mixed(nn.Module):
    """Trained and frozen weights, running statistics, a table of indices, a mask of infinities."""

    def __init__(self):
        super().__init__()
        self.trained = nn.Linear(3, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("table", torch.tensor([7, 8, 9]))
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))


def best(run):
    return torch.load(run / "checkpoints/best.pt", weights_only=True)


def average_by_hand(history, decay):
    """The weighted mean of all weights after an update, the newest with weight 1; float64."""
    weights = [decay ** (len(history) - 1 - k) for k in range(len(history))]
    pairs = zip(weights, history, strict=True)
    return sum(w * tensor.double() for w, tensor in pairs) / sum(weights)


@pytest.mark.parametrize("decay", [0.5, 0.99, 0.9999])
def test_the_formula(decay):
    layer = nn.Linear(4, 3)
    average, history = WeightAverage(layer, decay), []
    for _ in range(30):
        with torch.no_grad():
            layer.weight.copy_(torch.randn(3, 4))
        average.update(NO)
        history.append(layer.weight.detach().clone())
    with average.applied():
        expected = average_by_hand(history, decay)
        torch.testing.assert_close(layer.weight.double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(layer.weight, history[-1])
    assert average.describe() == {"ema_decay": decay, "num_updates": 30}


def test_a_skipped_step_has_no_share():
    layer = nn.Linear(2, 1)
    average = WeightAverage(layer, 0.5)
    average.update(NO)
    before = [tensor.clone() for tensor in average._others.values()]
    with torch.no_grad():
        layer.weight.add_(1)
    average.update(YES)
    assert all(map(torch.equal, before, average._others.values()))
    assert average.describe()["num_updates"] == 1


def test_what_is_averaged_and_what_stays():
    model = Mixed()
    names = {"trained.weight", "trained.bias", "norm.weight", "norm.bias"}
    assert set(averaged_tensors(model)) == names | {"norm.running_mean", "norm.running_var"}
    average = WeightAverage(model, 0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for number in (1.0, 4.0):
        model.norm(torch.randn(8, 2) + number)
        average.update(NO)
    raw = model.norm.running_mean.clone()
    with average.applied():
        used = model.state_dict()
        for name in ("table", "mask", "frozen.weight", "trained.weight"):
            assert torch.equal(used[name], before[name]), name
        assert not torch.equal(used["norm.running_mean"], raw)
        assert used["norm.num_batches_tracked"] == 2
    assert torch.equal(model.norm.running_mean, raw)


def test_an_error_in_the_block_gives_the_weights_back():
    layer = nn.Linear(2, 1)
    average = WeightAverage(layer, 0.9)
    with torch.no_grad():
        layer.weight.add_(1)
    raw = layer.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), average.applied():
        assert not torch.equal(layer.weight, raw)
        raise ZeroDivisionError
    assert torch.equal(layer.weight, raw)


@pytest.fixture
def words(workspace, trained, tmp_path):
    """The command line of a stage with averaged weights; runs go to `tmp_path`."""

    def of(stage, *overrides):
        earlier = {"stage2": "stage1", "stage3": "stage2"}.get(stage)
        init = [f"init.{earlier}={trained / 'tiny' / earlier}"] if earlier else []
        settings = ["eval.every=2", "train.schedule=constant", ON]
        return workspace.arguments(stage, tmp_path, *settings, *init, *overrides)

    return of


def folder_of(stage):
    return "stage3" if stage == "joint" else stage


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "joint", "llm_mde"])
def test_checkpoints_hold_the_average_of_the_steps_and_the_raw_weights(
    words, tmp_path, stage, monkeypatch
):
    history = []
    call = Update.__call__

    def spy(self, *arguments):
        record = call(self, *arguments)
        history.append({n: p.detach().clone() for n, p in self.model.named_parameters()})
        return record

    monkeypatch.setattr(Update, "__call__", spy)
    outcome = train(stage, *words(stage, "train.max_steps=3", "train.micro_batch_size=2"))
    assert outcome.code == 0, outcome.err
    assert "an average of the weights over about the last 3.33 steps" in outcome.err
    saved = last(tmp_path / "tiny" / folder_of(stage))
    assert saved["average"] == {"ema_decay": DECAY, "num_updates": 3}
    moved = 0
    for name, raw in saved["raw_weights"].items():
        if name not in history[-1]:
            continue  # running statistics
        assert torch.equal(raw, history[-1][name])
        expected = average_by_hand([step[name] for step in history], DECAY)
        torch.testing.assert_close(saved["model"][name].double(), expected, rtol=1e-4, atol=1e-6)
        moved += not torch.equal(saved["model"][name], raw)
    assert moved > 5
    frozen = set(saved["model"]) - set(saved["raw_weights"])
    assert all(torch.equal(saved["model"][n], history[0][n]) for n in frozen if n in history[0])
    kept = best(tmp_path / "tiny" / folder_of(stage))
    assert "raw_weights" not in kept and kept["average"]["num_updates"] in (2, 3)


def test_what_is_evaluated_is_the_average(words, tmp_path):
    """The log's numbers are those that eval.py gives of the checkpoint, and of no raw weights."""
    assert train("stage1", *words("stage1", "train.max_steps=4", "train.lr=0.005")).code == 0
    run = tmp_path / "tiny/stage1"
    logged = metrics_of(run, "val")[-1]

    def score(path):
        report = tmp_path / "report.json"
        outcome = evaluate(
            "stage1", "--checkpoint", str(path), "--split", "val", "--json", str(report)
        )
        assert outcome.code == 0, outcome.err
        return outcome, json.loads(report.read_text())

    outcome, report = score(run / "checkpoints/last.pt")
    line = f"an average of those after 4 steps (train.ema_decay={DECAY})"
    assert line in outcome.err and line in report["weights"]
    assert report["metrics"]["abs_rel"] == pytest.approx(logged["abs_rel"], rel=1e-6)
    content = last(run)
    assert content["best_metric"] == min(val["abs_rel"] for val in metrics_of(run, "val"))
    raw = {**content, "model": content["model"] | content["raw_weights"]}
    for key in ("average", "raw_weights"):
        raw.pop(key)
    torch.save(raw, tmp_path / "raw.pt")
    outcome, report = score(tmp_path / "raw.pt")
    assert "average" not in outcome.err and "weights" not in report
    assert report["metrics"]["abs_rel"] != pytest.approx(logged["abs_rel"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "joint"])
def test_resumed_equals_uninterrupted_bit_for_bit(words, tmp_path, stage, monkeypatch):
    settings = ["train.max_steps=7", "train.batch_size=5", "train.micro_batch_size=3"]
    assert train(stage, *words(stage, *settings, "experiment=straight")).code == 0
    broken = words(stage, *settings, "experiment=broken", "train.save_every=3")
    stop_after_save(monkeypatch, 3)
    assert train(stage, *broken).code == 1
    monkeypatch.undo()
    outcome = train(stage, *broken)
    assert "resuming at step 3" in outcome.err
    runs = [tmp_path / name / folder_of(stage) for name in ("straight", "broken")]
    a, b = map(last, runs)
    for key in ("model", "raw_weights", "average", "optimizer", "best_metric", "watch"):
        assert same(a[key], b[key]), key
    assert same(best(runs[0])["model"], best(runs[1])["model"])


def test_raw_training_is_that_without_an_average(words, tmp_path):
    assert train("stage1", *words("stage1", "train.max_steps=4")).code == 0
    plain = words("stage1", "train.max_steps=4", "experiment=plain", "train.ema_decay=null")
    assert train("stage1", *plain).code == 0
    on, off = last(tmp_path / "tiny/stage1"), last(tmp_path / "plain/stage1")
    assert same({**off["model"], **on["raw_weights"]}, off["model"])
    assert not set(off) & {"average", "raw_weights"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_two_processes_equal_one(words, tmp_path, stage):
    steps = ["train.max_steps=3"]
    assert train(stage, *words(stage, *steps)).code == 0
    two = words(stage, *steps, "experiment=two")
    outcome = train_ranks(stage, *two)
    assert outcome.code == 0, outcome.err
    check_same_training(tmp_path / "tiny" / stage, tmp_path / "two" / stage)
    assert last(tmp_path / "two" / stage)["average"]["num_updates"] == 3


def test_two_processes_resume_bit_for_bit(words, tmp_path):
    settings = ["train.save_every=2", "eval.every=100"]
    straight = words("stage1", *settings, "train.max_steps=4", "experiment=straight")
    assert train_ranks("stage1", *straight).code == 0
    for steps in (2, 4):
        broken = words("stage1", *settings, f"train.max_steps={steps}")
        assert train_ranks("stage1", *broken).code == 0
    a, b = last(tmp_path / "straight/stage1"), last(tmp_path / "tiny/stage1")
    assert all(same(a[key], b[key]) for key in ("model", "raw_weights", "average"))


@pytest.mark.slow
def test_later_stages_predictions_exports_and_saved_models_take_the_average(
    words, workspace, tmp_path
):
    assert train("stage1", *words("stage1", "train.max_steps=3")).code == 0
    first = tmp_path / "tiny/stage1"
    used = last(first)["model"]
    plain = workspace.arguments("stage2", tmp_path, f"init.stage1={first}/checkpoints/last.pt")
    outcome = train("stage2", *plain)
    assert "stage1: the weights are an average of those after 3 steps" in outcome.err
    inside = last(tmp_path / "tiny/stage2")["model"]
    assert all(torch.equal(inside[f"vae.{name}"], value) for name, value in used.items())
    opened = open_network(first / "checkpoints/last.pt", [], ALONE)
    assert same(dict(opened.model.state_dict()), used)
    model = langdepth(str(first), device="cpu")
    assert any("average of those" in note for note in model._notes)
    model.save_pretrained(tmp_path / "handed_on")
    assert "average of those after" in (tmp_path / "handed_on/README.md").read_text()
    again = langdepth(str(tmp_path / "handed_on"), device="cpu")
    assert any("average of those" in note for note in again._notes)
    assert same(dict(again.network.state_dict()), best(first)["model"])
    export = ("--checkpoint", first, "--output", tmp_path / "model.pt2", "--no-verify")
    assert "weights: the weights are an average" in run_script("export.py", *export).out


def test_dry_run_and_going_on(words, tmp_path):
    outcome = train("stage1", *words("stage1", "train.dry_run=true"))
    assert outcome.code == 0, outcome.err
    assert "nothing was kept" in outcome.err and not (tmp_path / "tiny").exists()
    assert train("stage1", *words("stage1")).code == 0
    longer = words("stage1", "train.max_steps=4")
    before = (tmp_path / "tiny/stage1/checkpoints/last.pt").read_bytes()
    assert train("stage1", *longer, "train.dry_run=true").code == 0
    assert (tmp_path / "tiny/stage1/checkpoints/last.pt").read_bytes() == before
    assert "resuming at step 2" in train("stage1", *longer).err
    assert last(tmp_path / "tiny/stage1")["average"]["num_updates"] == 4


def test_another_decay_is_another_run(words, tmp_path):
    assert train("stage1", *words("stage1")).code == 0
    for value in ("0.9", "null"):
        outcome = train("stage1", *words("stage1", f"train.ema_decay={value}"))
        assert "holds a run with other settings" in outcome.err


@pytest.mark.parametrize("value", ["0", "1", "1.5", "-0.1", "yes", "nan"])
def test_a_decay_that_is_none(words, value):
    line = train("stage1", *words("stage1", f"train.ema_decay={value}")).refusal
    assert "ema_decay" in line


@pytest.mark.parametrize("change", ["missing", "others"])
def test_a_checkpoint_whose_raw_weights_do_not_fit(words, tmp_path, change):
    assert train("stage1", *words("stage1")).code == 0
    path = tmp_path / "tiny/stage1/checkpoints/last.pt"
    content = torch.load(path, weights_only=True)
    content["raw_weights"].popitem() if change == "others" else content.pop("raw_weights")
    torch.save(content, path)
    line = train("stage1", *words("stage1", "train.max_steps=3")).refusal
    assert str(path) in line and "raw weights" in line
