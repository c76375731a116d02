"""The share of the measured ground truth that is used: in results, in logs, and if it is none."""

import csv
import json
import re
from dataclasses import replace

import doctor_trees as trees
import numpy as np
import pytest
import torch
from conftest import evaluate, metrics_of, train

from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.ground_truth import GroundTruthUse, count_use, total_use
from common.data.splits import find_split
from common.errors import UserError
from common.evaluation.scoring import EvalConfig
from common.losses.depth import silog_valid
from common.programs.preflight import check_configured_data


def measured_depth(workspace, split):
    """All measured depth of a split, meters."""
    lists = {f"{name}_list": f"{name}.txt" for name in ("train", "val", "test")}
    data = DataConfig("nyu", workspace.data, 32, 64, 10.0, **lists)
    dataset = build_dataset(data, find_split(data, split))
    depth = np.concatenate([dataset[i].gt_depth.numpy().ravel() for i in range(len(dataset))])
    return depth[depth > 0]


def test_every_result_names_the_share(workspace, trained, tmp_path):
    depth = measured_depth(workspace, "test")
    limit = float(np.quantile(depth, 0.6))
    out, table = tmp_path / "out.json", tmp_path / "images.csv"
    run = ("--checkpoint", str(trained / "tiny/stage1"), "--json", str(out), "--csv", str(table))
    outcome = evaluate("stage1", *run, f"data.max_depth={limit}")
    assert outcome.code == 0, outcome.err
    share = float((depth < limit).mean())
    assert 0.5 < share < 0.65
    assert json.loads(out.read_text())["gt_used"] == pytest.approx(share, abs=1e-6)
    rows = list(csv.DictReader(table.open()))
    used, measured = (sum(int(r[key]) for r in rows) for key in ("num_pixels", "num_measured"))
    assert (measured, used / measured) == (len(depth), pytest.approx(share, abs=1e-6))
    lines = outcome.out.splitlines()
    assert lines[0].split()[-1] == "gt_used"
    assert float(lines[1].split()[-1]) == pytest.approx(share, abs=1e-4)
    [warning] = [line for line in outcome.err.splitlines() if line.startswith("warning:")]
    assert f"only {100 * share:.3g} % of the measured ground-truth pixels are scored (4" in warning
    assert f"data.max_depth={limit:g} leaves out what is farther" in warning
    assert warning.endswith(f"up to {depth.max():.3g} m")
    # What the line says is done: all of it is scored, and nothing is said any more.
    outcome = evaluate("stage1", *run, f"data.max_depth={np.ceil(depth.max())}")
    assert json.loads(out.read_text())["gt_used"] == 1
    assert "warning:" not in outcome.err


def test_images_without_any_used_pixel_count_too(workspace, trained, tmp_path):
    """They are skipped, and would else take their unused pixels with them."""
    depth = measured_depth(workspace, "test")
    limit = float(np.quantile(depth, 0.02))
    out = tmp_path / "out.json"
    run = ("--checkpoint", str(trained / "tiny/stage1"), "--json", str(out))
    assert evaluate("stage1", *run, f"data.max_depth={limit}").code == 0
    result = json.loads(out.read_text())
    assert result["gt_used"] == pytest.approx((depth < limit).mean(), abs=1e-6)


@pytest.mark.parametrize("stage", ["stage1", "llm_mde"])
def test_training_says_it_before_the_first_step(workspace, tmp_path, stage):
    train_depth, val_depth = (measured_depth(workspace, name) for name in ("train", "val"))
    limit = float(np.quantile(train_depth, 0.5))
    words = workspace.arguments(stage, tmp_path, f"data.max_depth={limit}", "data.flip=false")
    assert train(stage, *words).code == 0
    log = (tmp_path / "tiny" / stage / "log.txt").read_text().splitlines()
    [number] = [
        i for i, line in enumerate(log) if "are trained on (12 images): data.max_depth=" in line
    ]
    assert log[number].startswith("warning: only ")
    assert number < [i for i, line in enumerate(log) if line.startswith("steps 0 to")][0]
    told = float(re.search(r"only (\S+) %", log[number])[1])
    assert told == pytest.approx(50, abs=5)  # resized: not the very same pixels
    (val,) = metrics_of(tmp_path / "tiny" / stage, "val")
    assert val["gt_used"] == pytest.approx((val_depth < limit).mean(), abs=1e-6)
    assert any("% of the measured pixels)" in line for line in log)


@pytest.mark.parametrize(
    ("stage", "setting"),
    [
        ("stage1", "data.max_depth=0.5"),
        ("llm_mde", "data.max_depth=0.5"),
        ("stage1", "data.depth_scale=1e8"),
        ("llm_mde", "data.depth_scale=100000"),
    ],
)
def test_a_loss_without_a_pixel_is_refused(workspace, tmp_path, stage, setting):
    outcome = train(stage, *workspace.arguments(stage, tmp_path, setting))
    assert "nothing to learn: all depth of 12 training images" in outcome.refusal


@pytest.mark.parametrize(
    ("dtype", "key"), [(np.float32, "float_depth_scale"), (np.int32, "depth_scale")]
)
def test_the_key_of_the_kind_of_maps_is_named(tmp_path, dtype, key):
    root = trees.write_folder(tmp_path)
    for path in sorted((root / "depth").iterdir()):
        stored = trees.read_stored(path) * (1 if dtype == np.float32 else 10)
        np.save(path.with_suffix(".npy"), stored.astype(dtype))
        path.unlink()
    data = DataConfig("folder", root, 32, 64, 10.0, test_share=0, val_share=0.3)
    with pytest.raises(UserError, match=rf"correct data.max_depth, or data\.{key} \("):
        check_configured_data(data, EvalConfig(protocol="none"))
    check_configured_data(
        replace(data, **{key: 1000.0 if dtype == np.float32 else 10000.0}),
        EvalConfig(protocol="none"),
    )


def test_counting():
    depth = torch.tensor([[0.0, 0.05, 2.0, 70.0, torch.nan, torch.inf, -1.0]])
    use = count_use(depth, silog_valid(depth, 10.0))
    assert use == GroundTruthUse(3, 1, farthest=70.0, nearest=pytest.approx(0.05))
    assert count_use(torch.zeros(0), torch.zeros(0, dtype=torch.bool)) == GroundTruthUse()
    assert total_use([use, use]) == GroundTruthUse(6, 2, 70.0, use.nearest, num_images=2)
    assert total_use([]).share == 0
    assert not GroundTruthUse(10, 9, 12.0).is_loud
    assert GroundTruthUse(100, 89, 12.0).is_loud
    assert "90 % of" in GroundTruthUse(10, 9, 12.0).describe("scored", 10.0)
