"""`logging.wandb=true`: what Weights & Biases is told, by a stand-in and, if installed, offline."""

import importlib.util
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from conftest import metrics_of, train, train_process

ON = "logging.wandb=true"


class FakeRun:
    """Notes what it is told."""

    url = "https://wandb.example/run"

    def __init__(self, options):
        self.options, self.lines, self.ended, self.metrics = options, [], None, []

    def define_metric(self, name, step_metric=None):
        self.metrics.append((name, step_metric))

    def log(self, values):
        self.lines.append(values)

    def finish(self, exit_code):
        self.ended = exit_code


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package; `runs` are those that were started."""

    class Error(Exception):
        pass

    module = ModuleType("wandb")
    module.__spec__ = importlib.util.spec_from_loader("wandb", None)
    module.runs, module.Error, module.refusal = [], Error, None

    def init(**options):
        if module.refusal:
            raise Error(module.refusal)
        module.runs.append(FakeRun(options))
        return module.runs[-1]

    module.init = init
    module.Settings = lambda **options: SimpleNamespace(**options)
    module.Image = lambda rgb: ("picture", rgb.shape, rgb.dtype)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_it_is_told_what_metrics_jsonl_has_and_the_pictures(workspace, tmp_path, wandb):
    words = workspace.arguments("stage1", tmp_path)
    outcome = train("stage1", *words, ON, "logging.wandb_project=mine")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "tiny/stage1"
    (run,) = wandb.runs
    assert run.options["project"] == "mine" and run.options["name"] == "tiny/stage1"
    assert run.options["config"]["train"]["lr"] == 1e-3
    assert run.metrics == [("step", None), ("*", "step")]
    assert run.ended == 0
    scalars = [line for line in run.lines if not any(isinstance(v, tuple) for v in line.values())]
    for kind in ("train", "val"):
        told = [line for line in scalars if any(name.startswith(f"{kind}/") for name in line)]
        kept = [
            {"step": line.pop("step")}
            | {f"{kind}/{name}": value for name, value in line.items() if name != "kind"}
            for line in metrics_of(folder, kind)
        ]
        assert told == kept
    pictures = [line for line in run.lines if line not in scalars]
    assert [line["step"] for line in pictures] == [2] * 4
    assert pictures[0]["val/0"][2] == np.uint8
    assert run.url in (folder / "log.txt").read_text()


def test_a_run_that_goes_on_goes_on_there_and_one_that_starts_over_does_not(
    workspace, tmp_path, wandb
):
    words = workspace.arguments("stage1", tmp_path, ON)
    assert train("stage1", *words).code == 0
    assert train("stage1", *words, "train.max_steps=3").code == 0
    assert train("stage1", *words, "train.max_steps=3", "train.resume=false").code == 0
    first, longer, anew = (run.options["id"] for run in wandb.runs)
    assert first == longer != anew
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["stage1"]


def test_where_it_does_not_start_nothing_is_trained(workspace, tmp_path, wandb):
    wandb.refusal = "api_key not configured\n(no-tty)"
    line = train("stage1", *workspace.arguments("stage1", tmp_path, ON)).refusal
    assert "does not start (api_key not configured (no-tty)); call wandb login" in line
    assert not (tmp_path / "tiny/stage1/metrics.jsonl").exists()


def test_what_it_refuses_later_is_told_once_and_ends_nothing(
    workspace, tmp_path, wandb, monkeypatch
):
    def refuse(self, values):
        raise wandb.Error("too much")

    monkeypatch.setattr(FakeRun, "log", refuse)
    outcome = train("stage1", *workspace.arguments("stage1", tmp_path, ON))
    assert outcome.code == 0
    assert outcome.err.count("takes no more (too much)") == 1
    assert len(metrics_of(tmp_path / "tiny/stage1", "train")) == 2


def test_without_the_package_there_is_one_line_and_no_run_folder(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr("common.programs.wandb_board.importlib.util.find_spec", lambda name: None)
    words = workspace.arguments("stage1", tmp_path)
    assert "needs the package wandb, which is not installed" in train("stage1", *words, ON).refusal
    assert list(tmp_path.iterdir()) == []


def test_a_trial_run_tells_it_nothing(workspace, tmp_path, wandb):
    words = workspace.arguments("stage1", tmp_path, ON, "train.dry_run=true")
    assert train("stage1", *words).code == 0
    assert wandb.runs == []


def test_the_package_itself_offline(workspace, tmp_path):
    pytest.importorskip("wandb", exc_type=ImportError)
    outcome = train_process(
        "stage1", *workspace.arguments("stage1", tmp_path, ON), WANDB_MODE="offline"
    )
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "tiny/stage1"
    assert f"Weights & Biases: offline, in {folder}/wandb" in (folder / "log.txt").read_text()
    (data,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content = data.read_bytes()
    step = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["step"]
    assert step == 1 and b"train/loss/total" in content and b"val/abs_rel" in content
