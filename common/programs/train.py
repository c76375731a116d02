"""The training program: what every stage's `train.py` runs, in the order in which it happens."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common.config import REPO_ROOT, find_yaml
from common.data.before import Before
from common.data.ground_truth import GroundTruthUse
from common.data.kept_data import KeptData
from common.data.splits import is_searched
from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.programs.assembly import Data, load_data
from common.programs.preflight import check_data, check_outputs
from common.programs.remedies import training_remedies
from common.programs.run import find_resumed, open_run
from common.programs.run_config import RunConfig
from common.programs.session import train_to_the_end
from common.programs.settings import Settings, read_settings
from common.programs.stage import Stage, Start
from common.runtime.checkpoints import load_checkpoint
from common.runtime.hub import set_hub_timeout
from common.runtime.processes import Processes, join_processes
from common.shortages import shortages_told


def train(doc: str, *stages: Stage) -> None:
    """`[CONFIG.yaml] [key=value ...]`; `--help` prints `doc`. stages: one per recipe."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(doc.strip())
        raise SystemExit(0)
    settings = read_command_line(arguments, *stages)
    config = settings.config()
    set_hub_timeout(config.hub_timeout)
    with join_processes(most=config.train.batch_size) as processes:
        remedies = training_remedies(config, processes.world_size)
        with shortages_told(remedies):
            train_stage(settings, processes)


def train_stage(settings: Settings, processes: Processes) -> None:
    """Earlier stage, network, data, run folder, first weights, and the steps."""
    stage = settings.stage
    earlier_path = find_earlier(stage, settings.config())
    earlier = stage.earlier.read(earlier_path) if stage.earlier and earlier_path else None
    config = settings.config(earlier, is_last=True)
    seed_everything(config.seed)
    model = stage.build(config, earlier)
    before = known_before(stage, config, earlier_path)
    data = load_data(config, stage.needs(model), processes, before)
    if stage.earlier and earlier_path:
        data = keep_earlier(data, {stage.earlier.name: earlier_path}, before)
    stage.prepare(model, config, data)
    max_depth, use = config.data.max_depth, GroundTruthUse()
    if processes.is_main:
        use = check_data(data.train, data.val, config.eval, max_depth, stage.valid)
    with open_run(config, stage.name, processes, sys.argv) as run:
        if processes.is_main:
            check_outputs(run.folder, model)
        if data.kept and is_searched(config.data):
            data.kept.write_lists(run.folder / "splits")
        run.log(use.describe("trained on", max_depth))
        if stage.earlier and (earlier_path or stage.earlier.experiments(config)):
            run.log(f"{stage.earlier.name}: {earlier_path or 'there is no run of it; not needed'}")
        stage.start(model, config, Start(data, earlier, run.log, is_fresh=not run.resumes))
        train_to_the_end(stage, config, model, data, run)
        stage.finish(config, data, run)


def find_earlier(stage: Stage, config: RunConfig) -> Path | None:
    """The earlier stage's checkpoint; a resumed run needs none that only gives first weights."""
    if stage.earlier is None:
        return None
    only_starts = not stage.earlier.is_needed(config) and not stage.earlier.experiments(config)
    if only_starts and find_resumed(config, stage.name):
        return None
    return stage.earlier.find(config)


def known_before(stage: Stage, config: RunConfig, earlier: Path | None) -> Before | None:
    """The data of the run that goes on, else of the earlier stage's run; None: nothing is known."""
    resumed = find_resumed(config, stage.name)
    if resumed is not None:
        path, name, recipes = resumed, stage.name, (stage.recipe,)
    elif stage.earlier is not None and earlier is not None:
        path, name, recipes = earlier, stage.earlier.name, ("staged",)
    else:
        return None
    kept = KeptData.of(load_checkpoint(path, stage=name, recipes=recipes), path)
    return None if kept is None else Before(kept, f"{name} ({path})", resumed is not None)


def keep_earlier(data: Data, earlier: dict[str, Path], before: Before | None) -> Data:
    """Have checkpoints tell the earlier stage's file, and the log if a resumed run had another."""
    if data.kept is None:
        return data
    own = before.kept.earlier if before is not None and before.is_own else None
    kept = replace(data.kept, earlier=own or take_fingerprint(earlier))
    notes = [
        f"{name} ({earlier[name]}) is not the file that this run started from, whose weights it "
        "keeps; for the new ones start another run with experiment=NAME"
        for name in (own.changed(earlier) if own else ())
    ]
    return replace(data, kept=kept, notes=(*data.notes, *notes))


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


def seed_everything(seed: int) -> None:
    """Seed the global generators, which only the initial weights are drawn from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
