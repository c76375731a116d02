"""The training program: what every stage's `train.py` runs, in the order in which it happens."""

import os
import sys
from pathlib import Path

from common.config import REPO_ROOT, find_yaml
from common.data.splits import is_searched
from common.errors import UserError
from common.programs.dry_run import try_out
from common.programs.preflight import check_outputs
from common.programs.print_config import describe_settings
from common.programs.ready import log_start, make_ready
from common.programs.remedies import training_remedies
from common.programs.run import open_run
from common.programs.settings import Settings, read_settings
from common.programs.stage import Stage, Start
from common.programs.training import train_to_the_end
from common.runtime.hub import set_hub_timeout
from common.runtime.processes import Processes, join_processes
from common.shortages import shortages_told


def train(doc: str, *stages: Stage) -> None:
    """`[CONFIG.yaml] [key=value ...] [--print-config]`; `--help` prints `doc`.

    stages: one per recipe.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(doc.strip())
        raise SystemExit(0)
    words = [word for word in arguments if word != "--print-config"]
    settings = read_command_line(words, *stages)
    if len(words) < len(arguments):
        if os.environ.get("RANK", "0") == "0":  # of several processes one prints
            print(describe_settings(settings))
        return
    config = settings.config()
    set_hub_timeout(config.hub_timeout)
    with join_processes(most=config.train.batch_size) as processes:
        remedies = training_remedies(config, processes.world_size)
        with shortages_told(remedies):
            start = try_out if config.train.dry_run else train_stage
            start(settings, processes)


def train_stage(settings: Settings, processes: Processes) -> None:
    """Earlier stage, network, data, run folder, first weights, and the steps."""
    ready = make_ready(settings, processes)
    stage, config, model, data = ready.stage, ready.config, ready.model, ready.data
    with open_run(config, stage.name, processes, sys.argv) as run:
        if processes.is_main:
            check_outputs(run.folder, model, config.train, len(data.train))
        if data.kept and is_searched(config.data):
            data.kept.write_lists(run.folder / "splits")
        log_start(ready, run)
        is_fresh = run.resumed is None
        stage.start(model, config, Start(data, ready.earlier, run.log, is_fresh))
        train_to_the_end(stage, config, model, data, run)
        stage.finish(config, data, run)


def read_command_line(arguments: list[str], *stages: Stage) -> Settings:
    """What `[CONFIG.yaml] [key=value ...]` says, checked."""
    yaml_path, overrides = split_arguments(arguments, stages[0].default_yaml)
    settings = read_settings(yaml_path, overrides, *stages)
    settings.config()  # a mistake shows before anything is loaded
    return settings


def split_arguments(arguments: list[str], default_yaml: str) -> tuple[Path, list[str]]:
    """The YAML file, and the `key=value` overrides."""
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    files = [a for a in arguments if a not in overrides]
    if len(files) > 1 or any(f.startswith("-") for f in files):
        raise UserError(f"command line: expected [CONFIG.yaml] [key=value ...], got {files}")
    return find_yaml(files[0]) if files else REPO_ROOT / default_yaml, overrides
