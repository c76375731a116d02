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

from common.config import REPO_ROOT, find_yaml, load_config, to_dict
from common.data.kept_data import files_of
from common.data.splits import SplitFinder
from common.data.subsets import check_subset, subset_size
from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.programs.run_config import RunConfig
from common.programs.stage import Stage
from llm_mde.stage import STAGE as LLM_MDE
from scripts.run_plans.stage_runs import StageRun, run_command
from stage1_vae.stage import STAGE as STAGE1
from stage2_sampler.stage import STAGE as STAGE2
from stage3_depth.stage import JOINT, JOINT_LEGACY, STAGED

RecipeStage = tuple[str, Stage]  # name of the YAML file, and what trains and scores it
RECIPES: dict[str, tuple[RecipeStage, ...]] = {  # as trained; the last is scored
    "staged": (("stage1", STAGE1), ("stage2", STAGE2), ("stage3", STAGED)),
    "joint": (("joint", JOINT),),
    "joint-legacy": (("joint_legacy", JOINT_LEGACY),),
    "llm-mde": (("llm_mde", LLM_MDE),),
}
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


@dataclass(frozen=True)
class Survey:
    """What has to be the same for all recipes, or their numbers could not be compared."""

    train: tuple[str, ...]  # keys of all training images
    test: tuple[str, ...]
    pictures: str  # identifies the files of both
    protocol: str
    max_depth: float


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
    available = len(surveyed.train)
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


def checkpoint_file(run: StageRun, checkpoint: str) -> Path:
    """checkpoint: last or best."""
    return run.folder / "checkpoints" / f"{checkpoint}.pt"


def make_recipe(spec: str, data: str, overrides: tuple[str, ...]) -> Recipe:
    """Read `NAME [key=value ...]` and find its YAML files."""
    try:
        name, *own = shlex.split(spec) or [""]
    except ValueError as error:
        raise UserError(f"--recipe {spec}: {error}; close the quotes") from error
    if name not in RECIPES:
        raise UserError(f"--recipe {spec}: no such recipe; there are {', '.join(RECIPES)}")
    for item in (*own, *overrides):
        key, equals, _ = item.partition("=")
        if not equals:
            raise UserError(f"--recipe {spec}: '{item}' is not of the form key=value")
        if any(key == taken or key.startswith(f"{taken}.") for taken in SET_HERE):
            raise UserError(f"{item}: few_shot.py sets {key} itself; leave it out")
    files = tuple(find_recipe_file(data, yaml_name) for yaml_name, _ in RECIPES[name])
    return Recipe(" ".join([name, *own]), files, overrides)


def find_recipe_file(data: str, yaml_name: str) -> Path:
    """`nyu` -> configs/nyu/stage1.yaml, `nyu/labeled` -> configs/nyu/labeled_stage1.yaml."""
    candidates = (
        f"configs/{data}/{yaml_name}.yaml", f"configs/{data}_{yaml_name}.yaml",
        f"{data}/{yaml_name}.yaml",
    )  # fmt: skip
    for candidate in candidates:
        try:
            return find_yaml(candidate).resolve()
        except UserError:
            continue
    raise UserError(f"--data {data}: found no config file {', '.join(candidates)}")


def survey_all(recipes: Sequence[Recipe]) -> Survey:
    """What all recipes read and how they are scored; a `UserError` if they differ in it."""
    surveys = [survey(recipe) for recipe in recipes]
    for recipe, other in zip(recipes[1:], surveys[1:], strict=True):
        compare_surveys((recipes[0].spec, surveys[0]), (recipe.spec, other))
    return surveys[0]


def survey(recipe: Recipe) -> Survey:
    """The images of all splits, each checked to be there, and the protocol of the scored stage."""
    stage = recipe.stages[-1][1]
    overrides = [*recipe.overrides, *recipe.own_overrides]
    config: RunConfig = load_config(stage.config_type, recipe.config_files[-1], overrides)
    data = replace(config.data, train_images=None)
    finder = SplitFinder(data)
    train, _, test = (finder.find(name) for name in ("train", "val", "test"))
    files = [take_fingerprint(files_of(split.samples)).digest for split in (train, test)]
    return Survey(
        tuple(train.files), tuple(test.files), " ".join(files), config.eval.protocol, data.max_depth
    )


def compare_surveys(first: tuple[str, Survey], other: tuple[str, Survey]) -> None:
    """Raise a `UserError` that names what differs."""
    (name, one), (other_name, two) = first, other
    for what in ("train", "test"):
        ours, theirs = getattr(one, what), getattr(two, what)
        if ours != theirs:
            raise UserError(
                f"{name} and {other_name} read different {what} images ({len(ours)} and "
                f"{len(theirs)}); set data.split or the data.*_list keys for all recipes"
            )
    for key, what in (("eval.protocol", "protocol"), ("data.max_depth", "max_depth")):
        if getattr(one, what) != getattr(two, what):
            raise UserError(
                f"{name} has {key} {getattr(one, what)}, {other_name} {getattr(two, what)}; "
                f"set {key} for all recipes"
            )


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
