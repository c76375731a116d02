"""LLM-MDE as programs: training, evaluating, resuming."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Outcome, Workspace, call, metrics_of, run_process
from llm_mde_files import evaluate, score, train_into

import llm_mde.train
from common.config import load_config
from llm_mde.config import LLMMDEConfig


@pytest.fixture
def train(workspace, tmp_path):
    """Train into `tmp_path`."""
    return partial(train_into, tmp_path, workspace)


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        ("gpt2", "fp32"),
        ("gpt2", "bf16"),
        ("bert", "bf16"),
        ("llama", "bf16"),
        pytest.param("bert", "fp32", marks=pytest.mark.slow),
        pytest.param("llama", "fp32", marks=pytest.mark.slow),
    ],
)
def test_every_family_trains_two_steps_and_evaluates(train, tmp_path, family, precision):
    outcome = train(f"model.language.name=tiny-{family}", f"train.precision={precision}")
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/llm_mde"
    assert {p.name for p in run.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "log.txt",
        "metrics.jsonl",
        "panels",
        "tensorboard",
    }
    log = (run / "log.txt").read_text()
    assert "language: 0.8" in log and "all: 1." in log and "% ) trained" not in log
    lines = metrics_of(run, "train")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["loss/silog"] > 0 and line["grad_norm"] > 0 for line in lines)
    (val,) = metrics_of(run, "val")
    metrics = score(run / "checkpoints/last.pt", tmp_path / "out.json", "--split", "val")
    assert metrics["abs_rel"] == pytest.approx(val["abs_rel"], rel=1e-6)


def start(workspace: Workspace, runs: Path, family: str) -> Outcome:
    words = workspace.arguments("llm_mde", runs, f"model.language.name=tiny-{family}")
    return run_process("sh", "llm_mde/train.sh", *words, NPROC="2")


@pytest.mark.parametrize(
    "family",
    [
        "gpt2",
        pytest.param("bert", marks=pytest.mark.slow),
        pytest.param("llama", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train(workspace, tmp_path, family):
    outcome = start(workspace, tmp_path, family)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/llm_mde"
    assert [line["step"] for line in metrics_of(run, "train")] == [1, 2]
    assert "2 process(es)" in (run / "log.txt").read_text()
    score(run, tmp_path / "out.json")


def test_the_loss_falls_on_one_batch(train, workspace, tmp_path):
    lines = (workspace.data / "train.txt").read_text().splitlines()[:4]
    (tmp_path / "four.txt").write_text("\n".join(lines))
    outcome = train(
        f"data.train_list={tmp_path / 'four.txt'}",
        "data.rotate_degrees=0",
        "data.flip=false",
        "data.jitter=false",
        "train.max_steps=30",
        "train.lr=1e-2",
        "eval.every=100",
        "eval.max_images=1",
    )
    assert outcome.code == 0, outcome.err
    losses = [line["loss/silog"] for line in metrics_of(tmp_path / "tiny/llm_mde", "train")]
    assert sum(losses[-3:]) / 3 < 0.3 * losses[0]


def test_resumed_is_the_same_as_uninterrupted(train, tmp_path):
    steady = ("train.schedule=constant", "prompt.statistics=true")
    for words in (("train.max_steps=2",), ("train.max_steps=4",)):
        assert train("experiment=parts", *steady, *words).code == 0
    assert train("experiment=whole", *steady, "train.max_steps=4").code == 0
    parts, whole = (
        torch.load(tmp_path / name / "llm_mde/checkpoints/last.pt", weights_only=True)
        for name in ("parts", "whole")
    )
    assert parts["step"] == whole["step"] == 4
    for key, value in whole["model"].items():
        assert (
            torch.equal(value, parts["model"][key])
            if torch.is_tensor(value)
            else (value == parts["model"][key])
        ), key


def test_the_resolved_config_starts_the_same_run(train, workspace, tmp_path):
    assert train("eval.max_images=1").code == 0
    path = tmp_path / "tiny/llm_mde/config.yaml"
    config, *words = workspace.arguments("llm_mde", tmp_path, "eval.max_images=1")
    assert load_config(LLMMDEConfig, path, []) == load_config(LLMMDEConfig, Path(config), words)
    saved = torch.load(path.parent / "checkpoints/last.pt", weights_only=True)
    assert yaml.safe_dump(saved["model_config"])  # plain types


def test_the_depth_class_comes_from_clip(train, tmp_path):
    words = ("prompt.depth_class=true", "text.encoder=untrained:0", "text.features=null")
    outcome = train(*words)
    assert outcome.code == 0, outcome.err
    saved = torch.load(tmp_path / "tiny/llm_mde/checkpoints/last.pt", weights_only=True)
    features = saved["model"]["prompt.class_features"]
    assert features.shape == (7, 1024)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(7))
    score(tmp_path / "tiny/llm_mde", tmp_path / "out.json")
    outcome = train(*words, "model.image_dim=512", "experiment=other")
    assert outcome.code == 2
    assert "1024" in outcome.errors[0] and "512" in outcome.errors[0]


def test_help_explains_both_programs():
    assert "sh llm_mde/train.sh" in call(llm_mde.train.main, "--help").out
    assert "--merge complete.pt" in evaluate("--help").out
