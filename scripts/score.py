"""Score depth maps that any model has predicted, exactly as `eval.py` scores a checkpoint.

  python scripts/score.py --predictions DIR configs/nyu/data.yaml
  python scripts/score.py --predictions DIR configs/kitti/data.yaml --protocol kitti_garg_full
      --scale 256 --json out.json --csv out.csv data.root=PATH
  python scripts/score.py --predictions DIR configs/nyu/data.yaml --align median scale_shift

DIR holds a depth map for each image of the split, named like it: DIR/kitchen/rgb_00045.npy for
kitchen/rgb_00045.jpg. Floats (.npy, .npz, .pfm, .exr, .tiff) are meters; whole numbers (16-bit PNG)
need a scale: --scale, or {"depth_scale": 1000} in the JSON of the same name or in DIR/dataset.json.
The config is any stage's, or one of data only: it names data, protocol and the depth cap.

Aligned numbers are no metric ones: they have names of their own (abs_rel_median_aligned) and stand
beside the metric ones, never in their place. Images without a usable prediction make the result
incomplete, with exit code 2. docs/scoring.md says more.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from common.config import find_yaml
from common.data.batch import Batch, Failure
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.sampling import scored_alone
from common.data.splits import SplitFinder
from common.errors import UserError, run_program
from common.evaluation.alignment import Alignment, aligned_rows, column
from common.evaluation.known_distance import DistanceCalibration, read_calibration
from common.evaluation.protocols import PROTOCOLS, ProtocolMismatch
from common.evaluation.results import EvalResult
from common.evaluation.scoring import EvalConfig, evaluate_depth
from common.evaluation.watchers import NOBODY, Watchers
from common.printable import one_line
from common.programs.data_sections import read_data_sections
from common.programs.inference import scoring_rule
from common.programs.report_folder import ReportFolder
from common.programs.result_files import check_result_files, hand_out, naming_options
from common.runtime.claims import claim_folder
from common.runtime.processes import Processes
from scripts.scoring.predicted_maps import (
    PredictedMaps,
    check_maps,
    find_maps,
    positive_number,
    read_facts,
)

ALIGNMENTS = get_args(Alignment)
ASPECT_TOLERANCE = 0.02  # network sizes are multiples of 32: a little stretched is usual


@dataclass(frozen=True)
class ScoreConfig:
    """The sections of a config that say what is scored, and how."""

    data: DataConfig
    eval: EvalConfig = field(default_factory=EvalConfig)


def main() -> None:
    """Score the maps; a report's folder is held, so that two programs do not mix theirs."""
    arguments = _parse()
    with ExitStack() as held:
        if arguments.report:
            held.enter_context(claim_folder(Path(arguments.report), "name another folder"))
        score(arguments)


def score(arguments: argparse.Namespace) -> None:
    """Find the maps, score them, print and write the result."""
    check_result_files(arguments.json, arguments.csv)
    report = ReportFolder(Path(arguments.report)) if arguments.report else None
    config = read_config(arguments)
    finder = SplitFinder(config.data)
    dataset = build_dataset(config.data, finder.find(arguments.split))
    for note in dict.fromkeys((*finder.notes, *dataset.notes)):
        print(one_line(note), file=sys.stderr)
    wanted = list(dataset.samples.keys)[: config.eval.max_images]
    maps = find_maps(Path(arguments.predictions), wanted, arguments.scale)
    calibration = arguments.calibration and read_calibration(Path(arguments.calibration))
    if calibration:
        check_maps(maps, calibration)
    try:
        reader = MapReader(maps, dataset.data_set.crop_size, calibration)
        watchers = Watchers(on_scored=report.gathered.add if report else None)
        result, notes = score_maps(reader, wanted, dataset, config, arguments.align, watchers)
    except ProtocolMismatch as error:
        raise error.naming_option() from error
    for note in (*describe_maps(maps, len(wanted)), *notes):
        print(one_line(note), file=sys.stderr)
    labels = {
        "predictions": str(maps.folder),
        "recipe": "predictions",
        "stage": maps.folder.resolve().name,
        "data": str(config.data.root),
        "split": arguments.split,
    }
    if calibration:
        labels["calibrated"] = f"{arguments.calibration}: {calibration.describe()}"
    elif reader.num_calibrated:
        labels["calibrated"] = f"{reader.num_calibrated} of the maps, as the JSON beside them says"
    try:
        hand_out(result, labels, arguments.json, arguments.csv, arguments.micro)
    finally:
        if report is not None:
            alone = Processes(0, 1, torch.device("cpu"))
            report.write(result, labels, config.data.max_depth, alone)
        if result.gt_use.is_loud:
            print(result.gt_use.describe("scored", config.data.max_depth), file=sys.stderr)


def read_config(arguments: argparse.Namespace) -> ScoreConfig:
    """The config file's data and evaluation, with what the command line says."""
    overrides = list(arguments.overrides)
    for override in overrides:
        if override.startswith(("eval.flip=", "eval.captions=")):
            raise UserError(
                f"command line: {override} changes what a network predicts; these predictions are "
                "made already"
            )
    if arguments.protocol:
        overrides.append(f"eval.protocol={arguments.protocol}")
    config = read_data_sections(ScoreConfig, find_yaml(arguments.config), overrides).config
    evaluation = replace(config.eval, flip=False, captions="first")
    if not any(override.startswith("eval.max_images=") for override in overrides):
        evaluation = replace(evaluation, max_images=None)  # limits validation while training
    return replace(config, eval=evaluation)


def score_maps(
    reader: "MapReader",
    wanted: list[str],
    dataset: DepthDataset,
    config: ScoreConfig,
    alignments: tuple[Alignment, ...] = (),
    watchers: Watchers = NOBODY,
) -> tuple[EvalResult, list[str]]:
    """The result of the images `wanted`, those at the start of the data set; and notes about it."""
    maps = reader.maps
    rows = [row for row, key in enumerate(wanted) if key in maps.files]
    loader: Iterator[Batch | Failure] = chain(
        scored_alone(dataset, rows), map(maps.failure, maps.missing)
    )
    rule = scoring_rule(dataset, config.eval, config.data.max_depth, with_medians=True)
    result = evaluate_depth(
        reader.predict,
        loader,
        replace(rule, alignments=alignments),
        num_images=len(wanted),
        num_skipped=dataset.split.num_without_gt,
        num_missing=dataset.split.num_missing,
        watchers=watchers,
    )
    about_aligned = [*describe_unaligned(result, alignments), *describe_inverse(result)]
    return naming_options(result), [*reader.notes(), *about_aligned]


class MapReader:
    """Stands in for a network: gives the map of a batch's one image."""

    def __init__(
        self,
        maps: PredictedMaps,
        crop_size: tuple[int, int] | None,
        calibration: DistanceCalibration | None = None,
    ) -> None:
        """crop_size: of the data set's images, if a network is given crops."""
        self.maps, self.crop_size, self.calibration = maps, crop_size, calibration
        self.stretched: list[str] = []
        self.num_without, self.without_values, self.num_calibrated = 0, 0, 0

    def predict(self, batch: Batch) -> Tensor:
        """[1, 1, H, W], meters. A `UserError` if the image's map is unusable."""
        (key,), (gt,) = batch.key, batch.gt_depth
        depth = self.maps.read(key)
        self.num_calibrated += read_facts(self.maps.files[key]).is_calibrated
        self._check_size(key, (depth.shape[0], depth.shape[1]), (gt.shape[-2], gt.shape[-1]))
        num_without = int((~torch.isfinite(depth)).sum())
        self.num_without += num_without > 0
        self.without_values += num_without
        return (self.calibration.apply(depth) if self.calibration else depth)[None, None]

    def _check_size(self, key: str, own: tuple[int, int], gt: tuple[int, int]) -> None:
        if own == gt or own == self.crop_size:
            return
        if self.crop_size is not None:
            raise UserError(
                f"{self.maps.files[key]} is {own[0]}x{own[1]}; predictions of this data set must "
                f"be of the whole frame, {gt[0]}x{gt[1]}, or of its crop, "
                f"{self.crop_size[0]}x{self.crop_size[1]} (bottom, centered): resize them first"
            )
        if abs(np.log(own[0] / own[1] * gt[1] / gt[0])) > ASPECT_TOLERANCE:
            self.stretched.append(f"{key} ({own[0]}x{own[1]}, ground truth {gt[0]}x{gt[1]})")

    def notes(self) -> list[str]:
        """What a reader of the numbers should know of the maps."""
        notes = []
        if self.stretched:
            notes.append(
                f"warning: {len(self.stretched)} predictions have another shape than their ground "
                f"truth and are stretched to it, first {self.stretched[0]}; crops would be "
                "compared with other places"
            )
        if self.num_without:
            notes.append(
                f"warning: {self.num_without} predictions have {self.without_values:,} values that "
                "are not finite (or 0 or 65535 in whole numbers, no value); they are scored as "
                "the least depth, 0.001 m, infinite ones as the largest"
            )
        return notes


def describe_maps(maps: PredictedMaps, num_images: int) -> list[str]:
    """What the folder has too little and too much of."""
    notes = []
    if maps.missing:
        notes.append(
            f"warning: {len(maps.missing)} of {num_images} images have no prediction, first "
            f"{next(iter(maps.missing))}"
        )
    if maps.extra:
        notes.append(
            f"note: {len(maps.extra)} depth files in {maps.folder} are of no image of this split "
            f"and are not read, first {maps.extra[0]}"
        )
    if maps.twins:
        notes.append(
            f"note: {len(maps.twins)} files are there in another format, which is scored, first "
            f"{maps.twins[0]}"
        )
    return notes


def describe_unaligned(result: EvalResult, alignments: tuple[Alignment, ...]) -> list[str]:
    """A line for each alignment that some images do not allow; their metric numbers are there."""
    notes = []
    for alignment in alignments:
        able = {row["image_path"] for row in aligned_rows(result.per_image, alignment)}
        images = [row["image_path"] for row in result.per_image]
        unable = [image for image in images if image not in able]
        if unable:
            notes.append(
                f"warning: {len(unable)} of {len(images)} predictions cannot be aligned by "
                f"{alignment} (their median is not above 0, or nothing is finite), first "
                f"{unable[0]}; its aligned numbers are those of the others"
            )
    return notes


def describe_inverse(result: EvalResult) -> list[str]:
    """A line if predictions grow where depth falls: they may be disparity."""
    if "scale_shift" not in result.aligned:
        return []
    rows = aligned_rows(result.per_image, "scale_shift")
    factors = [row[column("scale", "scale_shift")] for row in rows]
    num_negative = sum(factor < 0 for factor in factors)
    if not num_negative:
        return []
    return [
        f"warning: {num_negative} of {len(factors)} predictions fall where depth grows (scale "
        "below 0): if they are inverse depth (disparity), convert them to depth first"
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--predictions", required=True, metavar="DIR", help="a depth map for each image")
    add("--split", choices=("train", "val", "test"), default="test")
    add("--protocol", metavar="NAME", help=f"one of {', '.join(PROTOCOLS)}")
    add(
        "--scale",
        type=positive_number,
        metavar="NUMBER",
        help="stored units of a meter in 16-bit PNG",
    )
    add(
        "--align",
        nargs="+",
        default=[],
        metavar="HOW",
        help=f"also score after {' and '.join(ALIGNMENTS)}; none: metric numbers alone (default)",
    )
    add(
        "--calibration", metavar="FILE.json", help="score the depth after it (scripts/calibrate.py)"
    )
    add("--micro", action="store_true", help="also average over pixels instead of images")
    add("--json", metavar="OUT.json", help="write the result, as eval.py does")
    add("--csv", metavar="OUT.csv", help="write one line per image, as eval.py does")
    add("--report", metavar="DIR", help="write a page of tables, charts and pictures (report.html)")
    add("words", nargs="*", metavar="CONFIG.yaml key=value", help="the data, and single settings")
    arguments = parser.parse_intermixed_args()
    return _sorted_words(arguments)


def _sorted_words(arguments: argparse.Namespace) -> argparse.Namespace:
    """--align takes all words that follow it, also a config and settings: these are put right."""
    known = ("none", *ALIGNMENTS)
    asked = [word for word in arguments.align if word in known]
    words = [*arguments.words, *(word for word in arguments.align if word not in known)]
    arguments.overrides = [word for word in words if "=" in word]
    files = [word for word in words if "=" not in word]
    unknown = next((w for w in arguments.align if w in files and not w.endswith("ml")), None)
    if unknown is not None:
        raise UserError(f"--align {unknown}: must be {', '.join(known)}")
    if len(files) != 1:
        raise UserError(f"command line: expected one CONFIG.yaml, got {files or 'none'}")
    arguments.config = files[0]
    arguments.align = tuple(dict.fromkeys(word for word in asked if word != "none"))
    return arguments


if __name__ == "__main__":
    run_program(main)
