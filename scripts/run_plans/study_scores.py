"""What a study finds: the score of a run, what row it belongs to, and results.csv."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from common.evaluation.metrics import METRIC_NAMES
from common.text_files import write_text


@dataclass(frozen=True)
class Cell:
    """What one row of a study is, over its seeds and folds."""

    recipe: str  # "staged", "joint", "linear": its name in the STUDY.yaml
    train_control: str  # `text.control` while training
    eval_control: str  # the same while scoring; equal to train_control: not changed
    captions: str  # name of the caption kind, as in the STUDY.yaml
    encoder: str  # name of the text encoder, as there
    data: str  # name of the data, as there


@dataclass(frozen=True)
class Score:
    """One run, scored once.

    fold: of a cross-validation over scenes; None: the data set's own test split. result: what
    `eval.py --json` wrote. images: the lines of `eval.py --csv`. run_folder: of the scored stage.
    predictions: folder of saved 16-bit depth, if asked for.
    """

    cell: Cell
    seed: int
    fold: int | None
    result: dict[str, Any]
    images: list[dict[str, Any]]
    run_folder: Path
    predictions: Path | None


@dataclass(frozen=True)
class StudyInfo:
    """What a report says at its top. reference: the control that differences are taken to.

    bounds: name of the data -> the lowest AbsRel that pixels alone allow there, where it is known.
    """

    name: str
    question: str
    reference: str
    bounds: Mapping[str, float] = field(default_factory=dict)


def read_result(path: Path) -> dict[str, Any] | None:
    """What eval.py wrote; None: nothing yet, nothing of that form, or not all images."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict) or not result.get("complete", True):
        return None
    metrics = result.get("metrics")
    values = [metrics.get(name) for name in METRIC_NAMES] if isinstance(metrics, dict) else [None]
    is_number = all(type(value) in (int, float) for value in [*values, result.get("num_images")])
    return result if is_number else None


def read_images(path: Path) -> list[dict[str, Any]] | None:
    """The lines of `eval.py --csv`, numbers as numbers; None: there is no file of that form."""
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, csv.Error):
        return None
    if not all(line.get("image_path") for line in lines):
        return None
    return [{name: _number(text) for name, text in line.items()} for line in lines] or None


def _number(text: str | None) -> Any:
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            continue
    return text


def write_results_csv(path: Path, scores: Iterable[tuple[Score, float | None]]) -> None:
    """One line for each score; with it the minutes its training took (None: not known)."""
    names = [each.name for each in fields(Cell)]
    head = [*names, "seed", "fold", *METRIC_NAMES, "num_images", "minutes", "run_folder"]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=head, lineterminator="\n")
    writer.writeheader()
    for score, minutes in scores:
        writer.writerow(
            {
                **asdict(score.cell),
                "seed": score.seed,
                "fold": "" if score.fold is None else score.fold,
                **{name: score.result["metrics"][name] for name in METRIC_NAMES},
                "num_images": score.result["num_images"],
                "minutes": "" if minutes is None else f"{minutes:.3f}",
                "run_folder": score.run_folder,
            }
        )
    write_text(path, table.getvalue())
