"""The rows of a study, and the values that rows have in common.

A row is a `Cell`; its scores are those of its seeds (and folds). Rows are compared on the seeds and
images that all of them have.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from common.data.scenes import scene_labels
from common.evaluation.comparison import Estimate, Floats, estimate_all
from common.evaluation.metrics import METRIC_NAMES
from common.language.controls import LENDING
from scripts.run_plans.study_scores import Cell, Score

Fold = dict[str, Floats]  # image -> its nine metrics


class RowKey(NamedTuple):
    """What tells rows apart. is_folded: scored by cross-validation, not on the data's own split."""

    cell: Cell
    is_folded: bool


class Group(NamedTuple):
    """Rows that are shown in one table."""

    data: str
    captions: str
    encoder: str
    is_folded: bool

    @property
    def title(self) -> str:
        """`nyu, short, minilm`; what has no name of its own is left out."""
        named = [name for name in self[:3] if name != "default"]
        return ", ".join([*named, "cross-validation over scenes"] if self.is_folded else named)


@dataclass
class StudyRow:
    """A cell and what its runs scored. scenes: of all images of its data."""

    key: RowKey
    scores: list[Score]
    scenes: dict[str, str]

    @property
    def cell(self) -> Cell:
        return self.key.cell

    @property
    def group(self) -> Group:
        return Group(self.cell.data, self.cell.captions, self.cell.encoder, self.key.is_folded)

    @property
    def is_as_trained(self) -> bool:
        return self.cell.train_control == self.cell.eval_control

    @property
    def label(self) -> str:
        """`staged, caption`; `staged, caption → wrong` where it is scored with other words."""
        cell = self.cell
        changed = "" if self.is_as_trained else f" → {cell.eval_control}"
        return f"{cell.recipe}, {cell.train_control}{changed}"

    @cached_property
    def folds(self) -> dict[int, dict[int | None, Fold]]:
        """Seed -> fold -> image -> metrics [9]."""
        found: dict[int, dict[int | None, Fold]] = defaultdict(dict)
        for score in self.scores:
            found[score.seed][score.fold] = read_fold(score.images)
        return dict(found)

    @property
    def is_of_any_seed(self) -> bool:
        """Nothing was trained and no words were lent: other seeds would give the same scores."""
        controls = {self.cell.train_control, self.cell.eval_control}
        stages = {score.result.get("stage") for score in self.scores}
        return stages == {"text_baseline"} and controls.isdisjoint(LENDING)

    def folds_of(self, seed: int) -> dict[int | None, Fold]:
        """Fold -> image -> metrics [9]; empty: that seed was not scored."""
        if self.is_of_any_seed:
            return next(iter(self.folds.values()))
        return self.folds.get(seed, {})

    @cached_property
    def aligned(self) -> "Aligned":
        return align(self)

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Of each metric; empty where no image is scored by all seeds."""
        return self.aligned.estimates(self.aligned.values[0], self.scenes)

    @property
    def num_left_out(self) -> int:
        """Images that some seed has no finite score of."""
        if len(self.aligned.seeds) < len(self.folds):
            return 0  # not all is scored yet
        names = {str(row["image_path"]) for score in self.scores for row in score.images}
        return len(names) - len(self.aligned.images)


@dataclass(frozen=True)
class Aligned:
    """Rows by the seeds and images that all of them have. values: [rows, S, N, 9]."""

    seeds: list[int]
    images: list[str]
    values: Floats

    def estimates(
        self, values: Floats, scenes: dict[str, str], only: Sequence[int] | None = None
    ) -> dict[str, Estimate]:
        """Metric -> estimate of values [S, N, 9]; empty where there are none.

        only: the images to take, by their numbers.
        """
        chosen = range(len(self.images)) if only is None else only
        if not len(chosen) or not self.seeds:
            return {}
        labels = np.unique([scenes[self.images[i]] for i in chosen], return_inverse=True)[1]
        found = estimate_all(values[:, chosen], labels)
        return dict(zip(METRIC_NAMES, found, strict=True))


def collect_rows(scores: Iterable[Score]) -> list[StudyRow]:
    """In the order of their first scores, those of a recipe together."""
    of_row: dict[RowKey, list[Score]] = defaultdict(list)
    images: dict[str, dict[str, None]] = defaultdict(dict)
    for score in scores:
        of_row[RowKey(score.cell, score.fold is not None)].append(score)
        names = (str(row["image_path"]) for row in score.images)
        images[score.cell.data].update(dict.fromkeys(names))
    scenes = {
        data: dict(zip(names, scene_labels(list(names)), strict=True))
        for data, names in images.items()
    }
    recipes = list(dict.fromkeys(key.cell.recipe for key in of_row))
    keys = sorted(of_row, key=lambda key: recipes.index(key.cell.recipe))
    return [StudyRow(key, of_row[key], scenes[key.cell.data]) for key in keys]


def read_fold(images: Iterable[dict[str, Any]]) -> Fold:
    """Image -> [9]; images without a finite value of every metric are left out."""
    fold = {}
    for row in images:
        try:
            values = np.array([float(row[name]) for name in METRIC_NAMES])
        except (KeyError, TypeError, ValueError):
            continue
        if np.isfinite(values).all():
            fold[str(row["image_path"])] = values
    return fold


def align(*rows: StudyRow) -> Aligned:
    """The seeds and images that all rows have.

    Seeds that lack folds which another seed has are left out, until they are scored too.
    """
    trained = [row for row in rows if not row.is_of_any_seed] or rows
    shared = {
        seed: set.intersection(*(set(row.folds_of(seed)) for row in rows))
        for seed in trained[0].folds
    }
    most = max(map(len, shared.values()), default=0)
    seeds = sorted(seed for seed, folds in shared.items() if len(folds) == most > 0)
    if not seeds:
        return Aligned([], [], np.zeros((len(rows), 0, 0, len(METRIC_NAMES))))
    merged = [[_merge(row.folds_of(seed), shared[seed]) for seed in seeds] for row in rows]
    parts = [part for of_row in merged for part in of_row]
    images = [image for image in parts[0] if all(image in part for part in parts)]
    values = [[[part[image] for image in images] for part in of_row] for of_row in merged]
    shape = (len(rows), len(seeds), len(images), len(METRIC_NAMES))
    return Aligned(seeds, images, np.array(values).reshape(shape))


def _merge(folds: dict[int | None, Fold], chosen: Iterable[int | None]) -> Fold:
    return {image: values for fold in chosen for image, values in folds[fold].items()}
