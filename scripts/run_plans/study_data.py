"""The data of a study: the same for all recipes, divided into folds by scene, and identified."""

import hashlib
import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.config import to_dict
from common.data.data_config import DataConfig
from common.data.lists import choose_scenes, find_file, write_list
from common.data.pairs import Pair
from common.data.scenes import scene_labels
from common.data.splits import SplitFinder
from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.language.features import TextConfig, names_in
from common.programs.run_config import RunConfig
from scripts.run_plans.run_settings import SPLITS
from scripts.run_plans.study_config import GridPoint, StudyConfig, words_of
from scripts.run_plans.study_plan import Planner, StudyRun, fold_list
from scripts.run_plans.surveys import Survey, compare_surveys, survey_config

FOLD_SEED = 0  # the same folds for every study, so that studies can be compared


class FoldPairs(NamedTuple):
    """What one fold consists of."""

    train: list[Pair]
    val: list[Pair]
    test: list[Pair]


@dataclass
class DataSurvey:
    """What the runs of a study read; every list and folder is looked at once."""

    surveys: dict[str, Survey] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    def identify(self, config: RunConfig) -> str:
        """A word for the pictures and words of a config, by their files."""
        parts = [self.survey(config).pictures, self.words_of(config.data, config.text)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]

    def survey(self, config: RunConfig) -> Survey:
        """Of its images; a `UserError` if they are not there."""
        key = json.dumps([to_dict(config.data), config.eval.protocol])
        if key not in self.surveys:
            self.surveys[key] = survey_config(config)
        return self.surveys[key]

    def words_of(self, data: DataConfig, text: TextConfig) -> str:
        """Identifies the files that its words come from; the training tells of missing ones."""
        names = [*names_in(text.captions), *names_in(text.features), *names_in(text.image_features)]
        files = {name: find_file(name, data.root) for name in names}
        key = json.dumps([str(path) for path in files.values()])
        if key not in self.words:
            there = {name: path for name, path in files.items() if path.is_file()}
            self.words[key] = take_fingerprint(there).digest
        return self.words[key]


def survey_study(
    study: StudyConfig, runs: Sequence[StudyRun], output: Path
) -> dict[GridPoint, str]:
    """What identifies the data of each point; writes the lists of folds.

    A `UserError` if images are not there, or if rows that are compared read different ones.
    """
    folded = {run.point.data: run for run in runs if run.point.fold is not None}
    for run in folded.values():
        write_folds(study, run, output)
    surveyed = DataSurvey()
    first: dict[tuple[str, int | None], tuple[str, Survey]] = {}
    for run in runs:
        found = (run.point.recipe, surveyed.survey(run.config))
        compare_surveys(first.setdefault((run.point.data, run.point.fold), found), found)
    return {run.point: surveyed.identify(run.config) for run in runs}


def write_folds(study: StudyConfig, run: StudyRun, output: Path) -> None:
    """Write the lists of all folds of a run's data, as no recipe's own words change them."""
    recipe = run.point.recipe
    name = words_of(study.recipes[recipe], f"recipes.{recipe}")[0]
    bare = replace(study, recipes={recipe: name})
    whole = Planner(bare, output).plan(replace(run.point, fold=None), ("same",))
    data = replace(whole.config.data, train_images=None)
    assert study.folds is not None
    folds = divide_by_scene(all_pairs(data), study.folds, data.val_share)
    for fold, parts in enumerate(folds):
        for split, pairs in zip(SPLITS, parts, strict=True):
            write_list(fold_list(output, replace(run.point, fold=fold), split), pairs)


def all_pairs(data: DataConfig) -> list[Pair]:
    """Those of the training and the test list, each once, in their order."""
    if data.train_dir != data.test_dir:
        raise UserError(
            f"folds: data.train_dir is {data.train_dir!r} and data.test_dir {data.test_dir!r}; "
            "folds mix both: give lists whose paths start at one folder, and set both to it"
        )
    finder = SplitFinder(data)
    names = ("train", "test") if data.val_list is not None else SPLITS
    pairs = {pair.image.lstrip("/"): pair for name in names for pair in finder.find(name).pairs}
    return list(pairs.values())


def divide_by_scene(pairs: Sequence[Pair], num_folds: int, val_share: float) -> list[FoldPairs]:
    """The folds; no scene is in two splits of one.

    Every pair is tested in one fold; the folds are as equal as scenes let them be. About
    `val_share` of what is left, one scene at least, is the validation split.
    """
    labels = scene_labels([pair.image.lstrip("/") for pair in pairs])
    scenes, counts = np.unique(labels, return_counts=True)
    if len(scenes) < num_folds:
        raise _too_few_scenes(num_folds, len(scenes))
    order = np.random.default_rng(FOLD_SEED).permutation(len(scenes))
    order = order[np.argsort(-counts[order], kind="stable")]  # large ones first
    members: list[list[int]] = [[] for _ in range(num_folds)]
    for scene in order:
        smallest = min(members, key=lambda fold: counts[fold].sum())
        smallest.append(int(scene))
    folds = []
    for test in ({str(scene) for scene in scenes[fold]} for fold in members):
        sizes = {str(s): int(n) for s, n in zip(scenes, counts, strict=True) if s not in test}
        if len(sizes) < 2:
            raise _too_few_scenes(num_folds, len(scenes))
        val = choose_scenes(sizes, round(val_share * sum(sizes.values())), FOLD_SEED)
        parts = (sizes.keys() - val, val, test)
        folds.append(FoldPairs(*(_of_scenes(pairs, labels, part) for part in parts)))
    return folds


def _too_few_scenes(num_folds: int, num_scenes: int) -> UserError:
    return UserError(
        f"folds: {num_scenes} scenes are too few for {num_folds} folds of training, validation and "
        "test images; set folds to less, or give data with more scenes"
    )


def _of_scenes(pairs: Sequence[Pair], labels: Sequence[str], scenes: Set[str]) -> list[Pair]:
    return [pair for pair, label in zip(pairs, labels, strict=True) if label in scenes]
