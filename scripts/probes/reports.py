"""What a study of words hands over, and the cells of its table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.evaluation.metrics import METRIC_NAMES
from common.evaluation.results import Row
from scripts.probes.answers import Reply

COLUMNS = (
    *("study", "kind", "image_path", "caption", *METRIC_NAMES),
    *("log_ratio", "pred_median", "gt_median", "num_pixels", "num_clamped", "num_nonfinite"),
)


@dataclass(frozen=True)
class WordReport:
    """table: text. content: plain types, for a JSON file. rows: one per answer, for a CSV file."""

    name: str
    table: str
    content: dict[str, Any]
    rows: list[Row]


def answer_row(study: str, kind: str, reply: Reply) -> Row:
    """The line of one answer in the CSV file."""
    known = {"study": study, "kind": kind, "caption": reply.sentence, **reply.row}
    return {name: known[name] for name in COLUMNS}


def cells(*values: float | int | None) -> list[str]:
    """Numbers as a table shows them."""
    return ["-" if v is None else str(v) if isinstance(v, int) else f"{v:.3f}" for v in values]


def mean(values: Sequence[float]) -> float:
    """Of at least one number."""
    return sum(values) / len(values)
