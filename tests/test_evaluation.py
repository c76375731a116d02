"""Evaluation against the reference numbers and its own promises."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import make_batch

from common.data.batch import Batch
from common.errors import UserError
from common.evaluation.metrics import METRIC_NAMES, compute_metrics
from common.evaluation.protocols import find_protocol, valid_mask
from common.evaluation.results import format_table, result_dict, write_csv
from common.evaluation.scoring import EvalConfig, ScoringRule, evaluate_depth, flip_average
from common.text_files import write_json
from tests.golden.recipe import image, metric_case

GOLDEN = Path(__file__).parent / "golden"
REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())
COUNTS = ("num_images", "num_skipped", "num_missing", "num_clamped", "num_nonfinite", "gt_used")


def batch_of(gts: list) -> Batch:
    """A collated evaluation batch; its images hold nothing but their own position."""
    positions = torch.arange(len(gts))
    maps = [torch.as_tensor(gt, dtype=torch.float32)[None] for gt in gts]
    return make_batch(positions.float()[:, None, None, None].expand(-1, 3, 4, 4), maps)


def part_of(batch: Batch, indices: list[int]) -> Batch:
    """Some of its images."""
    return replace(
        batch,
        image=batch.image[indices],
        gt_depth=[batch.gt_depth[i] for i in indices],
        caption=[batch.caption[i] for i in indices],
        key=[batch.key[i] for i in indices],
        position=batch.position[indices],
    )


def evaluate(preds: list, gts: list, protocol: str, max_depth: float = 10.0, **options):
    """Evaluate equally large predictions [H, W] in one batch."""
    stacked = torch.stack([torch.as_tensor(pred) for pred in preds])[:, None]
    rule = ScoringRule(protocol, max_depth)
    return evaluate_depth(lambda batch: stacked, [batch_of(gts)], rule, **options)


def reference_case(name: str) -> tuple[np.ndarray, np.ndarray]:
    case = REFERENCE[name]
    seed = {"nyu": 11, "kitti_full": 111}[name]
    return metric_case(seed, *case["shape"], *case["gt_range"], case["hole"], case["noise"])


def assert_reference(result, case: str, key: str) -> None:
    expected = dict(REFERENCE[case][key])
    assert result.per_image[0]["num_pixels"] == expected.pop("pixels")
    assert result.metrics == pytest.approx(expected, rel=1e-6)
    assert result.micro == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("protocol", "key"), [("nyu_eigen", "eigen_1e-3_10"), ("none", "none_1e-3_10")]
)
def test_reference_metrics_of_nyu(protocol, key):
    gt, pred = reference_case("nyu")
    assert_reference(evaluate([pred], [gt], protocol, 10), "nyu", key)


@pytest.mark.parametrize(
    ("protocol", "case", "key"),
    [
        ("kitti_garg_full", "kitti_full", "garg_1e-3_80"),
        ("kitti_eigen_full", "kitti_full", "eigen_1e-3_80"),
        ("kitti_garg_kbcrop", "kitti_kbcrop", "garg_1e-3_80"),
    ],
)
@pytest.mark.parametrize("prediction", ["full frame", "KB crop"])
def test_reference_metrics_of_kitti(protocol, case, key, prediction):
    gt, pred = reference_case("kitti_full")
    if prediction == "KB crop":
        pred = pred[375 - 352 :, 13 : 13 + 1216]
    assert_reference(evaluate([pred], [gt], protocol, 80), case, key)


def test_reference_flip_average():
    plain, flipped = (image(seed, (2, 1, 24, 32)).abs() + 0.5 for seed in (21, 22))
    expected = torch.from_numpy(np.load(GOLDEN / "flip.npz")["out"])
    torch.testing.assert_close(flip_average(plain, flipped), expected, rtol=0, atol=1e-6)


def test_flip_average_of_a_consistent_network_changes_nothing():
    plain = torch.rand(2, 1, 5, 41)
    torch.testing.assert_close(flip_average(plain, plain.flip(-1)), plain)


def test_none_and_nyu_resize_the_prediction():
    gt = torch.rand(480, 640) * 5 + 1
    small = torch.rand(120, 160) * 5 + 1
    resized = torch.nn.functional.interpolate(small[None, None], (480, 640), mode="bilinear")[0, 0]
    for name in ("nyu_eigen", "none"):
        valid = valid_mask(gt, find_protocol(name), 10)
        expected = compute_metrics(resized, gt, valid)
        assert evaluate([small], [gt], name).metrics == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("protocol", "pred_size", "gt_size", "said"),
    [
        ("nyu_eigen", (60, 80), (60, 80), ["480x640", "60x80", "eval.protocol=none"]),
        ("kitti_garg_full", (350, 1216), (375, 1242), ["352x1216", "350x1216", "375x1242"]),
        ("kitti_garg_kbcrop", (350, 1216), (375, 1242), ["352x1216", "350x1216", "375x1242"]),
        ("kitti_garg_kbcrop", (64, 96), (64, 96), ["352x1216", "64x96", "eval.protocol=none"]),
        ("kitti_eigen_full", (352, 1216), (300, 1242), ["352x1216", "300x1242"]),
    ],
)
def test_wrong_sizes_are_a_users_error(protocol, pred_size, gt_size, said):
    with pytest.raises(UserError) as error:
        evaluate([torch.ones(pred_size)], [torch.ones(gt_size)], protocol)
    message = str(error.value)
    assert "\n" not in message and "scene/rgb_00000.jpg" in message
    assert all(words in message for words in said)


@pytest.mark.parametrize("key", ["every", "batch_size", "max_images"])
def test_eval_config_checks_its_ranges(key):
    assert getattr(EvalConfig(**{key: 1}), key) == 1
    with pytest.raises(ValueError, match=f"^{key}: "):
        EvalConfig(**{key: 0})


def test_eval_config_names_the_nearest_protocol():
    with pytest.raises(ValueError, match=r"^protocol: .*'nyu_eigen'"):
        EvalConfig(protocol="nyu_eign")


def random_pairs(seed: int, num_images: int, height: int = 12, width: int = 20):
    rng = np.random.default_rng(seed)
    gts = rng.uniform(0.5, 12, (num_images, height, width)).astype(np.float32)
    gts *= rng.random(gts.shape) < np.linspace(0.2, 1, num_images)[:, None, None]
    preds = rng.uniform(0.5, 9, gts.shape).astype(np.float32)
    return list(preds), list(gts)


def test_metrics_are_means_over_images_and_micro_over_pixels():
    preds, gts = random_pairs(0, 5)
    result = evaluate(preds, gts, "none")
    masks = [(gt > 1e-3) & (gt < 10) for gt in gts]
    singles = [
        compute_metrics(*(torch.from_numpy(x) for x in case))
        for case in zip(preds, gts, masks, strict=True)
    ]
    macro = {name: np.mean([single[name] for single in singles]) for name in METRIC_NAMES}
    assert result.metrics == pytest.approx(macro, rel=1e-9)
    pixels = [
        torch.from_numpy(np.concatenate([x[m] for x, m in zip(maps, masks, strict=True)]))
        for maps in (preds, gts)
    ]
    micro = compute_metrics(*pixels, torch.ones_like(pixels[0], dtype=torch.bool))
    assert result.micro == pytest.approx(micro, rel=1e-9)
    ratio = np.mean(np.log(preds[1][masks[1]]) - np.log(gts[1][masks[1]]))
    assert result.per_image[1]["log_ratio"] == pytest.approx(ratio, rel=1e-5)


def test_bad_predictions_are_counted_where_scored():
    gt = torch.full((4, 5), 3.0)
    gt[3] = 0  # not scored, so what is predicted there does not count
    pred = gt.clone()
    pred[0] = torch.tensor([math.nan, math.inf, -math.inf, -2.0, 50.0])
    pred[3] = math.nan
    result = evaluate([pred], [gt], "none")
    assert (result.num_clamped, result.num_nonfinite) == (2, 3)
    clean = pred.clone()
    clean[0] = torch.tensor([1e-3, 10, 1e-3, 1e-3, 10])
    assert result.metrics == pytest.approx(compute_metrics(clean, gt, gt > 0), rel=1e-6)


def test_images_without_a_valid_pixel_are_skipped_and_counted():
    preds, gts = random_pairs(1, 4)
    gts[1][:] = 0
    gts[2][:] = 11
    result = evaluate(preds, gts, "none", num_skipped=45, num_missing=7)
    assert (result.num_images, result.num_skipped, result.num_missing) == (2, 47, 7)
    expected = evaluate([preds[0], preds[3]], [gts[0], gts[3]], "none")
    assert result.metrics == pytest.approx(expected.metrics, rel=1e-12)
    assert [row["image_path"][-9:-4] for row in result.per_image] == ["00000", "00003"]
    with pytest.raises(UserError, match="none of 2 images"):
        evaluate(preds[1:3], gts[1:3], "none")


def test_rows_of_all_processes_merge_in_list_order_and_count_once():
    preds, gts = random_pairs(2, 5)
    whole = evaluate(preds, gts, "none")
    batch = batch_of(gts)

    def share(indices: list[int]) -> list[dict]:
        rows: list[dict] = []
        evaluate_depth(
            lambda _: torch.stack([torch.from_numpy(preds[i])[None] for i in indices]),
            [part_of(batch, indices)],
            ScoringRule("none", 10),
            gather=lambda own: rows.extend(own) or own,
        )
        return rows

    padded = share([1, 3, 0])  # 0 again: samplers repeat images to fill the last process
    merged = evaluate_depth(
        lambda _: torch.stack([torch.from_numpy(preds[i])[None] for i in (4, 2, 0)]),
        [part_of(batch, [4, 2, 0])],
        ScoringRule("none", 10),
        num_skipped=3,
        gather=lambda own: own + padded,
    )
    assert merged.per_image == whole.per_image
    assert (merged.metrics, merged.num_images, merged.num_skipped) == (whole.metrics, 5, 3)


def test_flip_predicts_twice_and_averages():
    gts = torch.rand(2, 6, 32) * 5 + 1
    batch = replace(batch_of(list(gts)), image=torch.rand(2, 3, 6, 32) + 0.5)
    seen = []

    def predict(batch):
        seen.append((batch.image, torch.is_grad_enabled()))
        column = torch.linspace(0, 1, 32)
        return batch.image.mean(1, keepdim=True) * 3 + column  # not equivariant on purpose

    result = evaluate_depth(predict, [batch], ScoringRule("none", 10, flip=True))
    (plain, plain_grad), (mirrored, mirrored_grad) = seen
    assert torch.equal(plain, batch.image) and torch.equal(mirrored, plain.flip(-1))
    assert not plain_grad and not mirrored_grad and result.flip
    averaged = flip_average(predict(make_batch(plain)), predict(make_batch(mirrored)))[:, 0]
    assert result.metrics == evaluate(list(averaged), list(gts), "none").metrics


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_scored_at_full_precision(dtype):
    preds, gts = random_pairs(3, 2)
    rounded = [torch.from_numpy(pred).to(dtype) for pred in preds]
    expected = evaluate([pred.float() for pred in rounded], gts, "none")
    assert evaluate(rounded, gts, "none") == expected


def test_ground_truth_sizes_may_differ_within_a_batch():
    gts = [torch.full(size, 4.0) for size in [(375, 1242), (370, 1224), (376, 1241)]]
    result = evaluate([torch.full((352, 1216), 4.4)] * len(gts), gts, "kitti_garg_full", 80)
    assert result.num_images == 3 and result.num_clamped == 0
    assert result.metrics["abs_rel"] == pytest.approx(0.1, rel=1e-5)


def test_prediction_shape_is_checked():
    batch = batch_of([np.ones((4, 4))])
    with pytest.raises(ValueError, match=r"\[1, 1, H, W\].*\(1, 4, 4\)"):
        evaluate_depth(lambda _: torch.ones(1, 4, 4), [batch], ScoringRule("none", 10))


@pytest.fixture
def result():
    return evaluate(*random_pairs(4, 3), "none", num_skipped=2)


def test_result_file(result, tmp_path):
    path = tmp_path / "new" / "result.json"
    write_json(path, result_dict(result, checkpoint="best.pt", split="test"))
    content = json.loads(path.read_text())
    assert list(content)[:2] == ["checkpoint", "split"]
    assert set(content) == {"checkpoint", "split", "protocol", "flip", "metrics", *COUNTS}
    assert content["metrics"] == result.metrics and content["num_skipped"] == 2
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_per_image_csv(result, tmp_path):
    write_csv(tmp_path / "rows.csv", result)
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and set(rows[0]) >= {"image_path", "num_pixels", *METRIC_NAMES}
    means = {name: np.mean([float(row[name]) for row in rows]) for name in METRIC_NAMES}
    assert means == pytest.approx(result.metrics, rel=1e-12)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_table_is_aligned_and_takes_results_and_dicts(result):
    older = {"metrics": result.metrics, "protocol": "nyu_eigen", "flip": True, "num_images": 654}
    lines = format_table([("staged", result), ("a longer name", older)]).split("\n")
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    assert lines[0].split()[:2] == ["name", "abs_rel"]
    cells = lines[1].split()
    assert cells[1] == f"{result.metrics['abs_rel']:.4f}"
    assert cells[10:] == ["none", "off", "3", "2", "0", "0", "0", f"{result.gt_used:.4f}"]
    assert lines[2].split()[-8:] == ["nyu_eigen", "on", "654", "-", "-", "-", "-", "-"]
