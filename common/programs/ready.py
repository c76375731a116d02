"""What a training has ready before its first step: earlier stage, network and data, checked."""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from common.data.before import Before
from common.data.ground_truth import GroundTruthUse
from common.data.kept_data import KeptData
from common.fingerprints import take_fingerprint
from common.programs.assembly import Data, load_data
from common.programs.preflight import check_data
from common.programs.run import Run, find_resumed
from common.programs.run_config import RunConfig
from common.programs.settings import Settings
from common.programs.stage import Stage
from common.programs.wandb_board import check_wandb
from common.runtime.checkpoints import load_checkpoint
from common.runtime.processes import Processes
from common.runtime.saved_models import describe_average
from common.runtime.threads import fit_threads


@dataclass(frozen=True)
class Ready:
    """earlier: the earlier stage's network, and where it was found. use: of the ground truth."""

    stage: Stage
    config: Any
    model: nn.Module
    data: Data
    earlier: nn.Module | None
    earlier_path: Path | None
    use: GroundTruthUse


def make_ready(settings: Settings, processes: Processes, scratch: Path | None = None) -> Ready:
    """Earlier stage, network and data. Of files only encoded features are made.

    scratch: the folder for these, in a trial that is to leave nothing behind, and that therefore
    keeps no decoded frames either; None: the run's own.
    """
    stage = settings.stage
    if settings.config().logging.wandb:
        check_wandb()
    earlier_path = find_earlier(stage, settings.config())
    earlier = stage.earlier.read(earlier_path) if stage.earlier and earlier_path else None
    config = settings.config(earlier, is_last=True)
    seed_everything(config.seed)
    model = stage.build(config, earlier)
    before = known_before(stage, config, earlier_path)
    place = config if scratch is None else moved(config, scratch)
    data = load_data(place, stage.needs(model), processes, before)
    if stage.earlier and earlier_path:
        data = keep_earlier(data, {stage.earlier.name: earlier_path}, before)
    stage.prepare(model, config, data)
    use = GroundTruthUse()
    if processes.is_main:
        use = check_data(data.train, data.val, config.eval, config.data.max_depth, stage.valid)
    return Ready(stage, config, model, data, earlier, earlier_path, use)


def moved(config: RunConfig, scratch: Path) -> RunConfig:
    """The config of a trial, which keeps its features in `scratch` and no decoded frames."""
    return replace(config, output_root=scratch, data=replace(config.data, cache=None))


def log_start(ready: Ready, run: Run) -> None:
    """What is computed with and trained on, and what it starts from."""
    earlier, config = ready.stage.earlier, ready.config
    if run.resumed is None and (line := fit_threads(run.processes.device)) is not None:
        run.log(line)
    run.log(ready.use.describe("trained on", config.data.max_depth))
    if earlier and (ready.earlier_path or earlier.experiments(config)):
        run.log(f"{earlier.name}: {ready.earlier_path or 'there is no run of it; not needed'}")
    if earlier and ready.earlier_path:
        content = earlier.read_checkpoint(ready.earlier_path)
        if (average := describe_average(content)) is not None:
            run.log(f"{earlier.name}: {average}")


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
        path, name, recipes = earlier, stage.earlier.name, (stage.earlier.recipe,)
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


def seed_everything(seed: int) -> None:
    """Seed the global generators, which only the initial weights are drawn from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
