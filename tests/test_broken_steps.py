"""Steps whose loss or gradient is not finite: stopped before the update, told, replayed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import metrics_of, run_script, train, train_process
from test_resume import last, same
from test_saved_first import image_of_step
from torch import nn

from common.data.dataset import DepthDataset
from common.engine.loop import Hooks, Plan, fit
from common.engine.optimization import adam
from common.engine.train_config import TrainConfig
from common.engine.update import Task
from common.engine.watching import FEWEST, MOST_LINES, NumberWatch, Told
from common.errors import UserError
from common.programs import step_dumps
from common.programs.step_dumps import MOST_DUMPS
from common.runtime.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
CONSTANT = "train.schedule=constant"


@pytest.fixture
def words(workspace, tmp_path):
    """The command line of a run of six steps of four images."""

    def of(stage, *overrides):
        settings = ("train.max_steps=6", "eval.every=100", CONSTANT)
        return workspace.arguments(stage, tmp_path, *settings, *overrides)

    return of


class Spoiled:
    """Makes the words of some training images infinite, after everything was checked."""

    def __init__(self, monkeypatch, keys):
        read = DepthDataset.__getitem__

        def spoiled(dataset, index):
            item = read(dataset, index)
            if item.key not in keys or not isinstance(index, tuple):
                return item
            return replace(item, text_feature=torch.full_like(item.text_feature, torch.inf))

        monkeypatch.setattr(DepthDataset, "__getitem__", spoiled)


def key_of_step(workspace, step, part=0):
    lines = (workspace.data / "train.txt").read_text().splitlines()
    return lines[image_of_step(step, part)].split()[0].lstrip("/")


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_run_stops_before_the_update_and_says_where(
    workspace, words, tmp_path, monkeypatch, log_every
):
    """Whether the host looks at once (it logs) or a step late."""
    straight = words("stage1", "train.max_steps=2", "experiment=straight")
    assert train("stage1", *straight).code == 0
    key = key_of_step(workspace, 2)
    Spoiled(monkeypatch, {key})
    line = train("stage1", *words("stage1", f"train.log_every={log_every}")).refusal
    run = tmp_path / "tiny/stage1"
    assert "step 3: the loss is not finite (loss/total nan, loss/l1 nan" in line
    assert key in line and "the weights are those before it" in line
    assert f"python scripts/replay.py {run}/dumps/step_0000003.pt" in line
    assert "train.max_skipped_steps=10" in line
    assert "the run is saved at step 2 of 6, where the same command goes on" in line
    for part in ("model", "optimizer"):
        assert same(last(run)[part], last(tmp_path / "straight/stage1")[part])
    assert last(run)["step"] == 2
    monkeypatch.undo()
    assert "resuming at step 2" in train("stage1", *words("stage1")).err


@pytest.mark.parametrize("settings", [[], ["train.micro_batch_size=2"], ["train.ema_decay=0.9"]])
def test_a_dump_is_replayed_bit_for_bit(workspace, words, tmp_path, monkeypatch, settings):
    key = key_of_step(workspace, 2, part=3)
    Spoiled(monkeypatch, {key})
    assert train("stage1", *words("stage1", *settings)).code == 2
    monkeypatch.undo()  # the dump holds what the network got
    path = tmp_path / "tiny/stage1/dumps/step_0000003.pt"
    content = torch.load(path, weights_only=True)
    assert content["broken_step"]["terms"]["loss/total"].isnan()
    outcome = run_script("replay.py", path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().endswith("the same as in training")
    assert "loss/total: nan (the same)" in outcome.out
    assert f"{key}: text feature holds values that are not finite" in outcome.out
    assert "gradient: not finite in" in outcome.out
    assert "first output that is not finite: scenes." in outcome.out
    changed = content["broken_step"]
    changed["terms"]["loss/total"] = torch.tensor(0.5)
    torch.save(content, path)
    outcome = run_script("replay.py", path)
    assert outcome.code == 1
    assert "loss/total: nan (in training 0.5)" in outcome.out
    assert "not the same as in training" in outcome.out


def test_a_gradient_that_is_not_finite_while_the_loss_is(workspace, words, tmp_path, monkeypatch):
    """Of stage 3, by a hook in the network itself; the replay meets the same."""

    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * float("inf")

    import stage1_vae.model as model

    forward = model.TextVAE.forward

    def bad(self, *arguments):
        output = forward(self, *arguments)
        return type(output)(**{**vars(output), "depth": Bad.apply(output.depth)})

    monkeypatch.setattr(model.TextVAE, "forward", bad)
    line = train("stage1", *words("stage1")).refusal
    assert "step 1: the loss is finite, but its gradient is not finite (loss/total" in line
    path = tmp_path / "tiny/stage1/dumps/step_0000001.pt"
    outcome = run_script("replay.py", path)
    assert outcome.code == 0, outcome.out + outcome.err
    assert "gradient: not finite in" in outcome.out
    monkeypatch.undo()
    outcome = run_script("replay.py", path)
    assert outcome.code == 1 and "gradient: finite" in outcome.out


def test_skipped_steps_are_counted_told_and_resumed(workspace, words, tmp_path, monkeypatch):
    keys = {key_of_step(workspace, step) for step in (0, 2)}
    Spoiled(monkeypatch, keys)
    allowed = words("stage1", "train.max_skipped_steps=2", "train.max_steps=3", "train.log_every=3")
    outcome = train("stage1", *allowed)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/stage1"
    assert "step 1: the loss is not finite" in outcome.err
    assert "skipped, 1 of at most 2" in outcome.err and "skipped, 2 of at most 2" in outcome.err
    saved = last(run)
    assert saved["watch"]["num_skipped"] == 2
    assert all(value.isfinite().all() for value in saved["model"].values())
    (line,) = metrics_of(run, "train")
    assert line["skipped_updates"] == pytest.approx(2 / 3)
    assert np.isfinite(line["loss/total"]) and line["loss/total"] > 0
    assert len(list((run / "dumps").iterdir())) == 2
    longer = words("stage1", "train.max_skipped_steps=2", "train.max_steps=9")
    refusal = train("stage1", *longer).refusal  # the same images come again in the second epoch
    assert "2 such steps were skipped before it" in refusal


@pytest.mark.slow
def test_two_processes_stop_together(words, tmp_path):
    """A learning rate that leaves all range; each has its own images and its own loss."""
    settings = ["train.lr=1e30", "train.clip_norm=null"]
    outcome = train_process("stage1", *words("stage1", *settings), NPROC="2")
    assert "step 2: the loss is not finite" in outcome.refusal
    assert "the run is saved at step 1 of 6" in outcome.refusal
    (path,) = (tmp_path / "tiny/stage1/dumps").iterdir()
    outcome = run_script("replay.py", path)
    assert outcome.code == 0, outcome.out + outcome.err


def test_a_run_keeps_the_newest_dumps(workspace, words, tmp_path, monkeypatch):
    places = [(step, part) for step in range(3) for part in range(4)]
    Spoiled(monkeypatch, {key_of_step(workspace, *place) for place in places})
    settings = ("train.max_skipped_steps=5", "train.log_every=100")
    assert "step 6: the loss" in train("stage1", *words("stage1", *settings)).refusal
    names = sorted(path.name for path in (tmp_path / "tiny/stage1/dumps").iterdir())
    assert names == [f"step_{n:07d}.pt" for n in range(7 - MOST_DUMPS, 7)]


def test_a_dump_that_cannot_be_written_hides_nothing(workspace, words, tmp_path, monkeypatch):
    Spoiled(monkeypatch, {key_of_step(workspace, 1)})
    monkeypatch.setattr(step_dumps, "MOST_BYTES", 10)
    line = train("stage1", *words("stage1")).refusal
    assert "step 2: the loss is not finite" in line and "not written down: that would take" in line
    (tmp_path / "tiny/stage1/dumps").write_text("in the way")
    monkeypatch.undo()
    Spoiled(monkeypatch, {key_of_step(workspace, 1)})
    line = train("stage1", *words("stage1")).refusal
    assert "step 2: the loss is not finite" in line and "not written down: cannot write" in line


def test_files_that_are_no_dump(trained, tmp_path):
    checkpoint = trained / "tiny/stage1/checkpoints/last.pt"
    assert "holds no step" in run_script("replay.py", checkpoint).refusal
    assert "no checkpoint" in run_script("replay.py", tmp_path / "nowhere.pt").refusal
    content = torch.load(checkpoint, weights_only=True)
    for broken in ({}, {"parts": [1]}, {"parts": [], "totals": 3}):
        path = tmp_path / "damaged.pt"
        torch.save({**content, "broken_step": broken}, path)
        assert "damaged dump" in run_script("replay.py", path).refusal


def test_running_statistics_survive_a_skipped_step():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    settings = TrainConfig(
        batch_size=8, max_steps=3, lr=0.1, precision="fp32", max_skipped_steps=1, log_every=3
    )
    batches = [torch.randn(8, 4), torch.full((8, 4), torch.nan), torch.randn(8, 4)]
    fit(
        model,
        Task(lambda model, batch, rng, totals: {"total": model(batch).square().mean()}),
        iter(batches),
        adam(list(model.parameters()), settings),
        Plan(settings, 0, 0, 3, 100),
        Hooks(lambda *_: None, lambda _: None, lambda _: None),
        ALONE,
    )
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert model[1].num_batches_tracked == 2


class Record:
    """What the watch reads of a step."""

    loss_scale = 1.0

    def __init__(self, step, norm):
        self.step, self.grad_norm = step, torch.tensor(norm)
        self.terms = {"loss/total": torch.tensor(1.0)}


def watch_norms(norms, state=None, **settings):
    """The lines that the watch tells, and the watch."""
    lines = []
    watch = NumberWatch(TrainConfig(max_steps=1, **settings), ALONE, state)
    for step, norm in enumerate(norms):
        watch.see(Record(step, norm), True, Told(lines.append, lambda record: "images x.png"))
    return lines, watch


def test_a_spike_is_a_norm_above_the_median_times_the_factor():
    steady = [1.0, 2.0, 3.0] * 10
    lines, _ = watch_norms([*steady, 20.5, 19.5])
    assert lines == [
        "step 31: gradient norm 20.5, 10.2 times the median of the 30 steps before it; images x.png"
    ]
    assert watch_norms([*steady, 20.5], spike_factor=None)[0] == []
    assert len(watch_norms([*steady, 8.5], spike_factor=4.0)[0]) == 1
    assert watch_norms([1.0] * (FEWEST - 1) + [1000.0])[0] == []


def test_a_spike_is_known_after_a_resume_and_lines_are_bounded():
    _, watch = watch_norms([1.0] * 30)
    assert len(watch_norms([50.0], watch.state())[0]) == 1
    lines, _ = watch_norms([1.0] * 100 + [50.0, 1.0, 1.0] * 80)
    assert len(lines) == MOST_LINES + 1
    assert "further ones are not" in lines[-1]


def test_an_overflow_of_fp16_counts_only_at_the_lowest_scale():
    overflow = Record(0, float("inf"))
    watch = NumberWatch(TrainConfig(max_steps=1), ALONE)
    overflow.loss_scale = 65536.0
    watch.see(overflow, True, Told())
    assert watch.num_skipped == 0
    overflow.loss_scale = 1.0
    with pytest.raises(Exception) as caught:
        watch.see(overflow, True, Told())
    assert isinstance(caught.value.error, UserError)


def test_the_scale_of_fp16_is_resumed(workspace, words, tmp_path, monkeypatch):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    monkeypatch.setattr("common.programs.session.gradient_scaler", lambda *_: scaler)
    assert train("stage1", *words("stage1", "train.max_steps=2")).code == 0
    saved = last(tmp_path / "tiny/stage1")["scaler"]
    assert saved["scale"] == 1024.0 and saved["_growth_tracker"] == 2
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=3)
    assert train("stage1", *words("stage1", "train.max_steps=4")).code == 0
    saved = last(tmp_path / "tiny/stage1")["scaler"]
    assert saved["scale"] == 2048.0 and saved["_growth_tracker"] == 1


def test_a_session_without_spikes_keeps_its_norms(workspace, words, tmp_path):
    assert train("stage1", *words("stage1", "train.log_every=100")).code == 0
    assert len(last(tmp_path / "tiny/stage1")["watch"]["norms"]) == 6
