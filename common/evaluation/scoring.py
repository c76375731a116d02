"""Depth evaluation: the loop over a data set, its result, and the tables made from it."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from common.config import require_at_least
from common.data.batch import Batch
from common.errors import UserError
from common.evaluation.metrics import (
    METRIC_NAMES,
    average_over_images,
    average_over_pixels,
    score_image,
)
from common.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    describe_unknown,
    find_protocol,
    valid_mask,
)
from common.files import write_text

Row = dict[str, Any]
SUMMARY_KEYS = (
    "protocol",
    "flip",
    "num_images",
    "num_skipped",
    "num_missing",
    "num_clamped",
    "num_nonfinite",
)


@dataclass(frozen=True)
class EvalConfig:
    """When and how a run is evaluated."""

    every: int = 1000  # steps
    protocol: str = "nyu_eigen"
    flip: bool = False
    batch_size: int = 8
    max_images: int | None = None

    def __post_init__(self) -> None:
        require_at_least(1, self, "every", "batch_size", "max_images")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol: {describe_unknown(self.protocol)}")


@dataclass(frozen=True)
class EvalResult:
    """Metrics of a data set.

    metrics: mean over images of each metric, as published. micro: the same metrics with every
    scored pixel counting the same. num_skipped: images without any valid pixel, and those the data
    set had left out already. num_missing: images of the list whose files are missing. num_clamped,
    num_nonfinite: scored pixels whose prediction was finite but outside [1e-3, max_depth], and
    those where it was nan or infinite. per_image: one row for each scored image, in the order of
    the list: `image_path`, the nine metrics, `log_ratio` (mean of ln pred - ln gt), `num_pixels`,
    `num_clamped`, `num_nonfinite`.
    """

    protocol: str
    flip: bool
    num_images: int
    num_skipped: int
    num_missing: int
    num_clamped: int
    num_nonfinite: int
    metrics: dict[str, float]
    micro: dict[str, float]
    per_image: list[Row]


def flip_average(plain: Tensor, flipped: Tensor) -> Tensor:
    """Average the prediction of an image with that of its mirror image.

    The mean of both, but within 5 % of the width from a border only the prediction that had this
    border on its right, with a linear transition from 5 to 10 % (Monodepth's post-processing).

    plain, flipped: [..., W]; `flipped` as predicted for the mirror image, not yet mirrored back.
    """
    mirrored_back = flipped.flip(-1)
    x = torch.linspace(0, 1, plain.shape[-1], device=plain.device)
    left = 1 - (20 * (x - 0.05)).clamp(0, 1)
    right = left.flip(-1)
    mean = (plain + mirrored_back) / 2
    return left * mirrored_back + right * plain + (1 - left - right) * mean


@dataclass(frozen=True)
class ScoringRule:
    """How predictions are scored.

    flip: average with the prediction for the mirrored image. is_cropped: the images are KITTI's
    crops of the ground truth's frames.
    """

    protocol: str
    max_depth: float  # meters
    flip: bool = False
    is_cropped: bool = False


@torch.no_grad()
def evaluate_depth(
    predict: Callable[[Batch], Tensor],
    loader: Iterable[Batch],
    rule: ScoringRule,
    *,
    num_skipped: int = 0,
    num_missing: int = 0,
    gather: Callable[[list[Row]], list[Row]] | None = None,
    on_prediction: Callable[[str, Tensor], None] | None = None,
    description: str = "evaluate",
) -> EvalResult:
    """Score the predictions for every batch of an evaluation loader.

    predict: batch -> depth [B, 1, H, W] in meters, of any device and float type. loader: collated
    evaluation batches. num_skipped, num_missing: images the data set has left out already, without
    ground truth and without a file. gather: merges the rows of all processes into one list, on each
    of them; an image that a sampler gave to two processes counts once. on_prediction: called with
    each image's name and the prediction [H, W] that is scored, as it comes from the network.
    """
    protocol = find_protocol(rule.protocol, rule.is_cropped)
    rows: list[Row] = []
    for batch in tqdm(loader, desc=description, disable=is_quiet(), leave=False):
        pred_depth = predict_batch(predict, batch, rule.flip)
        rows += _score_batch(pred_depth, batch, protocol, rule.max_depth)
        if on_prediction is not None:
            for name, pred in zip(batch.key, pred_depth[:, 0], strict=True):
                on_prediction(name, pred)
    if gather is not None:
        rows = gather(rows)
    return _summarize(rows, rule.protocol, rule.flip, num_skipped, num_missing)


def predict_batch(predict: Callable[[Batch], Tensor], batch: Batch, flip: bool) -> Tensor:
    """Depth [B, 1, H, W] of a batch, with `flip` averaged with that of the mirrored images."""
    pred_depth = predict(batch)
    if not flip:
        return pred_depth
    return flip_average(pred_depth.float(), predict(batch.flipped()).float())


def is_quiet() -> bool | None:
    """Progress is shown by the first process, and there (None) on a terminal only."""
    return None if os.environ.get("RANK", "0") == "0" else True


def _score_batch(
    pred_depth: Tensor, batch: Batch, protocol: Protocol, max_depth: float
) -> list[Row]:
    names = batch.key
    if pred_depth.ndim != 4 or pred_depth.shape[:2] != (len(names), 1):
        raise ValueError(
            f"predictions must be [{len(names)}, 1, H, W], got {tuple(pred_depth.shape)}"
        )
    rows = []
    for pred, gt, name, position in zip(
        pred_depth[:, 0].float(), batch.gt_depth, names, batch.position, strict=True
    ):
        pred, gt = protocol.align(pred, gt[0].to(pred.device), name)
        scores = score_image(pred, gt, valid_mask(gt, protocol, max_depth), max_depth)
        rows.append({"position": int(position), "image_path": name, **scores})
    return rows


def _summarize(
    rows: list[Row], protocol: str, flip: bool, num_skipped: int, num_missing: int
) -> EvalResult:
    unique = {(row["position"], row["image_path"]): row for row in rows}
    ordered = [unique[key] for key in sorted(unique)]
    scored = [row for row in ordered if row["num_pixels"] > 0]
    num_skipped += len(ordered) - len(scored)
    if not scored:
        raise UserError(
            f"protocol {protocol}: none of {num_skipped} images has a valid ground-truth pixel; "
            "check the data root, its depth scale and data.max_depth"
        )
    return EvalResult(
        protocol=protocol,
        flip=flip,
        num_images=len(scored),
        num_skipped=num_skipped,
        num_missing=num_missing,
        num_clamped=sum(row["num_clamped"] for row in scored),
        num_nonfinite=sum(row["num_nonfinite"] for row in scored),
        metrics=average_over_images(scored),
        micro=average_over_pixels(scored),
        per_image=[{k: v for k, v in row.items() if k != "position"} for row in scored],
    )


def result_dict(result: EvalResult, **labels: str) -> dict[str, Any]:
    """Return what a result file holds: the labels (checkpoint, split, ...), counts and metrics."""
    counts = {key: getattr(result, key) for key in SUMMARY_KEYS}
    return {**labels, **counts, "metrics": dict(result.metrics)}


def format_table(rows: Sequence[tuple[str, EvalResult | dict[str, Any]]]) -> str:
    """Return an aligned text table, one line for each (name, result or `result_dict`)."""
    header = ["name", *METRIC_NAMES, *(key.removeprefix("num_") for key in SUMMARY_KEYS)]
    lines = [header]
    for name, result in rows:
        entry = result_dict(result) if isinstance(result, EvalResult) else result
        metrics = [f"{entry['metrics'][key]:.4f}" for key in METRIC_NAMES]
        lines.append([name, *metrics, *(_cell(entry.get(key)) for key in SUMMARY_KEYS)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_join(line, widths) for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _join(line: list[str], widths: list[int]) -> str:
    name, *cells = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([name, *cells])


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (see `result_dict`) as JSON; the file appears whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, result: EvalResult) -> None:
    """Write one line for each scored image; the file appears whole or not at all."""
    names = list(result.per_image[0])
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.per_image)
    write_text(path, table.getvalue())
