"""The differences between the rows of a study, with intervals and corrected p values."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from common.data.scenes import scene_type
from common.evaluation.comparison import LEVEL, Estimate, holm
from common.evaluation.metrics import METRIC_NAMES
from scripts.reporting.study_values import (
    Aligned,
    Group,
    RowKey,
    StudyRow,
    align,
    collect_rows,
)
from scripts.run_plans.study_scores import Cell, Score, StudyInfo

DifferenceKind = Literal["captions", "control", "test words", "recipe"]
WORDLESS = ("none", "empty", "constant", "category")  # controls that read no captions
CAPTION = "caption"


@dataclass(frozen=True)
class Difference:
    """ours - theirs, of each metric. means: of ours and theirs, over what both have.

    kind: what is compared. captions: own words with the reference control, the question of a
    study; control: any other row with it; test words, recipe: see `StudyNumbers`. corrected: p
    values after Holm's correction for all `family` differences of this kind in the study, metric by
    metric.
    """

    kind: DifferenceKind
    ours: StudyRow
    theirs: StudyRow
    aligned: Aligned
    estimates: dict[str, Estimate]
    corrected: dict[str, float] = field(default_factory=dict)
    family: int = 1

    @property
    def is_significant(self) -> bool:
        """Whether AbsRel differs, also after the correction."""
        return self.estimates["abs_rel"].differs and self.corrected["abs_rel"] < 1 - LEVEL

    def means(self, metric: str) -> tuple[float, float]:
        ours, theirs = self.aligned.values[..., METRIC_NAMES.index(metric)].mean((1, 2))
        return float(ours), float(theirs)

    def by_type(self) -> list["TypeDifference"]:
        """AbsRel for every type of scene, those with the most images first."""
        types: dict[str, list[int]] = defaultdict(list)
        for number, image in enumerate(self.aligned.images):
            types[scene_type(image)].append(number)
        ours, theirs = self.aligned.values
        found = [
            TypeDifference(
                name,
                float(theirs[:, numbers, 0].mean()),
                self.aligned.estimates(ours - theirs, self.ours.scenes, numbers)["abs_rel"],
            )
            for name, numbers in types.items()
        ]
        return sorted(found, key=lambda each: (-each.estimate.num_images, each.name))


@dataclass(frozen=True)
class TypeDifference:
    """The difference in AbsRel on one type of scene. reference: mean AbsRel of theirs."""

    name: str
    reference: float
    estimate: Estimate


@dataclass(frozen=True)
class StudyNumbers:
    """All rows of a study in its order, and the differences between them.

    controls: row -> difference to the same recipe trained and scored with the reference control.
    test_words: row that is scored with other words than trained with -> difference to the same
    training, scored with its own. recipes: row -> difference to the study's first recipe.
    """

    rows: list[StudyRow]
    controls: dict[RowKey, Difference]
    test_words: dict[RowKey, Difference]
    recipes: dict[RowKey, Difference]

    @property
    def groups(self) -> dict[Group, list[StudyRow]]:
        found: dict[Group, list[StudyRow]] = defaultdict(list)
        for row in self.rows:
            found[row.group].append(row)
        return dict(found)

    @property
    def differences(self) -> list[Difference]:
        return [d for kind in (self.controls, self.test_words, self.recipes) for d in kind.values()]

    @property
    def answers(self) -> list[Difference]:
        """What captions are worth: of each group and recipe the row with its own words."""
        return [each for each in self.controls.values() if each.kind == "captions"]


def compute_numbers(study: StudyInfo, scores: Iterable[Score]) -> StudyNumbers:
    """The rows and differences of all scores that are there."""
    rows = collect_rows(scores)
    by_key = {row.key: row for row in rows}
    first = rows[0].cell.recipe if rows else ""
    controls, test_words, recipes = [], [], []
    for row in rows:
        cell, is_folded = row.key
        kind: DifferenceKind = "captions" if is_plain(cell, CAPTION) else "control"
        controls.append(subtract(kind, row, find_reference(row, rows, study.reference)))
        if not row.is_as_trained:
            own = replace(cell, eval_control=cell.train_control)
            test_words.append(subtract("test words", row, by_key.get(RowKey(own, is_folded))))
        elif cell.recipe != first:
            other = replace(cell, recipe=first)
            recipes.append(subtract("recipe", row, by_key.get(RowKey(other, is_folded))))
    return StudyNumbers(rows, *map(corrected_by_row, (controls, test_words, recipes)))


def find_reference(row: StudyRow, rows: Iterable[StudyRow], reference: str) -> StudyRow | None:
    """The same recipe and data with the reference control; None: not there, or it is the row.

    A control that reads no captions need not have been run for every kind of captions and encoder:
    then that of another kind is taken, of the same encoder if there is one.
    """
    if is_plain(row.cell, reference):
        return None
    found = [
        other
        for other in rows
        if is_plain(other.cell, reference)
        and (other.cell.recipe, other.cell.data) == (row.cell.recipe, row.cell.data)
        and other.key.is_folded == row.key.is_folded
        and (other.group == row.group or reference in WORDLESS)
    ]

    def distance(other: StudyRow) -> tuple[bool, bool]:
        return other.cell.encoder != row.cell.encoder, other.cell.captions != row.cell.captions

    return min(found, key=distance, default=None)


def is_plain(cell: Cell, control: str) -> bool:
    """Whether it was both trained and scored with the control."""
    return cell.train_control == cell.eval_control == control


def subtract(kind: DifferenceKind, ours: StudyRow, theirs: StudyRow | None) -> Difference | None:
    """None: there is nothing to subtract, or no seed or image that both have."""
    if theirs is None:
        return None
    both = align(ours, theirs)
    estimates = both.estimates(both.values[0] - both.values[1], ours.scenes)
    return Difference(kind, ours, theirs, both, estimates) if estimates else None


def corrected_by_row(differences: Iterable[Difference | None]) -> dict[RowKey, Difference]:
    """Each with p values corrected for all of its kind, metric by metric."""
    families: dict[DifferenceKind, list[Difference]] = defaultdict(list)
    found = [each for each in differences if each is not None]
    for each in found:
        families[each.kind].append(each)
    corrected = {}
    for family in families.values():
        columns = [holm([each.estimates[m].p for each in family]) for m in METRIC_NAMES]
        for each, values in zip(family, zip(*columns, strict=True), strict=True):
            p_values = dict(zip(METRIC_NAMES, values, strict=True))
            corrected[each.ours.key] = replace(each, corrected=p_values, family=len(family))
    return {each.ours.key: corrected[each.ours.key] for each in found}
