"""STUDY.yaml: a question, and the grid of runs that answers it.

Its words are overrides as on a stage's command line, `key=value`. They hold for every stage that a
recipe trains; `stage1:key=value` holds for that stage alone, and `stage1+joint:key=value` for both
(stages are named as their YAML files). docs/studies.md tells more.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from common.config import apply_overrides, build_config, merge_yaml
from common.errors import UserError
from common.language.controls import Control
from scripts.run_plans.recipes import split_words

Words = tuple[str, ...]
EvalControl = Literal["same"] | Control
DEFAULT = "default"  # name of the captions and the encoder where a study names none
MAX_NAME = 200  # bytes; a folder's name has at most 255


@dataclass(frozen=True)
class Axes:
    """What a grid runs over; null: as the study says. The names are those the study defines.

    folds: 1 is the data's own test split, where the study has folds.
    """

    recipes: tuple[str, ...] | None = None
    data: tuple[str, ...] | None = None
    captions: tuple[str, ...] | None = None
    encoders: tuple[str, ...] | None = None
    train_control: tuple[Control, ...] | None = None
    eval_control: tuple[EvalControl, ...] | None = None
    seeds: tuple[int, ...] | None = None
    folds: int | None = None

    def __post_init__(self) -> None:
        for axis in fields(self):
            if getattr(self, axis.name) == ():
                raise ValueError(f"{axis.name}: names nothing; leave it out, or name something")
        check_numbers(self.seeds or (), self.folds)


@dataclass(frozen=True)
class StudyConfig:
    """What a STUDY.yaml says.

    data: name -> "FOLDER [words]", a folder as `few_shot.py --data` takes it. recipes: name ->
    "RECIPE [words]", whose words without a stage hold for the scored stage. captions, encoders:
    name -> words. settings: words for all. train_control: `text.control` of the training;
    eval_control: that of scoring what was trained with captions. folds: parts of a cross-validation
    over the scenes of all training and test images; null or 1: the data's own test split.
    reference: the control that differences are taken to. grids: a full product for each; none: one
    of all that is named.
    """

    name: str
    question: str
    data: dict[str, str | Words]
    recipes: dict[str, str | Words]
    settings: Words = ()
    captions: dict[str, Words] = field(default_factory=lambda: {DEFAULT: ()})
    encoders: dict[str, Words] = field(default_factory=lambda: {DEFAULT: ()})
    train_control: tuple[Control, ...] = ("caption", "none")
    eval_control: tuple[EvalControl, ...] = ("same",)
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int | None = None
    checkpoint: Literal["last", "best"] = "last"
    reference: Control = "none"
    grids: tuple[Axes, ...] = ()
    save_predictions: bool = False

    def __post_init__(self) -> None:
        is_plain = self.name == Path(self.name).name and self.name.isprintable()
        if self.name in ("", ".", "..") or not is_plain or len(self.name.encode()) > MAX_NAME:
            raise ValueError(
                f"name: {self.name!r} must be a plain folder name of at most {MAX_NAME} bytes"
            )
        for axis in ("data", "recipes", "captions", "encoders", "train_control", "eval_control"):
            if not getattr(self, axis):
                raise ValueError(f"{axis}: is empty; it has to name at least one")
        for axis in ("data", "recipes", "captions", "encoders"):
            check_names(axis, getattr(self, axis))
        if not self.seeds:
            raise ValueError("seeds: is empty; it has to name at least one")
        check_numbers(self.seeds, self.folds)


@dataclass(frozen=True)
class GridPoint:
    """One run folder: what is trained on what, with which words. fold: see `Score`."""

    recipe: str
    train_control: Control
    captions: str
    encoder: str
    data: str
    seed: int
    fold: int | None

    @property
    def labels(self) -> list[str]:
        """What tells it from others; what has no name of its own is left out."""
        named = [self.recipe, self.train_control, self.captions, self.encoder, self.data]
        fold = [] if self.fold is None else [f"fold {self.fold}"]
        return [label for label in named if label != DEFAULT] + [f"seed {self.seed}", *fold]

    @property
    def title(self) -> str:
        """`staged, caption, short, minilm, nyu, seed 0`."""
        return ", ".join(self.labels)


def check_names(axis: str, names: Iterable[str]) -> None:
    """ValueError, with the axis first, for names that no table or --only could show apart."""
    for name in names:
        if not name.strip() or name != name.strip() or not name.isprintable() or "," in name:
            raise ValueError(
                f"{axis}: {name!r} is no name; it needs a letter or more, no comma, no line break "
                "and no spaces around it"
            )


def check_numbers(seeds: Iterable[int], folds: int | None) -> None:
    """ValueError, with the key first, for seeds and folds that cannot be."""
    if any(seed < 0 for seed in seeds):
        raise ValueError("seeds: must be at least 0")
    if folds is not None and folds < 1:
        raise ValueError(f"folds: {folds} is not at least 1; null is the data's own test split")


def read_study(path: Path, overrides: list[str]) -> StudyConfig:
    """The study of a YAML file; a `UserError` for what it cannot mean.

    overrides: `seeds=[0]` changes a key of the study, `train.max_steps=9` (a dot in the key, or a
    stage before it) is added to its settings.
    """
    added = [word for word in overrides if set(".:") & set(word.partition("=")[0])]
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    merge_yaml(tree, sources, path)
    own = [word for word in overrides if word not in added]
    apply_overrides(tree, sources, own, StudyConfig)
    blocks = tree.pop("grids", None) or []
    if not isinstance(blocks, list):
        raise UserError(f"{path}: grids must be a list of blocks, not {blocks!r}")
    study: StudyConfig = build_config(StudyConfig, tree, sources)
    grids = tuple(
        build_config(Axes, block, {"": f"{path}: block {number} of grids"})
        for number, block in enumerate(blocks, 1)
    )
    for number, axes in enumerate(grids, 1):
        _check_names(study, axes, f"{path}: block {number} of grids")
    return replace(study, grids=grids, settings=(*study.settings, *added))


def _check_names(study: StudyConfig, axes: Axes, where: str) -> None:
    if axes.folds not in (None, 1, study.folds):
        raise UserError(f"{where}: folds: must be 1 or null; how many there are, the study says")
    for axis in ("recipes", "data", "captions", "encoders"):
        known: Collection[str] = getattr(study, axis)
        for name in getattr(axes, axis) or ():
            if name not in known:
                raise UserError(
                    f"{where}: {axis}: {name!r} is none of the study's, which are "
                    f"{', '.join(known)}"
                )


def grid_points(study: StudyConfig) -> dict[GridPoint, tuple[EvalControl, ...]]:
    """Every run of the study, each once, and what it is scored with; seed by seed.

    After the first seed every row of the study has a score.
    """
    points: dict[GridPoint, tuple[EvalControl, ...]] = {}
    for axes in study.grids or (Axes(),):
        for point in _product(study, axes):
            controls = axes.eval_control or study.eval_control
            if point.train_control != "caption":
                controls = ("same",)
            named = ("same" if name == point.train_control else name for name in controls)
            points[point] = tuple(dict.fromkeys((*points.get(point, ()), *named)))
    order = {seed: number for number, seed in enumerate(dict.fromkeys(p.seed for p in points))}
    return dict(sorted(points.items(), key=lambda item: order[item[0].seed]))


def _product(study: StudyConfig, axes: Axes) -> Iterator[GridPoint]:
    def names(axis: str) -> tuple:
        given = getattr(axes, axis)
        return tuple(getattr(study, axis)) if given is None else given

    folds = study.folds if axes.folds is None else axes.folds
    numbers = range(folds) if folds and folds > 1 else (None,)
    for seed, fold, data, encoder, captions, recipe, control in product(
        names("seeds"), numbers, names("data"), names("encoders"),
        names("captions"), names("recipes"), names("train_control"),
    ):  # fmt: skip
        yield GridPoint(recipe, control, captions, encoder, data, seed, fold)


def words_of(spec: str | Words, where: str) -> tuple[str, ...]:
    """The words of a recipe or of data, given as one text or as a list of them."""
    return tuple(split_words(spec, where) if isinstance(spec, str) else spec) or ("",)


def words_for(words: Iterable[str], stage: str, known: Collection[str]) -> list[str]:
    """The words that hold for a stage, without its name.

    known: the names of all stages; a `UserError` for others.
    """
    chosen = []
    for word in words:
        key, equals, value = word.partition("=")
        before, colon, key = key.rpartition(":")
        named = before.split("+") if colon else []
        for name in named:
            if name not in known:
                raise UserError(f"{word}: no stage {name!r}; there are {', '.join(known)}")
        if not named or stage in named:
            chosen.append(f"{key}{equals}{value}")
    return chosen
