"""Frames of KITTI are scored and shown where their predictions, which are crops, belong."""

import cv2
import numpy as np
import pytest
import torch

from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.splits import find_split
from common.evaluation.results import format_table, result_dict
from common.evaluation.scoring import EvalConfig
from common.programs.inference import draw_prediction_panel, evaluate_dataset
from common.runtime.processes import Processes


@pytest.fixture
def kitti(tmp_path):
    """Two full frames in KITTI's layout."""
    rng = np.random.default_rng(5)
    for name in ("0.png", "1.png"):
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (375, 1242, 3), dtype=np.uint8))
        gt = rng.integers(256, 80 * 256, (375, 1242)).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"depth_{name}"), gt)
    (tmp_path / "test.txt").write_text("0.png depth_0.png 721.5\n1.png depth_1.png 721.5\n")
    return DataConfig("kitti", tmp_path, 352, 704, 80.0, test_list="test.txt", allow_missing=True)


def gt_as_prediction(data):
    """The KB crops of the ground truth, as if a network had predicted them."""
    gts = [cv2.imread(str(data.root / f"depth_{i}.png"), cv2.IMREAD_UNCHANGED) for i in (0, 1)]
    crops = torch.from_numpy(np.stack([gt[23:, 13:1229] / 256 for gt in gts]))[:, None]
    return lambda model, batch: crops[batch.position]


@pytest.mark.parametrize("protocol", ["none", "kitti_garg_kbcrop", "kitti_eigen_full"])
def test_a_perfect_prediction_of_kitti_is_perfect_in_every_protocol(kitti, protocol):
    dataset = build_dataset(kitti, find_split(kitti, "test"))
    result = evaluate_dataset(
        torch.nn.Identity(),
        gt_as_prediction(kitti),
        dataset,
        EvalConfig(protocol=protocol),
        80.0,
        Processes(0, 1, torch.device("cpu")),
    )
    assert (result.num_images, result.num_missing) == (2, 0)
    assert result.metrics["abs_rel"] < 1e-6
    assert result.metrics["d1"] == 1


def test_missing_files_are_counted_in_the_result(kitti):
    (kitti.root / "1.png").unlink()
    dataset = build_dataset(kitti, find_split(kitti, "test"))
    result = evaluate_dataset(
        torch.nn.Identity(),
        gt_as_prediction(kitti),
        dataset,
        EvalConfig(protocol="none"),
        80.0,
        Processes(0, 1, torch.device("cpu")),
    )
    assert (result.num_images, result.num_missing) == (1, 1)
    assert result_dict(result)["num_missing"] == 1
    assert format_table([("x", result)]).splitlines()[1].split()[-6:-1] == ["1", "0", "1", "0", "0"]


def test_panels_show_kitti_ground_truth_in_the_frame_of_its_prediction(kitti, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "common.programs.inference.panel", lambda image, gt, *_, **__: shown.append(gt)
    )
    dataset = build_dataset(kitti, find_split(kitti, "test"))
    draw_prediction_panel(torch.nn.Linear(1, 1), gt_as_prediction(kitti), dataset, 0)
    gt = cv2.imread(str(kitti.root / "depth_0.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(shown[0] * 256, gt[23:, 13:1229])
