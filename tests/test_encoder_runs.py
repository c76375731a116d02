"""Programs with a network of timm as encoder: every recipe trains, scores and resumes."""

import json

import pytest
import torch
from conftest import SETTINGS, evaluate, metrics_of, train, write_yaml

NAMES = [
    "tf_efficientnet_lite0",
    pytest.param("convnext_tiny", marks=pytest.mark.slow),
    pytest.param("resnet50", marks=pytest.mark.slow),
]
JOINT = {"joint": "dropped", "joint-legacy": "kept"}


def run_and_score(stage, runs, words, tmp_path):
    """Two training steps; the score that eval.py prints for the checkpoint."""
    outcome = train(stage, *words)
    assert outcome.code == 0, outcome.err
    folder = runs / "tiny" / ("stage3" if stage == "joint" else stage)
    assert len(metrics_of(folder, "train")) == 2
    scored = evaluate(folder.name, "--checkpoint", str(folder), "--json", str(tmp_path / "s.json"))
    assert scored.code == 0, scored.err
    assert 0 < json.loads((tmp_path / "s.json").read_text())["metrics"]["rmse"] < 100
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)


@pytest.mark.parametrize("name", NAMES)
def test_staged(name, workspace, trained, tmp_path):
    """Stage 2 reads it as evidence, and stage 3 goes on with it, at a rate of its own."""
    runs, encoder = tmp_path / "runs", f"model.encoder.name=timm:{name}"
    stage1 = f"init.stage1={trained / 'tiny' / 'stage1'}"
    words = workspace.arguments("stage2", runs, encoder, stage1)
    stage2 = run_and_score("stage2", runs, words, tmp_path)
    assert any(key.startswith("encoder.body.") for key in stage2["model"])
    words = workspace.arguments(
        "stage3", runs, encoder, "model.encoder.lr_factor=0.1", "model.encoder.batch_norm=frozen"
    )
    stage3 = run_and_score("stage3", runs, words, tmp_path)
    assert any(key.startswith("estimator.encoder.body.") for key in stage3["model"])
    resumed = train("stage3", *words, "train.max_steps=3")
    assert resumed.code == 0, resumed.err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("recipe", JOINT)
def test_joint(recipe, name, workspace, tmp_path):
    runs, path = tmp_path / "runs", workspace.configs / f"{recipe}_{name}.yaml"
    settings = SETTINGS["joint"]
    model = {**settings["model"], "skips": JOINT[recipe]}
    write_yaml(path, {"base": "base.yaml", "recipe": recipe, "model": model})
    words = [str(path), f"output_root={runs}", f"model.encoder.name=timm:{name}"]
    saved = run_and_score("joint", runs, words, tmp_path)
    assert saved["recipe"] == recipe
    assert any(key.startswith("encoder.body.") for key in saved["model"])


def test_the_encoders_rate_is_the_factor_of_the_others(workspace, trained, tmp_path):
    """One step of Adam moves a weight by about its learning rate."""
    words = workspace.arguments(
        "stage3", tmp_path / "runs", f"init.stage2={trained / 'tiny' / 'stage2'}",
        "train.max_steps=1", "train.lr=1e-3", "train.schedule=constant",
    )  # fmt: skip
    start = torch.load(trained / "tiny/stage2/checkpoints/last.pt", weights_only=True)["model"]
    name = "body.patch_embed.proj.weight"
    moved = []
    for factor in (1.0, 0.1):
        outcome = train(
            "stage3", *words, f"model.encoder.lr_factor={factor}", f"experiment=tiny{factor}"
        )
        assert outcome.code == 0, outcome.err
        place = tmp_path / f"runs/tiny{factor}/stage3/checkpoints/last.pt"
        after = torch.load(place, weights_only=True)["model"][f"estimator.encoder.{name}"]
        moved.append((after - start[f"encoder.{name}"]).abs().median().item())
    assert moved[0] == pytest.approx(1e-3, rel=0.05)
    assert moved[1] == pytest.approx(1e-4, rel=0.05)


def test_a_network_that_does_not_fit_is_one_line(workspace, tmp_path):
    words = workspace.arguments("joint", tmp_path / "runs")
    refusal = train("joint", *words, "model.encoder.name=timm:vit_tiny_patch16_224").refusal
    assert "strides 16 alone" in refusal
    refusal = train("joint", *words, "model.encoder.name=timm:rexnet_100").refusal
    assert "timm:rexnet_100 has features of" in refusal
    refusal = train(
        "joint", *words, "model.encoder.name=timm:resnet18", "model.encoder.weights=nowhere.pth"
    ).refusal
    assert "model.encoder.weights: no file" in refusal
