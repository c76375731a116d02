"""The options of `eval.py`, the files it writes, and what it refuses."""

import csv
import json
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import FOLDERS, IMAGE_DIM, evaluate, metrics_of, start_process, train

from common.config import REPO_ROOT

NINE = ["abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "d1", "d2", "d3", "silog"]
JSON_KEYS = [
    "checkpoint",
    "recipe",
    "stage",
    "data",
    "split",
    "protocol",
    "flip",
    "num_images",
    "num_skipped",
    "num_missing",
    "num_clamped",
    "num_nonfinite",
    "gt_used",
    "metrics",
]


def score(stage, place, *words, folder):
    """The JSON of one evaluation."""
    out = folder / "out.json"
    outcome = evaluate(stage, "--checkpoint", str(place), "--json", str(out), *words)
    assert outcome.code == 0, outcome.err
    return json.loads(out.read_text())


def refusal(stage, *words):
    return evaluate(stage, *words).refusal


def stored(path):
    """A saved prediction in meters."""
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    return depth / 1000


@pytest.mark.parametrize("stage", list(FOLDERS))
def test_scores_of_the_last_checkpoint_are_those_of_training(trained, tmp_path, stage):
    place = trained / "tiny" / stage / "checkpoints/last.pt"
    result = score(stage, place, "--split", "val", folder=tmp_path)
    (val,) = metrics_of(trained / "tiny" / stage, "val")
    assert result["metrics"] == pytest.approx({name: val[name] for name in NINE}, rel=1e-6)


@pytest.mark.parametrize("stage", list(FOLDERS))
def test_json_has_exactly_the_promised_keys(workspace, trained, tmp_path, stage):
    run = trained / "tiny" / stage
    result = score(stage, run, folder=tmp_path)
    assert list(result) == JSON_KEYS
    assert list(result["metrics"]) == NINE
    expected = {
        "checkpoint": str(run / "checkpoints/best.pt"),
        "recipe": "staged",
        "stage": stage,
        "data": str(workspace.data),
        "split": "test",
        "protocol": "none",
        "flip": False,
        "num_images": 4,
        "num_skipped": 0,
        "num_missing": 0,
        "num_nonfinite": 0,
    }
    assert {key: result[key] for key in expected} == expected


def test_csv_has_one_line_per_image_and_averages_to_the_json(trained, tmp_path):
    path = tmp_path / "deep/images.csv"
    run = trained / "tiny/stage3"
    result = score("stage3", run, "--csv", str(path), "--split", "train", folder=tmp_path)
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == result["num_images"] == 12
    assert list(rows[0])[:10] == ["image_path", *NINE]
    for name in NINE:
        mean = sum(float(row[name]) for row in rows) / len(rows)
        assert mean == pytest.approx(result["metrics"][name], rel=1e-6)


def test_saved_predictions_are_what_was_scored(workspace, trained, tmp_path):
    out = tmp_path / "predictions"
    result = score(
        "stage3", trained / "tiny/stage3", "--save-predictions", str(out), folder=tmp_path
    )
    pairs = [line.split() for line in (workspace.data / "test.txt").read_text().splitlines()]
    assert len(list(out.rglob("*.png"))) == len(pairs) == 4
    scores = []
    for image, depth, _ in pairs:
        pred, gt = stored(out / image.lstrip("/")), stored(workspace.data / depth.lstrip("/"))
        valid = (gt > 1e-3) & (gt < 10)
        scores.append((np.abs(pred - gt)[valid] / gt[valid]).mean())
    assert np.mean(scores) == pytest.approx(result["metrics"]["abs_rel"], abs=1e-3)


def test_flip_averages_and_saves_the_average(workspace, trained, tmp_path):
    run = trained / "tiny/stage3"
    saved = {name: tmp_path / name for name in ("plain", "flipped")}
    words = ["--save-predictions", str(saved["plain"])]
    plain = score("stage3", run, *words, folder=tmp_path)
    words = ["--save-predictions", str(saved["flipped"]), "--flip"]
    flipped = score("stage3", run, *words, folder=tmp_path)
    assert flipped["flip"] is True
    assert flipped["metrics"] != plain["metrics"]
    image = (workspace.data / "test.txt").read_text().split()[0].lstrip("/")
    one, average = (stored(folder / image) for folder in saved.values())
    assert np.abs(one[:, -4:] - average[:, -4:]).max() < 0.002  # the right border is the plain one
    assert np.abs(one - average)[:, 20:-20].max() > 0.002
    mirrored = 2 * average - one  # in the middle the average is the mean of both
    assert not np.allclose(average[:, 20:-20], mirrored[:, 20:-20], atol=0.002)


def test_overrides_config_file_and_order_of_the_words(workspace, trained, tmp_path):
    run = str(trained / "tiny/stage1")
    data = shutil.copytree(workspace.data, tmp_path / "elsewhere")
    result = score("stage1", run, f"data.root={data}", folder=tmp_path)
    assert result["data"] == str(data)
    out = tmp_path / "first.json"
    words = [f"data.root={data}", "--json", str(out), "--checkpoint", run, "data.max_depth=3.0"]
    assert evaluate("stage1", *words).code == 0
    assert json.loads(out.read_text())["metrics"] != result["metrics"]
    changes = tmp_path / "changes.yaml"
    changes.write_text("data: {max_depth: 3.0}")
    by_file = score("stage1", run, "--config", str(changes), folder=tmp_path)
    assert by_file["metrics"] == json.loads(out.read_text())["metrics"]
    both = score("stage1", run, "--config", str(changes), "data.max_depth=10", folder=tmp_path)
    assert both["metrics"] == result["metrics"]
    changes.write_text("data: {hieght: 3}")
    message = refusal("stage1", "--checkpoint", run, "--config", str(changes))
    assert message.startswith(f"error: {changes}: unknown key 'data.hieght'")


def test_a_training_limit_on_validation_images_does_not_limit_it(workspace, tmp_path):
    assert train("stage1", *workspace.arguments("stage1", tmp_path, "eval.max_images=1")).code == 0
    run = tmp_path / "tiny/stage1"
    assert score("stage1", run, folder=tmp_path)["num_images"] == 4
    assert score("stage1", run, "eval.max_images=3", folder=tmp_path)["num_images"] == 3


def test_images_without_any_ground_truth_are_counted(workspace, trained, tmp_path):
    data = shutil.copytree(workspace.data, tmp_path / "data")
    lines = (data / "test.txt").read_text().splitlines()
    cv2.imwrite(str(data / lines[0].split()[1].lstrip("/")), np.zeros((64, 96), np.uint16))
    lines[1] = lines[1].split()[0] + " None 518.8"
    (data / "test.txt").write_text("\n".join(lines))
    result = score("stage3", trained / "tiny/stage3", f"data.root={data}", folder=tmp_path)
    assert (result["num_images"], result["num_skipped"]) == (2, 2)


def test_clip_evidence_and_the_control_are_evaluated(workspace, trained, tmp_path):
    init = f"init.stage1={trained / 'tiny/stage1'}"
    clip = [
        "model.evidence=clip",
        f"model.image_dim={IMAGE_DIM}",
        "text.image_features=image.safetensors",
    ]
    assert train("stage2", *workspace.arguments("stage2", tmp_path, init, *clip)).code == 0
    score("stage2", tmp_path / "tiny/stage2", folder=tmp_path)
    init = f"init.stage2={trained / 'tiny/stage2'}"
    words = workspace.arguments("stage3", tmp_path, init, "language.mode=none")
    assert train("stage3", *words).code == 0
    run = tmp_path / "tiny/stage3"
    with_words = score("stage3", run, folder=tmp_path)
    nothing = ["text.features=null", "text.captions=null"]
    assert score("stage3", run, *nothing, folder=tmp_path)["metrics"] == with_words["metrics"]


def test_a_misspelled_protocol(trained):
    run = str(trained / "tiny/stage1")
    message = refusal("stage1", "--checkpoint", run, "--protocol", "nyu_eigne")
    assert "unknown protocol 'nyu_eigne', did you mean 'nyu_eigen'" in message
    message = refusal("stage1", "--checkpoint", run, "--protocol", "nyu_eigen")
    assert "needs 480x640 ground truth" in message
    assert "--protocol none" in message


@pytest.mark.parametrize("stage", list(FOLDERS))
def test_a_checkpoint_of_another_stage(trained, stage):
    other = {"stage1": "stage2", "stage2": "stage3", "stage3": "stage1"}[stage]
    message = refusal(stage, "--checkpoint", str(trained / "tiny" / other))
    assert f"is a checkpoint of {other} (staged recipe)" in message
    assert f"a {stage} (staged" in message


def test_other_mistakes(trained, tmp_path):
    run = str(trained / "tiny/stage1")
    assert "no stage1 checkpoint in" in refusal("stage1", "--checkpoint", str(tmp_path))
    assert "--checkpoint PATH" in refusal("stage1", "--checkpoint", str(tmp_path / "x.pt"))
    assert "the checkpoint fixes it" in refusal("stage1", "--checkpoint", run, "model.latent_dim=4")
    assert "unknown key 'data.rot'" in refusal("stage1", "--checkpoint", run, "data.rot=/x")
    assert "no folder /nowhere" in refusal("stage1", "--checkpoint", run, "data.root=/nowhere")
    assert "no config file" in refusal("stage1", "--checkpoint", run, "--config", "nowhere.yaml")
    for words in ([], ["--checkpoint", run, "--split", "holdout"], ["--checkpoint", run, "--fast"]):
        assert evaluate("stage1", *words).code == 2
    blocked = tmp_path / "file"
    blocked.touch()
    for option in ("--json", "--csv", "--save-predictions"):
        message = refusal("stage1", "--checkpoint", run, option, str(blocked / "below/out"))
        assert str(blocked) in message


def test_from_the_repository_root_and_from_the_stage_folder(trained, tmp_path):
    """Real processes; relative paths start where the user is."""
    link = tmp_path / "runs"
    link.symlink_to(trained)
    words = ["--checkpoint", str(link / "tiny/stage3"), "--json"]
    root = start_process(sys.executable, "stage3_depth/eval.py", *words, str(tmp_path / "1.json"))
    inside = start_process(
        sys.executable,
        "eval.py",
        *words,
        str(tmp_path / "2.json"),
        "eval.flip=false",
        cwd=REPO_ROOT / "stage3_depth",
    )
    tables = []
    for process in (root, inside):
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        tables.append(out)
    assert tables[0] == tables[1]
    assert tables[0].splitlines()[0].split()[:3] == ["name", "abs_rel", "sq_rel"]
    assert (tmp_path / "1.json").read_text() == (tmp_path / "2.json").read_text()


def test_relative_paths_start_at_the_current_folder(trained, monkeypatch):
    monkeypatch.chdir(trained)
    outcome = evaluate("stage1", "--checkpoint", "tiny/stage1", "--json", "below/out.json")
    assert outcome.code == 0, outcome.err
    assert (trained / "below/out.json").exists()
    shutil.rmtree(trained / "below")


def test_predictions_never_replace_images(trained, workspace):
    image = workspace.data / (workspace.data / "test.txt").read_text().split()[0].lstrip("/")
    before = image.read_bytes()
    run = str(trained / "tiny/stage1")
    message = refusal("stage1", "--checkpoint", run, "--save-predictions", str(workspace.data))
    assert "is an image of the data set; name another folder" in message
    assert image.read_bytes() == before


def test_predictions_that_are_not_finite_are_counted(trained, tmp_path):
    saved = torch.load(trained / "tiny/stage1/checkpoints/best.pt", weights_only=True)
    saved["model"]["depth_conv.bias"].fill_(torch.inf)
    torch.save(saved, tmp_path / "broken.pt")
    words = ["--save-predictions", str(tmp_path / "predictions")]
    result = score("stage1", tmp_path / "broken.pt", *words, folder=tmp_path)
    assert result["num_nonfinite"] > 0
    assert result["num_images"] == 4
    assert len(list((tmp_path / "predictions").rglob("*.png"))) == 4
