"""The command line of every stage's `eval.py`; the options are the same in all of them."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from common.config import apply_overrides, build_config, find_yaml, merge_yaml, resolve_path
from common.data.dataset import Split
from common.errors import UserError
from common.evaluation.protocols import PROTOCOLS
from common.evaluation.scoring import (
    EvalResult,
    format_table,
    result_dict,
    write_csv,
    write_json,
)
from common.images.depth_files import DepthWriter
from common.programs.assembly import load_split
from common.programs.inference import Predict, evaluate_dataset
from common.programs.run import RunConfig
from common.programs.submission import export_submission
from common.runtime.checkpoints import find_checkpoint, load_checkpoint
from common.runtime.processes import Processes, join_processes

BENCHMARK = "kitti_benchmark"  # the split without ground truth


@dataclass(frozen=True)
class StageProgram:
    """What a stage's evaluation is made of."""

    stage: str
    config_type: type[RunConfig]
    load_model: Callable[[dict[str, Any]], nn.Module]  # of a checkpoint
    predict: Predict
    recipe: str = "staged"


def run_evaluation(doc: str, *programs: StageProgram) -> None:
    """Parse the command line, score the checkpoint, print the table, write what was asked for.

    programs: one per recipe of the stage; the checkpoint says which it needs.
    """
    arguments = _parse(doc)
    stage = programs[0].stage
    place = resolve_path(arguments.checkpoint, True)
    path = find_checkpoint(place, stage, "--checkpoint PATH")
    saved = load_checkpoint(path, stage=stage, recipes=tuple(p.recipe for p in programs))
    program = next(p for p in programs if p.recipe == saved["recipe"])
    config_file = find_yaml(arguments.config) if arguments.config else None
    words = _override_words(arguments)
    with join_processes() as processes:
        if arguments.split == BENCHMARK:
            config, model = _open_checkpoint(program, path, processes, config_file, words)
            zip_path = Path(arguments.save_submission)
            text = export_submission(model, program.predict, config, processes, zip_path)
            if processes.is_main:
                print(text)
            return
        result, config = evaluate_checkpoint(
            program,
            path,
            arguments.split,
            processes,
            config_file,
            words,
            arguments.save_predictions,
        )
        if processes.is_main:
            _report(result, result_labels(program, path, config, arguments.split), arguments)


def evaluate_checkpoint(
    program: StageProgram,
    path: Path,
    split: Split,
    processes: Processes,
    config_file: Path | None = None,
    overrides: list[str] | None = None,
    save_predictions: str | None = None,
) -> tuple[EvalResult, RunConfig]:
    """Score a checkpoint on a split with its own config; `config_file` and overrides change it.

    save_predictions: folder for 16-bit depth PNG files (KITTI's are its crops, 352x1216). Returns
    the result and the config used.
    """
    config, model = _open_checkpoint(program, path, processes, config_file, overrides or [])
    dataset = load_split(config, split, model, processes)
    if processes.is_main and dataset.notes:
        print(*dataset.notes, sep="\n", file=sys.stderr)
    writer = None
    if save_predictions is not None:
        files = {sample.key: sample.image_file for sample in dataset.samples}
        writer = DepthWriter(Path(save_predictions), dataset.layout.depth_scale, files)
    result = evaluate_dataset(
        model, program.predict, dataset, config.eval, config.data.max_depth, processes, writer
    )
    return result, config


def _open_checkpoint(
    program: StageProgram,
    path: Path,
    processes: Processes,
    config_file: Path | None,
    words: list[str],
) -> tuple[RunConfig, nn.Module]:
    """The checkpoint's config, changed by the file and the words, and its network."""
    saved = load_checkpoint(path, stage=program.stage, recipes=(program.recipe,))
    tree, sources = saved["config"], {"": str(path)}
    tree["eval"].pop("max_images", None)  # limits validation while training, not this
    if config_file is not None:
        merge_yaml(tree, sources, config_file)
    apply_overrides(tree, sources, words)
    config = build_config(program.config_type, tree, sources)
    return config, program.load_model(saved).to(processes.device)


def result_labels(
    program: StageProgram, path: Path, config: RunConfig, split: str
) -> dict[str, str]:
    """What a result file says beside the numbers."""
    return {
        "checkpoint": str(path),
        "recipe": program.recipe,
        "stage": program.stage,
        "data": str(config.data.root),
        "split": split,
    }


def _parse(doc: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PATH", help="a .pt file or a run folder")
    add("--config", metavar="CONFIG.yaml", help="overrides the checkpoint's own config")
    add("--split", choices=("train", "val", "test", BENCHMARK), default="test")
    add("--protocol", metavar="NAME", help=f"one of {', '.join(PROTOCOLS)}")
    add("--flip", action="store_true", help="average with the mirrored image's prediction")
    add("--micro", action="store_true", help="also average over pixels instead of images")
    add("--json", metavar="OUT.json", help="write the result")
    add("--csv", metavar="OUT.csv", help="write one line per image")
    add("--save-predictions", metavar="DIR",
        help="write 16-bit depth PNG files in the network's size (KITTI: the 352x1216 crop) and in "
        "the data set's unit")  # fmt: skip
    add("--save-submission", metavar="OUT.zip", help=f"for KITTI's server, with {BENCHMARK}")
    add("overrides", nargs="*", metavar="key=value", help="change single settings")
    arguments = parser.parse_intermixed_args()
    _check_benchmark_options(arguments)
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
    for name in ("protocol", "micro", "json", "csv", "save_predictions"):
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option}: not with --split {BENCHMARK}, which only gives the zip")


def _override_words(arguments: argparse.Namespace) -> list[str]:
    for word in arguments.overrides:
        if not word.startswith(("data.", "text.", "eval.", "output_root=")):
            raise UserError(
                f"command line: {word} cannot be changed here: the checkpoint fixes it; data.*, "
                "text.*, eval.* and output_root can"
            )
    words = list(arguments.overrides)
    if arguments.protocol:
        words.append(f"eval.protocol={arguments.protocol}")
    if arguments.flip:
        words.append("eval.flip=true")
    return words


def _report(result: EvalResult, labels: dict[str, str], arguments: argparse.Namespace) -> None:
    content: dict[str, Any] = result_dict(result, **labels)
    rows: list[tuple[str, EvalResult | dict[str, Any]]] = [(labels["stage"], result)]
    if arguments.micro:
        rows.append((f"{labels['stage']} (over pixels)", {**content, "metrics": result.micro}))
        content["micro"] = result.micro
    print(format_table(rows))
    if arguments.json:
        write_json(Path(arguments.json), content)
    if arguments.csv:
        write_csv(Path(arguments.csv), result)
