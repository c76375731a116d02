"""The command line of every stage's `eval.py`; the options are the same in all of them."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from common.checkpoint import find_checkpoint, load_checkpoint
from common.config import apply_overrides, build_config, find_yaml, read_yaml, resolve_path
from common.data.dataset import DepthDataset
from common.data.loading import load_split
from common.distributed import processes
from common.errors import UserError
from common.evaluation import (
    EvalConfig,
    EvalResult,
    format_table,
    result_dict,
    write_csv,
    write_json,
)
from common.inference import DepthWriter
from common.protocols import PROTOCOLS
from common.run import RunConfig

C = TypeVar("C", bound=RunConfig)
Evaluate = Callable[..., EvalResult]


def run_evaluation(
    doc: str,
    *,
    stage: str,
    config_type: type[C],
    load_model: Callable[[dict], nn.Module],
    evaluate: Evaluate,
    recipe: str = "staged",
) -> None:
    """Parse the command line, score the checkpoint, print the table, write what was asked for."""
    arguments = _parse(doc)
    path = find_checkpoint(resolve_path(arguments.checkpoint, True), f"sh {stage}*/train.sh")
    saved = load_checkpoint(path, stage=stage, recipe=recipe)
    config = _config(config_type, saved["config"], arguments)
    eval_config = _eval_config(config.eval, arguments)
    with processes() as who:
        model = load_model(saved).to(who.device)
        dataset = load_split(config, arguments.split, model, who)
        result = evaluate(
            model, dataset=dataset, config=eval_config, max_depth=config.data.max_depth, who=who,
            on_prediction=_writer(arguments, dataset),
        )  # fmt: skip
        if who.is_main:
            labels = {"checkpoint": str(path), "recipe": recipe, "stage": stage,
                      "data": str(config.data.root), "split": arguments.split}  # fmt: skip
            _report(result, labels, arguments)


def _parse(doc: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PATH", help="a .pt file or a run folder")
    add("--config", metavar="CONFIG.yaml", help="overrides the checkpoint's own config")
    add("--split", choices=("train", "val", "test"), default="test")
    add("--protocol", metavar="NAME", help=f"one of {', '.join(PROTOCOLS)}")
    add("--flip", action="store_true", help="average with the mirrored image's prediction")
    add("--json", metavar="OUT.json", help="write the result")
    add("--csv", metavar="OUT.csv", help="write one line per image")
    add("--save-predictions", metavar="DIR", help="write 16-bit depth PNG files")
    add("overrides", nargs="*", metavar="key=value", help="change single settings")
    return parser.parse_intermixed_args()


def _config(config_type: type[C], saved: dict[str, Any], arguments: argparse.Namespace) -> C:
    sources: dict[str, str] = {"": str(arguments.checkpoint)}
    tree = saved
    if arguments.config:
        _overlay(tree, read_yaml(find_yaml(arguments.config)))
    if any(word.startswith("model.") for word in arguments.overrides):
        raise UserError("command line: model.* cannot be changed; a checkpoint fixes its network")
    apply_overrides(tree, sources, arguments.overrides)
    return build_config(config_type, tree, sources)


def _overlay(tree: dict, new: dict) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _overlay(tree[key], value)
        else:
            tree[key] = value


def _eval_config(config: EvalConfig, arguments: argparse.Namespace) -> EvalConfig:
    protocol = arguments.protocol or config.protocol
    try:
        return replace(config, protocol=protocol, flip=arguments.flip or config.flip)
    except ValueError as error:
        raise UserError(f"--protocol: {str(error).removeprefix('protocol: ')}") from None


def _writer(arguments: argparse.Namespace, dataset: DepthDataset) -> DepthWriter | None:
    if not arguments.save_predictions:
        return None
    return DepthWriter(Path(arguments.save_predictions), dataset.layout.depth_scale)


def _report(result: EvalResult, labels: dict[str, str], arguments: argparse.Namespace) -> None:
    print(format_table([(labels["stage"], result)]))
    if arguments.json:
        write_json(Path(arguments.json), result_dict(result, **labels))
    if arguments.csv:
        write_csv(Path(arguments.csv), result)
