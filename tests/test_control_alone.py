"""The control without words, trained on pictures and depth alone: no stage 2, no captions."""

import shutil

import doctor_trees as trees
import torch
from conftest import evaluate, train


def settings(root):
    """Settings of a folder of pictures that has nothing but pictures and depth."""
    trees.write_folder(root, count=20)
    lists = [f"data.{name}_list=null" for name in ("train", "val", "test")]
    folder = "data.name=folder", f"data.root={root}", "data.val_share=0.2", "data.test_share=0.2"
    return [*folder, *lists, "text.captions=null", "language.mode=none"]


def test_it_trains_resumes_and_is_scored(workspace, tmp_path):
    words = workspace.arguments("stage3", tmp_path / "runs", *settings(tmp_path / "mine"))
    outcome = train("stage3", *words)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "runs/tiny/stage3"
    log = (run / "log.txt").read_text()
    assert "stage2: there is no run of it; not needed" in log
    saved = torch.load(run / "checkpoints/last.pt", weights_only=True)
    assert saved["model_config"]["estimator"]["encoder"]["embed_dim"] == 8  # the given one
    assert train("stage3", *words, "train.max_steps=3").code == 0
    assert "resuming at step 2" in (run / "log.txt").read_text()
    assert evaluate("stage3", "--checkpoint", str(run)).code == 0


def test_a_stage_2_that_is_there_is_still_its_start(workspace, trained, tmp_path):
    shutil.copytree(trained / "tiny", tmp_path / "other")
    words = ["language.mode=none", "init.experiment=other", "experiment=control"]
    assert train("stage3", *workspace.arguments("stage3", tmp_path, *words)).code == 0
    log = (tmp_path / "control/stage3/log.txt").read_text()
    assert f"stage2: {tmp_path / 'other/stage2/checkpoints/best.pt'}" in log


def test_with_words_stage_2_is_needed(workspace, tmp_path):
    outcome = train("stage3", *workspace.arguments("stage3", tmp_path))
    assert "no stage2 checkpoint in" in outcome.refusal


def test_a_place_that_is_named_must_be_there(workspace, tmp_path):
    words = ["language.mode=none", "init.stage2=nowhere"]
    outcome = train("stage3", *workspace.arguments("stage3", tmp_path, *words))
    assert "no stage2 checkpoint in" in outcome.refusal
