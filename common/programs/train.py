"""The training program: what every stage's `train.py` runs, in the order in which it happens."""

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.config import REPO_ROOT, apply_overrides, build_config, find_yaml, merge_yaml
from common.errors import UserError
from common.programs.assembly import load_data
from common.programs.run import open_run
from common.programs.run_config import RunConfig
from common.programs.session import train_to_the_end
from common.programs.stage import Stage, Start, choose_stage
from common.runtime.processes import Processes, join_processes


def train(doc: str, *stages: Stage) -> None:
    """`[CONFIG.yaml] [key=value ...]`; `--help` prints `doc`. stages: one per recipe."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(doc.strip())
        raise SystemExit(0)
    stage, config = read_command_line(arguments, *stages)
    with join_processes() as processes:
        train_stage(stage, config, processes)


def train_stage(stage: Stage, config: Any, processes: Processes) -> None:
    """Earlier stage, network, data, run folder, first weights, and the steps."""
    earlier_path = stage.earlier.find(config) if stage.earlier else None
    earlier = stage.earlier.read(earlier_path) if stage.earlier and earlier_path else None
    config = stage.resolve(config, earlier)
    seed_everything(config.seed)
    model = stage.build(config, earlier)
    data = load_data(config, stage.needs(model), processes)
    stage.prepare(model, config, data)
    run = open_run(config, stage.name, processes, sys.argv)
    if stage.earlier and earlier_path:
        run.log(f"{stage.earlier.name}: {earlier_path}")
    stage.start(model, config, Start(data, earlier, run.log, is_fresh=not run.resumes))
    train_to_the_end(stage, config, model, data, run)


def read_command_line(arguments: list[str], *stages: Stage) -> tuple[Stage, RunConfig]:
    """The stage whose recipe the config names (the first one, if it names none), and the config."""
    yaml_path, overrides = split_arguments(arguments, stages[0].default_yaml)
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    merge_yaml(tree, sources, yaml_path)
    apply_overrides(tree, sources, overrides)
    stage = choose_stage(stages, str(tree.get("recipe", stages[0].recipe)))
    return stage, build_config(stage.config_type, tree, sources)


def split_arguments(arguments: list[str], default_yaml: str) -> tuple[Path, list[str]]:
    """The YAML file, and the `key=value` overrides."""
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    files = [a for a in arguments if a not in overrides]
    if len(files) > 1 or any(f.startswith("-") for f in files):
        raise UserError(f"command line: expected [CONFIG.yaml] [key=value ...], got {files}")
    return find_yaml(files[0]) if files else REPO_ROOT / default_yaml, overrides


def seed_everything(seed: int) -> None:
    """Seed the global generators, which only the initial weights are drawn from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
