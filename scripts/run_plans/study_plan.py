"""From a study to its trainings and scorings, each once: what they are called and where they are.

A run folder's name ends in a digest of all settings that decide what is computed, those of earlier
stages with them. So what is the same is trained once, whichever row asks for it, and what has other
settings starts anew: a run with more steps is no continued one, whose learning rate had an end.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from common.config import REPO_ROOT, to_dict
from common.errors import UserError
from common.programs.run_config import RunConfig
from scripts.run_plans.recipes import (
    RecipeStage,
    check_overrides,
    checkpoint_file,
    find_recipe_file,
)
from scripts.run_plans.run_settings import SPLITS, cost_of, evaluation_settings, settings_of
from scripts.run_plans.stage_runs import StageRun
from scripts.run_plans.study_config import (
    GridPoint,
    StudyConfig,
    Words,
    grid_points,
    words_for,
    words_of,
)
from scripts.run_plans.study_rows import ROW_KINDS, STAGE_NAMES, RowKind
from scripts.run_plans.study_scores import Cell

SET_HERE = (
    "experiment", "output_root", "seed", "data.subset_seed", "init", "recipe", "text.control",
)  # fmt: skip
RUNS = "runs"  # folder of the run folders
MAX_LABEL = 120  # characters; a file's name has at most 255


@dataclass(frozen=True)
class Training:
    """One stage of one run; several runs may go on from it.

    words: its overrides, but for its place and the stage before it. kind: trainings of one kind
    take about as long.
    """

    run: StageRun
    words: Words
    digest: str
    kind: str
    title: str


@dataclass(frozen=True)
class Scoring:
    """One run, scored with some words. label: starts the names of its files."""

    cell: Cell
    label: str
    digest: str
    title: str


@dataclass(frozen=True)
class StudyRun:
    """A point of the grid. scored: the stage that is; trainings: empty where nothing is trained."""

    point: GridPoint
    row: RowKind
    scored: Training
    trainings: tuple[Training, ...]
    scorings: tuple[Scoring, ...]

    @property
    def config(self) -> RunConfig:
        """Of what is scored."""
        return self.scored.run.config

    @property
    def scoring_kind(self) -> str:
        """Scorings of one kind take about as long."""
        return f"score {self.scored.kind} {self.row.program} {self.row.arguments}"

    def scoring_command(self, scoring: Scoring, checkpoint: str) -> list[str]:
        """Of the program that scores it, but for the names of its outputs."""
        row, run = self.row, self.scored.run
        program = str(REPO_ROOT / (row.program or f"{run.stage.folder}/eval.py"))
        head = [sys.executable, program, *row.arguments]
        if not row.is_trained:
            return [*head, *_other_words(row, scoring.cell), str(run.config_file), *run.overrides]
        words = [word for word in self.scored.words if word.startswith(("data.", "text."))]
        place = f"output_root={self.config.output_root}"
        how = evaluation_words(self.config)
        file = checkpoint_file(run, checkpoint)
        control = f"text.control={scoring.cell.eval_control}"
        return [*head, "--checkpoint", str(file), place, *words, *how, control]


def _other_words(row: RowKind, cell: Cell) -> Words:
    """Of a row without training: the option for words that it was not fitted to."""
    is_other = not row.is_trained and cell.eval_control != cell.train_control
    return ("--score-control", cell.eval_control) if is_other else ()


def evaluation_words(config: RunConfig) -> list[str]:
    """How it is scored, as overrides: a checkpoint only knows how that was when it was trained."""
    keys = to_dict(config.eval).items()  # max_images limits the validation; the test stays whole
    return [f"eval.{k}={v}" for k, v in keys if k != "max_images" and v is not None]


def plan_study(study: StudyConfig, output: Path) -> list[StudyRun]:
    """Every run of the study; a `UserError` if a config refuses a setting. Reads no data."""
    planner = Planner(study, output)
    return [planner.plan(point, controls) for point, controls in grid_points(study).items()]


def fold_list(output: Path, point: GridPoint, split: str) -> Path:
    """The list file of one split of a fold."""
    label = file_label([point.data])
    if label != point.data or not label.strip("."):  # another name may have this label, too
        label = f"{label.strip('.')}_{hashlib.sha256(point.data.encode()).hexdigest()[:6]}"
    return output / "folds" / label / f"fold{point.fold}_{split}.txt"


def file_label(labels: Sequence[str]) -> str:
    """Labels as the start of a file's name."""
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", label) for label in labels)[:MAX_LABEL]


@dataclass
class Planner:
    """Makes every training once. output: the study's folder."""

    study: StudyConfig
    output: Path
    trainings: dict[str, Training] = field(default_factory=dict)

    def plan(self, point: GridPoint, controls: Sequence[str]) -> StudyRun:
        """The trainings of a point, and what is scored of it with which words."""
        name, *own = words_of(self.study.recipes[point.recipe], f"recipes.{point.recipe}")
        if name not in ROW_KINDS:
            raise UserError(
                f"recipes.{point.recipe}: no recipe {name!r}; there are {', '.join(ROW_KINDS)}"
            )
        row = ROW_KINDS[name]
        _check_stages(point.recipe, own, row)
        chain: list[Training] = []
        for number, recipe_stage in enumerate(row.stages, 1):
            is_scored = number == len(row.stages)
            words = [word for word in own if is_scored or ":" in word.partition("=")[0]]
            place = point if is_scored else replace(point, recipe=recipe_stage[0])
            before = chain[-1] if chain else None
            chain.append(self.training(place, recipe_stage, words, before, row.untrained))
        scorings = tuple(self.scoring(point, row, chain[-1], control) for control in controls)
        return StudyRun(point, row, chain[-1], tuple(chain if row.is_trained else ()), scorings)

    def training(
        self,
        point: GridPoint,
        recipe_stage: RecipeStage,
        own: Words,
        before: Training | None,
        instead: Words,
    ) -> Training:
        """A stage of a point, made once.

        own: the recipe's words. before: what it starts from. instead: what is run in its place.
        """
        name, stage = recipe_stage
        folder = words_of(self.study.data[point.data], f"data.{point.data}")[0]
        config_file = find_recipe_file(folder, name, f"data.{point.data}")
        words = self.words(point, name, own)
        init = f"init.{before.run.stage.name}=" if before else ""
        known = [f"{init}/{self.study.checkpoint}/{before.digest}"] if before else []
        with _naming(point.recipe, name):
            probe = StageRun(stage, config_file, (*words, *known))
            settings = settings_of(probe)
        if self.study.checkpoint == "best":  # chosen by what is evaluated on the way
            settings["eval"] = evaluation_settings(probe.config.eval)
        digest = self.digest([point.data, settings, *instead])  # the name for its folders
        if digest not in self.trainings:
            experiment = self.known_folders.get(digest, f"{file_label(point.labels)}_{digest}")
            place = [f"output_root={self.output / RUNS}", f"experiment={experiment}"]
            if before:
                place.append(f"{init}{checkpoint_file(before.run, self.study.checkpoint)}")
            run = StageRun(stage, config_file, (*place, *words))
            title = f"train {name}: {point.title}"
            kind = self.digest(cost_of(settings))
            self.trainings[digest] = Training(run, words, digest, kind, title)
        return self.trainings[digest]

    def words(self, point: GridPoint, stage: str, own: Words) -> Words:
        """The overrides of a stage, but for its place and the stage before it."""
        study = self.study
        said = (
            *study.settings, *words_of(study.data[point.data], f"data.{point.data}")[1:],
            *study.encoders[point.encoder], *study.captions[point.captions], *own,
        )  # fmt: skip
        words = words_for(said, stage, STAGE_NAMES)
        check_overrides(words, SET_HERE, "study.py", f"recipe {point.recipe}, {stage}: ")
        seeds = [f"{key}={point.seed}" for key in ("seed", "data.subset_seed", "text.control_seed")]
        fold = [
            f"data.{split}_list={fold_list(self.output, point, split)}"
            for split in SPLITS
            if point.fold is not None
        ]
        return (*seeds, *words, *fold, f"text.control={point.train_control}")

    def scoring(self, point: GridPoint, row: RowKind, scored: Training, control: str) -> Scoring:
        """control: of the scoring, or "same"."""
        trained = point.train_control
        scored_with = trained if control == "same" else control
        cell = Cell(point.recipe, trained, scored_with, point.captions, point.encoder, point.data)
        changed = [] if scored_with == trained else [f"scored with {scored_with}"]
        options = [*row.arguments, *_other_words(row, cell)]
        how = [row.program, options, scored_with, self.study.checkpoint]
        digest = self.digest([scored.digest, *how, evaluation_settings(scored.run.config.eval)])
        labels = [*point.labels, *changed]
        return Scoring(cell, file_label(labels), digest, f"score {', '.join(labels)}")

    def digest(self, facts: Any) -> str:
        """The same wherever the study's folder lies."""
        text = json.dumps(facts, sort_keys=True).replace(json.dumps(str(self.output))[1:-1], "")
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @cached_property
    def known_folders(self) -> dict[str, str]:
        """Digest -> the experiment that has it already, by whatever name of its recipe."""
        names = [path.name for path in (self.output / RUNS).glob("*_*")]
        return {name.rpartition("_")[2]: name for name in sorted(names)}


def _check_stages(recipe: str, words: Words, row: RowKind) -> None:
    """A `UserError` for a recipe's word about a stage that it has not: it would change nothing."""
    own = [name for name, _ in row.stages]
    for word in words:
        named = word.partition("=")[0].rpartition(":")[0]
        if named and set(named.split("+")) <= set(STAGE_NAMES) - set(own):
            raise UserError(
                f"recipes.{recipe}: {word}: this recipe has no {named}; it has {', '.join(own)}"
            )


@contextmanager
def _naming(recipe: str, stage: str) -> Iterator[None]:
    """A refused setting is of this recipe and stage, and not of the command line."""
    try:
        yield
    except UserError as error:
        reason = str(error).removeprefix("command line: ")
        raise UserError(f"recipe {recipe}, {stage}: {reason}") from error
