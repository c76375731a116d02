"""What `scripts/study.py --list` prints: the rows of a study, and how far each is."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from common.evaluation.results import align_columns
from scripts.run_plans.durations import Durations, describe_time
from scripts.run_plans.study_config import StudyConfig
from scripts.run_plans.study_folder import SCORES
from scripts.run_plans.study_plan import StudyRun
from scripts.run_plans.study_scores import Cell

HEAD = ("recipe", "trained with", "scored with", "captions", "encoder", "data", "scores")


def describe_plan(
    study: StudyConfig, folder: Path, runs: Sequence[StudyRun], num_slots: int
) -> str:
    """The rows with the scores they have and will have, and the hours that the rest may take.

    Looks at no data: scores of data that have changed since count as there.
    """
    done = {path.stem.split("_")[-2] for path in (folder / SCORES).glob("*_*_*.json")}
    durations = Durations.read(folder / "durations.json")
    rows: dict[Cell, list[bool]] = {}
    for run in runs:
        for scoring in run.scorings:
            rows.setdefault(scoring.cell, []).append(scoring.digest in done)
    lines = [HEAD, *((*astuple(cell), f"{sum(d)} of {len(d)}") for cell, d in rows.items())]
    kinds = kinds_left(runs, done, durations)
    seconds = durations.estimate(kinds.values())
    time = "how long, the first finished ones will tell"
    if seconds is not None:
        time = f"about {describe_time(seconds / num_slots)}, {num_slots} at a time"
    left = f"{len(kinds)} trainings and scorings to run: {time}" if kinds else "all is done"
    return f"{study.name}: {study.question}\n\n{align_columns(lines)}\n\n{left}\nfolder: {folder}"


def kinds_left(runs: Sequence[StudyRun], done: set[str], durations: Durations) -> dict[str, str]:
    """Key -> kind of what is left to do."""
    kinds = {}
    for run in runs:
        missing = [scoring for scoring in run.scorings if scoring.digest not in done]
        trainings = [t for t in run.trainings if missing and not durations.is_done(t.digest)]
        kinds |= {training.digest: training.kind for training in trainings}
        kinds |= {scoring.digest: run.scoring_kind for scoring in missing}
    return kinds
