"""What a study found, as a text table."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from common.text_files import write_text
from scripts.run_plans.study_scores import Cell, Score, StudyInfo


def write_study_report(
    folder: Path,
    study: StudyInfo,
    scores: Sequence[Score],
    failures: Sequence[str],
    facts: dict[str, Any],
) -> str:
    """Write table.txt; returns the table."""
    rows: dict[Cell, list[float]] = {}
    for score in scores:
        rows.setdefault(score.cell, []).append(score.result["metrics"]["abs_rel"])
    lines = [f"{', '.join(astuple(cell))}: {np.mean(v):.4f} ({len(v)})" for cell, v in rows.items()]
    text = "\n".join([study.question, *lines, *failures])
    write_text(folder / "table.txt", text + "\n")
    return text
