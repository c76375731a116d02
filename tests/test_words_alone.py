"""What the words alone say: draws of stage 1 and joint, `eval.py --samples`, medians, baselines."""

import csv
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import evaluate, run_script, train

from common.data.batch import collate_eval
from common.evaluation.protocols import find_protocol, valid_mask
from common.evaluation.scoring import ScoringRule, median_at, scored_points
from common.programs.assembly import load_split
from common.programs.draws import Draws, draw_log_medians
from common.programs.evaluate import Checkpoint
from common.runtime.processes import Processes
from common.runtime.randomness import DrawRandom
from stage1_vae.stage import STAGE
from stage3_depth.stage import JOINT

ALONE = Processes(0, 1, torch.device("cpu"))
NUM_DRAWS = 40


@pytest.fixture(scope="module")
def joint_run(workspace, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("joint")
    outcome = train("joint", *workspace.arguments("joint", runs, "train.max_steps=1"))
    assert outcome.code == 0, outcome.err
    return runs / "tiny/stage3"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scored(folder: Path, call, *words) -> tuple[dict, list[dict[str, str]], str]:
    """The JSON, the lines of the CSV and what is printed."""
    out = ("--json", str(folder / "out.json"), "--csv", str(folder / "out.csv"))
    outcome = call(*words, *out)
    assert outcome.code == 0, outcome.err
    return json.loads((folder / "out.json").read_text()), read_csv(folder / "out.csv"), outcome.out


def test_a_csv_holds_the_medians_of_the_scored_pixels(trained, tmp_path):
    run, maps = trained / "tiny/stage1", tmp_path / "maps"
    words = ("--checkpoint", str(run), "--save-predictions", str(maps))
    result, rows, _ = scored(tmp_path, partial(evaluate, "stage1"), *words)
    assert "calibration" not in result
    assert "pit" not in rows[0]
    config, network = Checkpoint(STAGE, run / "checkpoints/best.pt").open(ALONE)
    dataset = load_split(config, "test", STAGE.needs(network), ALONE)
    for index, row in enumerate(rows):
        item = dataset[index]
        gt = item.gt_depth.numpy()
        valid = (gt > 1e-3) & (gt < 10)
        pred = STAGE.predict(network.eval(), collate_eval([item]))[0].detach().numpy()
        for name, depth in (("gt_median", gt), ("pred_median", pred.clip(1e-3, 10))):
            middle = np.sort(depth[valid])[(valid.sum() - 1) // 2]
            assert float(row[name]) == pytest.approx(middle, rel=1e-5)


@pytest.mark.parametrize(("stage", "recipe"), [("stage1", STAGE), ("stage3", JOINT)])
def test_samples_judge_what_the_words_alone_say(stage, recipe, trained, joint_run, tmp_path):
    run = trained / "tiny/stage1" if stage == "stage1" else joint_run
    words = ("--checkpoint", str(run / "checkpoints/last.pt"), "--samples", str(NUM_DRAWS))
    result, rows, printed = scored(tmp_path, partial(evaluate, stage), *words)
    found = result["calibration"]
    assert (found["num_images"], found["num_draws"], len(rows)) == (4, NUM_DRAWS, 4)
    assert sum(part["num_images"] for part in found["by_category"].values()) == 4
    assert "log median depth" in printed

    # The mean scene, and one image's draws made by hand.
    config, network = Checkpoint(recipe, run / "checkpoints/last.pt").open(ALONE)
    dataset = load_split(config, "test", recipe.needs(network), ALONE)
    batch = collate_eval([dataset[2]])
    rule = ScoringRule("none", 10.0)

    def log_median(depth):
        points = scored_points(batch.gt_depth[0][0], batch.size, "", rule)
        return math.log(median_at(depth[0, 0], points, 10.0))

    with torch.no_grad():
        mean_scene = log_median(recipe.words_alone.predict(network.eval(), batch))
        drawn = [
            log_median(recipe.words_alone.sample(network, batch, DrawRandom(config.seed, [2], k)))
            for k in range(NUM_DRAWS)
        ]
    assert float(rows[2]["pred_median"]) == pytest.approx(
        math.exp(mean_scene), rel=2e-3
    )  # all pixels
    assert float(rows[2]["draw_mean"]) == pytest.approx(np.mean(drawn), rel=1e-5)
    assert float(rows[2]["draw_std"]) == pytest.approx(np.std(drawn, ddof=1), rel=1e-4)


@pytest.mark.parametrize(
    ("protocol", "gt_size", "size"),
    [("none", (60, 90), (32, 64)), ("none", (32, 64), (32, 64)),
     ("nyu_eigen", (480, 640), (64, 96)), ("kitti_garg_kbcrop", (375, 1242), (352, 1216))],
)  # fmt: skip
def test_scored_points_give_the_median_of_the_scored_pixels(protocol, gt_size, size):
    rng = np.random.default_rng(0)
    gt = torch.from_numpy(rng.uniform(1, 9, gt_size) * (rng.random(gt_size) < 0.6)).float()
    coarse = torch.from_numpy(rng.uniform(1, 9, (1, 1, 4, 5)))
    pred = torch.nn.functional.interpolate(coarse.float(), size, mode="bilinear")[0, 0]
    rule = ScoringRule(protocol, 10.0, is_cropped=protocol.startswith("kitti"))
    points = scored_points(gt, size, "image", rule)
    found = find_protocol(protocol, rule.is_cropped)
    aligned, aligned_gt = found.align(pred, gt, "image")
    valid = valid_mask(aligned_gt, found, 10.0)
    middle = aligned[valid].median().item()
    assert 0 < len(points) <= min(4096, valid.sum())
    assert median_at(pred, points, 10.0) == pytest.approx(
        middle, rel=1e-5 if len(points) == valid.sum() else 0.02
    )


def test_an_image_without_a_scored_pixel_has_no_points():
    assert len(scored_points(torch.zeros(8, 8), (32, 32), "", ScoringRule("none", 10.0))) == 0


def test_joint_with_samples_does_not_look_at_the_picture(joint_run):
    config, network = Checkpoint(JOINT, joint_run / "checkpoints/last.pt").open(ALONE)
    dataset = load_split(config, "test", JOINT.needs(network), ALONE)
    batch = collate_eval([dataset[0]])
    dark = replace(batch, image=torch.zeros_like(batch.image))
    with torch.no_grad():
        for predict in (JOINT.words_alone.predict, lambda m, b: JOINT.words_alone.sample(
            m, b, DrawRandom(0, [0], 0)
        )):  # fmt: skip
            assert torch.equal(predict(network.eval(), batch), predict(network.eval(), dark))


def test_draws_depend_on_seed_and_position_alone(trained):
    run = trained / "tiny/stage1/checkpoints/last.pt"
    config, network = Checkpoint(STAGE, run).open(ALONE)
    network.eval()
    dataset = load_split(config, "test", STAGE.needs(network), ALONE)

    def draw(batch_size, seed=0):
        draws = Draws(partial(STAGE.words_alone.sample, network), 3, seed)
        setting = replace(config.eval, batch_size=batch_size)
        return draw_log_medians(draws, dataset, setting, ScoringRule("none", 10.0), ALONE)

    whole, single, other = draw(4), draw(1), draw(4, seed=1)
    assert set(whole) == set(dataset.samples.keys)
    for key, values in whole.items():
        assert single[key] == pytest.approx(values, rel=1e-5)
        assert abs(other[key] - values).min() > 1e-6
        assert values.std() > 0


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        ("stage1", ("--samples", "12"), "at least 39"),
        ("stage2", ("--samples", "100"), "stage 1 and in recipe joint"),
        ("stage1", ("--samples", "100", "--split", "kitti_benchmark", "--save-submission", "x.zip"),
         "--samples: not with"),
    ],
)  # fmt: skip
def test_samples_that_cannot_be_are_refused(trained, stage, words, message):
    run = trained / "tiny" / stage
    assert message in evaluate(stage, "--checkpoint", str(run), *words).refusal


def baseline(what, workspace, *words):
    return partial(
        run_script,
        "text_baselines.py",
        "--what",
        what,
        str(workspace.configs / "stage1.yaml"),
        *words,
    )


@pytest.mark.parametrize("what", ["constant", "room_type", "linear"])
def test_baselines_write_what_eval_writes(what, workspace, tmp_path):
    result, rows, printed = scored(tmp_path, baseline(what, workspace))
    assert (result["recipe"], result["num_images"], len(rows)) == (what, 4, 4)
    assert "text_baseline" in printed
    stds = {round(float(row["draw_std"]), 6) for row in rows}
    predicted = {row["pred_median"] for row in rows}
    assert len(stds) == 1
    assert len(predicted) == (4 if what == "linear" else 1)  # no test room's type was trained on


def test_the_constant_is_the_mean_log_median_times_the_mean_shape(workspace, tmp_path):
    _, rows, _ = scored(tmp_path, baseline("constant", workspace))
    logs = []
    for line in (workspace.data / "train.txt").read_text().splitlines():
        stored = cv2.imread(str(workspace.data / line.split()[1].lstrip("/")), cv2.IMREAD_UNCHANGED)
        logs.append(np.log(np.where(stored > 0, stored / 1000, np.nan)))
    scales = [np.nanmedian(log) for log in logs]
    shape = np.mean([log - scale for log, scale in zip(logs, scales, strict=True)], axis=0)
    expected = np.exp(np.mean(scales) + np.nanmedian(shape))
    assert float(rows[0]["pred_median"]) == pytest.approx(expected, rel=0.01)
    assert float(rows[0]["draw_mean"]) == pytest.approx(np.mean(scales), rel=0.01)


def test_a_baseline_says_which_words_it_had(workspace, tmp_path):
    result, rows, _ = scored(tmp_path, baseline("linear", workspace, "text.control=none"))
    assert result["control"] == "none"
    assert len({row["pred_median"] for row in rows}) == 1


def test_a_baseline_refuses_what_a_training_refuses(workspace):
    assert "data.root" in baseline("constant", workspace, "data.root=nowhere")().refusal


def test_a_baseline_is_fitted_to_its_own_words_whatever_it_is_scored_with(workspace, tmp_path):
    none, shuffled = ("--score-control", "none"), ("--score-control", "shuffled")
    result, rows, _ = scored(tmp_path, baseline("linear", workspace, *none))
    assert result["control"] == "none"
    assert len({row["draw_mean"] for row in rows}) == 1
    _, own, _ = scored(tmp_path, baseline("linear", workspace))
    _, others, _ = scored(tmp_path, baseline("linear", workspace, *shuffled))
    means = [{round(float(row["draw_mean"]), 9) for row in found} for found in (own, others)]
    assert means[0] == means[1]  # the same regression, asked about the same sentences
    assert own[0]["draw_mean"] != others[0]["draw_mean"]
