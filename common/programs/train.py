"""The training program: what every stage's `train.py` runs, in the order in which it happens."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.config import REPO_ROOT, find_yaml
from common.data.splits import is_searched
from common.errors import INTERRUPTED, UserError, tell_stop
from common.programs.dry_run import try_out
from common.programs.preflight import check_outputs
from common.programs.print_config import describe_settings
from common.programs.ready import log_start, make_ready
from common.programs.remedies import training_remedies
from common.programs.run import open_run
from common.programs.settings import Settings, read_settings
from common.programs.stage import Stage, Start
from common.programs.training import train_to_the_end
from common.progress import write_line
from common.runtime.hub import set_hub_timeout
from common.runtime.processes import Processes, join_processes
from common.runtime.signals import (
    Abandoned,
    Caught,
    catch_signals,
    first_reason,
    is_interruption,
)
from common.runtime.time_limit import time_limited
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
    start = _try_out if settings.config().train.dry_run else _train_until_told
    start(settings)


def _try_out(settings: Settings) -> None:
    with _joined(settings) as processes:
        try_out(settings, processes)


def _train_until_told(settings: Settings) -> None:
    """Train; a signal outside the steps ends it with one line."""
    limit = settings.config().train.time_limit
    with catch_signals() as caught, time_limited(limit, caught):
        try:
            with caught.leaving(), _joined(settings) as processes:
                train_stage(settings, processes, caught)
        except (Abandoned, Exception) as error:
            reason = first_reason(error)
            if isinstance(reason, Exception) and not is_interruption(reason):
                if reason is error:
                    raise
                raise reason from None
            tell_stop()
            if os.environ.get("RANK", "0") == "0":
                write_line(caught.describe())
            raise SystemExit(INTERRUPTED) from None


@contextmanager
def _joined(settings: Settings) -> Iterator[Processes]:
    """The processes of a training, and what a machine has too little of in one line."""
    config = settings.config()
    set_hub_timeout(config.hub_timeout)
    with (
        join_processes(most=config.train.batch_size) as processes,
        shortages_told(training_remedies(config, processes.world_size)),
    ):
        yield processes


def train_stage(settings: Settings, processes: Processes, caught: Caught) -> None:
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
        caught.has_trained = True
        with caught.leaving():
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
