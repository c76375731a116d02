"""The options of every stage's `eval.py`."""

import argparse
from pathlib import Path

from common.errors import UserError
from common.evaluation.protocols import PROTOCOLS

BENCHMARK = "kitti_benchmark"  # the split without ground truth


def parse_evaluation(doc: str) -> argparse.Namespace:
    """The options of `eval.py`, checked as far as they alone can be."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PATH", help="a .pt or .onnx file, or a run folder")
    add("--config", metavar="CONFIG.yaml", help="overrides the checkpoint's own config")
    add("--split", choices=("train", "val", "test", BENCHMARK), default="test")
    add("--protocol", metavar="NAME", help=f"one of {', '.join(PROTOCOLS)}")
    add("--flip", action="store_true", help="average with the mirrored image's prediction")
    add("--micro", action="store_true", help="also average over pixels instead of images")
    add("--json", metavar="OUT.json", help="write the result")
    add("--csv", metavar="OUT.csv", help="write one line per image")
    add("--report", metavar="DIR", help="write a page of tables, charts and pictures (report.html)")
    add(
        "--samples",
        type=int,
        metavar="N",
        help="score what the words alone say (stage 1, joint), and N (say 100) scenes drawn "
        "from it per image: coverage and width of intervals, NLL and CRPS of the log median depth",
    )
    add(
        "--save-predictions",
        metavar="DIR",
        help="write 16-bit depth PNG files in the network's size (KITTI: the 352x1216 crop) and in "
        "the data set's unit (eval.saved_depth_scale=NUMBER stored units make a meter)",
    )
    add(
        "--calibration",
        metavar="FILE.json",
        help="score the depth after this calibration by known distances (scripts/calibrate.py)",
    )
    add("--save-submission", metavar="OUT.zip", help=f"for KITTI's server, with {BENCHMARK}")
    add("overrides", nargs="*", metavar="key=value", help="change single settings")
    arguments = parser.parse_intermixed_args()
    _check_benchmark_options(arguments)
    folders = (arguments.report, arguments.save_predictions)
    if all(folders) and len({Path(folder).resolve() for folder in folders}) == 1:
        raise UserError(f"--report and --save-predictions both name {arguments.report}; name two")
    if arguments.calibration and arguments.samples:
        raise UserError("--calibration: not with --samples, which scores what the words alone say")
    return arguments


def _check_benchmark_options(arguments: argparse.Namespace) -> None:
    """The benchmark has no ground truth, so nothing is scored; it gives a submission instead."""
    if arguments.split != BENCHMARK:
        if arguments.save_submission:
            raise UserError(f"--save-submission: only with --split {BENCHMARK}")
        return
    if not arguments.save_submission:
        raise UserError(
            f"--split {BENCHMARK} has no ground truth to score; add --save-submission OUT.zip"
        )
    scoring = "protocol micro json csv report samples save_predictions calibration"
    for name in scoring.split():
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option}: not with --split {BENCHMARK}, which only gives the zip")
