"""Depth evaluation: the loop over a data set, from predictions to an `EvalResult`."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.config import require_at_least
from common.data.batch import Batch, Failure
from common.data.ground_truth import GroundTruthUse, count_use, total_use
from common.errors import UserError
from common.evaluation.alignment import Alignment, aligned_scores, average_aligned
from common.evaluation.all_captions import average_captions, caption_spread
from common.evaluation.metrics import (
    average_over_images,
    average_over_pixels,
    median,
    positions_of,
    sanitize,
    score_image,
)
from common.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    cropped,
    describe_unknown,
    find_protocol,
    valid_mask,
)
from common.evaluation.results import EvalResult, Row
from common.evaluation.watchers import NOBODY, OnScored, ScoredImage, Watchers
from common.progress import progress_bar

MOST_POINTS = 4096  # of an image, where only their median is asked for
GIVE_UP_AFTER = 16  # images that fail while none is scored: it is the setting, not the files


@dataclass(frozen=True)
class EvalConfig:
    """When and how a run is evaluated."""

    every: int = 1000  # steps between two validations
    protocol: str = "nyu_eigen"  # crop and frame that are scored
    flip: bool = False  # average with the prediction of the mirrored image
    batch_size: int = 8  # images that are predicted at once
    max_images: int | None = None  # the first so many, in validations while training; None: all
    saved_depth_scale: float | None = None  # units of a meter in saved maps; None: the data set's
    # Of an image's several: the first, or the geometric mean of its predictions with each.
    captions: Literal["first", "all"] = "first"

    def __post_init__(self) -> None:
        require_at_least(1, self, "every", "batch_size", "max_images")
        if self.saved_depth_scale is not None and not 0 < self.saved_depth_scale < math.inf:
            raise ValueError(f"saved_depth_scale: {self.saved_depth_scale} is not above 0")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol: {describe_unknown(self.protocol)}")

    @property
    def reads_all_captions(self) -> bool:
        return self.captions == "all"


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
    crops of the ground truth's frames. all_captions: rows also say how far apart the predictions
    are that an image has with each of its captions; the mean of them is scored. with_medians: rows
    also hold the median depths. alignments: rows also hold the scores after these, under names of
    their own (`alignment.py`).
    """

    protocol: str
    max_depth: float  # meters
    flip: bool = False
    is_cropped: bool = False
    all_captions: bool = False
    with_medians: bool = False
    alignments: tuple[Alignment, ...] = ()


@torch.no_grad()
def evaluate_depth(
    predict: Callable[[Batch], Tensor],
    loader: Iterable[Batch | Failure],
    rule: ScoringRule,
    *,
    num_images: int | None = None,
    num_skipped: int = 0,
    num_missing: int = 0,
    gather: Callable[[list], list] | None = None,
    watchers: Watchers = NOBODY,
) -> EvalResult:
    """Score the predictions for every batch of an evaluation loader.

    predict: batch -> depth [B, 1, H, W] in meters, of any device and float type. loader: collated
    evaluation batches, and the images that could not be read. num_images: how many will come.
    num_skipped, num_missing: images the data set has left out already, without ground truth and
    without a file. gather: merges the rows of all processes into one list, on each of them; an
    image that a sampler gave to two processes counts once. watchers: are shown each image.

    One image that fails does not stop the others: it is among the result's failures. A `UserError`
    where no image can be scored; every process raises it.
    """
    rows: list[Row] = []
    failures: list[Failure] = []
    with progress_bar("evaluate", num_images, unit="image", stays=False) as bar:
        for batch in loader:
            if isinstance(batch, Failure):
                failures.append(batch)
                bar.update()
                continue
            try:
                pred_depth, facts = predict_captions(predict, batch, rule)
            except UserError as error:
                failures += [Failure(name, error) for name in batch.key]
            else:
                scored, failed = score_batch(pred_depth, batch, rule, facts, watchers.on_scored)
                rows, failures = rows + scored, failures + failed
                watchers, failed = watchers.hand_on(batch.key, pred_depth)
                failures += failed
            bar.update(len(batch))
            if not rows and len(failures) >= GIVE_UP_AFTER:
                break
    if gather is not None:
        rows, failures = gather(rows), gather(failures)
    if failures and not any(row["num_pixels"] for row in rows):
        raise failures[0].error
    return replace(summarize(rows, rule, num_skipped, num_missing), failures=failures)


def predict_captions(
    predict: Callable[[Batch], Tensor], batch: Batch, rule: ScoringRule
) -> tuple[Tensor, list[Row]]:
    """The depth [B, 1, H, W] that is scored, and what an image's row says of its captions."""

    def predict_one(words: Batch) -> Tensor:
        return predict_batch(predict, words, rule.flip)

    if not rule.all_captions:
        return predict_one(batch), [{} for _ in batch.key]
    pred_depth, medians = average_captions(predict_one, batch, rule.max_depth)
    return pred_depth, [
        {"num_captions": len(own), "caption_spread": caption_spread(own)} for own in medians
    ]


def predict_batch(predict: Callable[[Batch], Tensor], batch: Batch, flip: bool) -> Tensor:
    """Depth [B, 1, H, W] of a batch, with `flip` averaged with that of the mirrored images."""
    pred_depth = predict(batch)
    if not flip:
        return pred_depth
    return flip_average(pred_depth.float(), predict(batch.flipped()).float())


def score_batch(
    pred_depth: Tensor,
    batch: Batch,
    rule: ScoringRule,
    facts: Sequence[Row] | None = None,
    on_scored: OnScored | None = None,
) -> tuple[list[Row], list[Failure]]:
    """The rows of a batch's images, and those that the protocol cannot score.

    pred_depth: [B, 1, H, W], meters. facts: what else the row of each image says. on_scored: is
    shown each image that has a scored pixel.
    """
    protocol = find_protocol(rule.protocol, rule.is_cropped)
    names = batch.key
    if pred_depth.ndim != 4 or pred_depth.shape[:2] != (len(names), 1):
        raise ValueError(
            f"predictions must be [{len(names)}, 1, H, W], got {tuple(pred_depth.shape)}"
        )
    rows: list[Row] = []
    failures: list[Failure] = []
    known = facts or [{}] * len(names)
    for number, (raw_pred, raw_gt, name, position, more) in enumerate(
        zip(pred_depth[:, 0].float(), batch.gt_depth, names, batch.position, known, strict=True)
    ):
        raw_gt = raw_gt[0].to(raw_pred.device)
        try:
            pred, gt = protocol.align(raw_pred, raw_gt, name)
            valid = valid_mask(gt, protocol, rule.max_depth)
            aligned = aligned_scores(pred, gt, valid, rule.max_depth, rule.alignments)
        except UserError as error:
            failures.append(Failure(name, error))
            continue
        scores = score_image(pred, gt, valid, rule.max_depth, rule.with_medians)
        use = count_use(cropped(gt, protocol), cropped(valid, protocol))
        measured = {"num_measured": use.num_measured, "farthest": use.farthest}
        told = {**scores, **measured, **more, **aligned}
        rows.append({"position": int(position), "image_path": name, **told})
        if on_scored is not None and scores["num_pixels"]:
            into_frame = partial(_into_frame, protocol, raw_gt, name)
            size = (raw_pred.shape[0], raw_pred.shape[1])
            seen = (batch.image[number], batch.caption[number], pred, gt, valid)
            on_scored(ScoredImage(rows[-1], *seen, rule.max_depth, size, into_frame))
    return rows, failures


def _into_frame(protocol: Protocol, gt_depth: Tensor, name: str, values: Tensor) -> Tensor:
    """A map of the prediction's size in the protocol's frame."""
    return protocol.align(values, gt_depth, name)[0]


def scored_points(gt_depth: Tensor, size: tuple[int, int], image: str, rule: ScoringRule) -> Tensor:
    """Where an image's scored pixels lie in predictions of a size (H, W): [P, 2], P <= 4096.

    Column and row of the place that is interpolated there, in [-1, 1] as for `grid_sample`; evenly
    spaced ones where there are more. The protocol itself says it: it aligns maps of the places.
    gt_depth: [h, w]. A `UserError` if the protocol cannot score the image.
    """
    protocol = find_protocol(rule.protocol, rule.is_cropped)
    rows, columns = (torch.linspace(1 / n - 1, 1 - 1 / n, n) for n in size)  # centers of pixels
    places = torch.meshgrid(columns, rows, indexing="xy")
    x, y = (protocol.align(place, gt_depth, image)[0] for place in places)
    gt = protocol.align(places[0], gt_depth, image)[1]
    scored = positions_of(valid_mask(gt, protocol, rule.max_depth))
    some = scored[:: -(-len(scored) // MOST_POINTS) or 1]
    return torch.stack((x.take(some), y.take(some)), dim=-1)


def median_at(depth: Tensor, points: Tensor, max_depth: float) -> float:
    """The median of a prediction over its `scored_points`: [H, W], [P, 2], P >= 1 -> meters."""
    clean = sanitize(depth, max_depth)[0][None, None]
    grid = points.to(depth.device)[None, None]  # [1, 1, P, 2]
    values = F.grid_sample(clean, grid, padding_mode="border", align_corners=False)
    return median(values.flatten())


def summarize(
    rows: list[Row], rule: ScoringRule, num_skipped: int = 0, num_missing: int = 0
) -> EvalResult:
    """The result of all images; a `UserError` where none has a valid pixel."""
    unique = {(row["position"], row["image_path"]): row for row in rows}
    ordered = [unique[key] for key in sorted(unique)]
    scored = [row for row in ordered if row["num_pixels"] > 0]
    inner = ("position", "farthest")
    num_skipped += len(ordered) - len(scored)
    if not scored:
        raise UserError(
            f"protocol {rule.protocol}: none of {num_skipped} images has a valid ground-truth "
            "pixel; check the data root, its depth scale and data.max_depth"
        )
    return EvalResult(
        protocol=rule.protocol,
        flip=rule.flip,
        num_images=len(scored),
        num_skipped=num_skipped,
        num_missing=num_missing,
        num_clamped=sum(row["num_clamped"] for row in scored),
        num_nonfinite=sum(row["num_nonfinite"] for row in scored),
        gt_use=total_use(
            GroundTruthUse(row["num_measured"], row["num_pixels"], row["farthest"])
            for row in ordered
        ),
        metrics=average_over_images(scored),
        micro=average_over_pixels(scored),
        aligned=average_aligned(scored, rule.alignments),
        per_image=[{k: v for k, v in row.items() if k not in inner} for row in scored],
    )
