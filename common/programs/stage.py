"""What a stage is: one frozen value, said in the `stage.py` of its folder and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.engine.optimization import adam
from common.errors import UserError
from common.language.language import Language, Needs
from common.losses.depth import ValidMask, silog_valid
from common.programs.assembly import Data
from common.programs.draws import DrawScene, WordsAlone
from common.programs.inference import Predict
from common.programs.run import Run
from common.programs.run_config import RunConfig
from common.runtime.checkpoints import checkpoint_in, find_checkpoint, load_checkpoint


@dataclass(frozen=True)
class EarlierStage:
    """The stage whose checkpoint another one starts from.

    load: checkpoint -> network. place: config -> the file or run folder it names, or None: the run
    of the experiments in `experiments`. is_needed: config -> whether it cannot be done without.
    """

    name: str  # as in its Stage
    folder: str
    recipe: str
    load: Callable[[dict], nn.Module]
    place: Callable[[Any], Path | None]
    experiments: Callable[[Any], tuple[str | None, ...]] = lambda config: ()
    is_needed: Callable[[Any], bool] = lambda config: True

    def find(self, config: RunConfig) -> Path | None:
        """Its checkpoint: at the configured place, else in the first experiment that has one.

        None: there is none, and it is not needed.
        """
        place = self.place(config)
        named = [name for name in dict.fromkeys(self.experiments(config)) if name]
        folders = [place] if place else [config.output_root / name / self.name for name in named]
        if place is None and not self.is_needed(config) and not any(map(checkpoint_in, folders)):
            return None
        return find_checkpoint(self.name, self.folder, f"init.{self.name}=PATH", *folders)

    def read(self, path: Path) -> nn.Module:
        """The network of the checkpoint `find` found."""
        return self.load(self.read_checkpoint(path))

    def read_checkpoint(self, path: Path) -> dict[str, Any]:
        """The checkpoint `find` found; a `UserError` for one of another stage or recipe."""
        return load_checkpoint(path, stage=self.name, recipes=(self.recipe,))


@dataclass(frozen=True)
class Start:
    """What a network may take its first weights and statistics from.

    is_fresh: nothing is resumed; what a checkpoint will replace need not be loaded.
    """

    data: Data
    earlier: nn.Module | None
    log: Callable[[str], None]
    is_fresh: bool


def mean_log_depth(config: Any, earlier: Any) -> dict[str, Any]:
    """Facts: a depth head starts from the data set's mean."""
    return {"model": {"prior_mean": config.data.data_set.mean_log_depth}}


def _no_facts(config: Any, earlier: Any) -> dict[str, Any]:
    return {}


def _nothing(first: Any, second: Any, third: Any) -> None:
    pass


def _any_words(model: nn.Module, language: Language, size: tuple[int, int]) -> None:
    pass


@dataclass(frozen=True)
class Stage:
    """One stage, or one recipe of it.

    build: (config, earlier network or None) -> the network, weights drawn from torch's generator.
    prepare: (network, config, data): refuses data that do not fit, before there is a run folder.
    check_words: (network, the words of a split, size of its largest image): refuses words that the
    network cannot read, before anything is scored.
    start: gives a built network its first weights: statistics of the data, earlier stages' weights,
    pretrained encoders. finish: (config, data, run): what is left to do with the checkpoints of a
    run whose steps are all done; also called when it is started again. load: checkpoint ->
    network. needs: network -> what its batches must hold.
    step_fn, totals_fn: see `Task` in `common/engine/update.py`; both also take the config's `loss`
    section and `max_depth` (meters) by name.
    predict: (network, batch) -> depth [B, 1, H, W] in meters.
    facts: (config, earlier network or None) -> the keys that data set and earlier stage know, as a
    tree; keys that are given win over them. left_open: the keys (section, name) that are sections
    which only the earlier stage completes.
    words_alone: where the words alone give a distribution of scenes. sample: (network, batch,
    random numbers) -> depth [B, 1, H, W] in meters of a scene drawn from what the words say, in
    place of the one that the picture picks; None: there is no such distribution.
    valid: the pixels of the ground truth that the loss is taken on.
    optimizer: (parameters or groups, train config) -> optimizer. parameters: (network, config) ->
    what is trained, or groups of it. has_branches: a step may leave some trained parameters
    without a gradient.
    """

    name: str  # of its run folder, and `stage` in its checkpoints
    folder: str  # of its code
    recipe: str
    config_type: type[RunConfig]
    default_yaml: str
    build: Callable[[Any, Any], nn.Module]
    load: Callable[[dict], nn.Module]
    needs: Callable[[Any], Needs]
    step_fn: Callable[..., dict[str, Tensor]]
    predict: Predict
    parameters: Callable[[Any, Any], list]
    words_alone: WordsAlone | None = None
    sample: DrawScene | None = None
    totals_fn: Callable[..., dict[str, Tensor]] | None = None
    prepare: Callable[[Any, Any, Data], None] = _nothing
    check_words: Callable[[Any, Language, tuple[int, int]], None] = _any_words
    start: Callable[[Any, Any, Start], None] = _nothing
    finish: Callable[[Any, Data, Run], None] = _nothing
    earlier: EarlierStage | None = None
    facts: Callable[[Any, Any], dict[str, Any]] = _no_facts
    left_open: tuple[tuple[str, str], ...] = ()
    optimizer: Callable[..., torch.optim.Optimizer] = adam
    has_branches: bool = False
    valid: ValidMask = silog_valid

    @property
    def train_program(self) -> Path:
        """What a user starts to train it, from the repository root."""
        return Path(self.folder, "train.sh")


def choose_stage(stages: tuple[Stage, ...], recipe: str, where: str = "") -> Stage:
    """The one of a folder's stages that has this recipe; where: starts the message of an error."""
    for stage in stages:
        if stage.recipe == recipe:
            return stage
    listed = ", ".join(stage.recipe for stage in stages)
    raise UserError(f"{where}recipe must be one of {listed}, not {recipe!r}")
