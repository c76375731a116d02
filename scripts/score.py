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

import torch

from common.config import find_yaml
from common.data.batch import Batch, Failure
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.sampling import scored_alone
from common.data.splits import SplitFinder
from common.errors import UserError, run_program
from common.evaluation.alignment import Alignment
from common.evaluation.known_distance import read_calibration
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
from scripts.scoring.map_reader import MapReader
from scripts.scoring.notes import describe_inverse, describe_maps, describe_unaligned
from scripts.scoring.predicted_maps import check_maps, find_maps, positive_number

ALIGNMENTS = get_args(Alignment)


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
    reader: MapReader,
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
