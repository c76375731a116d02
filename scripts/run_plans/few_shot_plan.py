"""What scripts/few_shot.py trains: every recipe on every subset, checked before anything starts."""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from common.config import REPO_ROOT, load_config, to_dict
from common.data.subsets import check_subset, subset_size
from common.errors import UserError
from scripts.run_plans.recipes import (
    RECIPES,
    RecipeStage,
    check_overrides,
    checkpoint_file,
    find_recipe_file,
    split_words,
)
from scripts.run_plans.stage_runs import StageRun, run_command
from scripts.run_plans.surveys import Survey, compare_surveys, survey_config

SET_HERE = (
    "experiment", "output_root", "seed", "data.train_images", "data.subset_seed", "init", "recipe",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A recipe as asked for. spec: its name, and overrides of the scored stage (`joint a.b=c`)."""

    spec: str
    config_files: tuple[Path, ...]  # one per stage
    overrides: tuple[str, ...]  # for every stage

    @property
    def name(self) -> str:
        return shlex.split(self.spec)[0]

    @property
    def stages(self) -> tuple[RecipeStage, ...]:
        return RECIPES[self.name]

    @property
    def own_overrides(self) -> tuple[str, ...]:
        return tuple(shlex.split(self.spec)[1:])


@dataclass(frozen=True)
class Subset:
    """So many of the available training images, drawn with a seed.

    pictures: identifies all of them and the test images, by their files.
    """

    images: int
    available: int
    seed: int
    pictures: str


@dataclass(frozen=True)
class FewShotRun:
    """One recipe on one subset. stage_runs: in their order; the last one is scored."""

    recipe: Recipe
    subset: Subset
    stage_runs: tuple[StageRun, ...]
    checkpoint: str  # last or best

    @property
    def title(self) -> str:
        subset = self.subset
        return (
            f"{self.recipe.spec}, {subset.images} of {subset.available} images, seed {subset.seed}"
        )

    @cached_property
    def result_file(self) -> Path:
        """Its name tells which pictures, and settings of which stages, the result belongs to."""
        return self._named_after(self.subset.pictures)

    def _named_after(self, *facts: str) -> Path:
        configs = [to_dict(run.config) for run in self.stage_runs]
        settings = json.dumps([self.checkpoint, *facts, *configs], sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()
        return self.stage_runs[-1].folder / f"few_shot_{digest[:12]}.json"

    def read_result(self) -> dict[str, Any] | None:
        """What `evaluate` wrote; None: nothing yet, nothing readable, or not all images.

        A file of before names told of pictures is believed.
        """
        for path in (self.result_file, self._named_after()):
            try:
                result = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            return result if result.get("complete", True) else None
        return None

    def train(self) -> None:
        """Train every stage that is not trained yet."""
        for run in self.stage_runs:
            run.train()

    def evaluate(self) -> None:
        """Score the last stage on the test split with its `eval.py`."""
        scored = self.stage_runs[-1]
        program = REPO_ROOT / scored.stage.folder / "eval.py"
        overrides = [
            item
            for item in (*self.recipe.overrides, *self.recipe.own_overrides)
            if item.startswith(("data.", "text.", "eval."))
            and not item.startswith("eval.max_images=")  # of the validation; the test stays whole
        ]
        run_command([
            sys.executable, str(program),
            "--checkpoint", str(checkpoint_file(scored, self.checkpoint)),
            "--json", str(self.result_file), *overrides,
        ])  # fmt: skip


def make_plan(
    specs: Sequence[str],
    data: str,
    images: Sequence[str],
    seeds: Sequence[int],
    output: Path,
    checkpoint: str,
    overrides: Sequence[str],
) -> list[FewShotRun]:
    """Every recipe with every number of images and seed; a `UserError` where one cannot start."""
    recipes = [make_recipe(spec, data, tuple(overrides)) for spec in dict.fromkeys(specs)]
    surveyed = survey_all(recipes)
    available = surveyed.num_train
    wanted = [subset_size(parse_images(text), available) for text in images]
    counts, seeds = sorted(set(wanted)), list(dict.fromkeys(seeds))
    return [
        plan_run(recipe, Subset(count, available, seed, surveyed.pictures), output, checkpoint)
        for recipe, count, seed in product(recipes, counts, seeds)
    ]


def plan_run(recipe: Recipe, subset: Subset, output: Path, checkpoint: str) -> FewShotRun:
    """The trainings of a recipe on a subset; a `UserError` if a config refuses an override.

    Overrides after the recipe's name change the last stage only: the earlier ones are shared with
    the recipe without overrides, in its experiment.
    """
    runs: list[StageRun] = []
    for (_, stage), config_file in zip(recipe.stages, recipe.config_files, strict=True):
        is_last = len(runs) == len(recipe.stages) - 1
        overrides = subset_overrides(recipe.spec if is_last else recipe.name, subset, output)
        if runs:
            earlier = checkpoint_file(runs[-1], checkpoint)
            overrides.append(f"init.{runs[-1].stage.name}={earlier}")
        overrides += [*recipe.overrides, *(recipe.own_overrides if is_last else ())]
        run = StageRun(stage, config_file, tuple(overrides))
        runs.append(with_steps(run, subset.available))
    return FewShotRun(recipe, subset, tuple(runs), checkpoint)


def subset_overrides(spec: str, subset: Subset, output: Path) -> list[str]:
    """What makes a run of a config one on this subset."""
    experiment = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', spec)}_k{subset.images}_s{subset.seed}"
    return [
        f"output_root={output}",
        f"experiment={experiment}",
        f"seed={subset.seed}",
        f"data.train_images={subset.images}",
        f"data.subset_seed={subset.seed}",
    ]


def with_steps(run: StageRun, num_images: int) -> StageRun:
    """The same run; a length in epochs becomes the steps it takes on all `num_images`."""
    train = run.config.train
    if train.max_steps is not None:
        return run
    num_steps = f"train.max_steps={train.total_steps(num_images)}"
    return replace(run, overrides=(*run.overrides, num_steps))


def make_recipe(spec: str, data: str, overrides: tuple[str, ...]) -> Recipe:
    """Read `NAME [key=value ...]` and find its YAML files."""
    name, *own = split_words(spec, f"--recipe {spec}")
    if name not in RECIPES:
        raise UserError(f"--recipe {spec}: no such recipe; there are {', '.join(RECIPES)}")
    check_overrides((*own, *overrides), SET_HERE, "few_shot.py", f"--recipe {spec}: ")
    files = tuple(find_recipe_file(data, file, f"--data {data}") for file, _ in RECIPES[name])
    return Recipe(" ".join([name, *own]), files, overrides)


def survey_all(recipes: Sequence[Recipe]) -> Survey:
    """What all recipes read and how they are scored; a `UserError` if they differ in it."""
    surveys = [survey(recipe) for recipe in recipes]
    for recipe, other in zip(recipes[1:], surveys[1:], strict=True):
        compare_surveys((recipes[0].spec, surveys[0]), (recipe.spec, other))
    return surveys[0]


def survey(recipe: Recipe) -> Survey:
    """What the scored stage reads."""
    stage = recipe.stages[-1][1]
    overrides = [*recipe.overrides, *recipe.own_overrides]
    return survey_config(load_config(stage.config_type, recipe.config_files[-1], overrides))


def parse_images(text: str) -> int | float | None:
    """`8` images, a share `0.5` of them, or `all` (None)."""
    if text == "all":
        return None
    try:
        number = int(text) if re.fullmatch(r"-?\d+", text) else float(text)
        check_subset(number, 0)
    except ValueError:
        raise UserError(
            f"--images {text}: give numbers of images from 1 on, shares between 0 and 1, or 'all'"
        ) from None
    return number
