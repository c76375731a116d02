"""What a study tells while it runs: a line for each start and end, and its results so far."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.reporting.study_report import write_study_report
from scripts.run_plans.durations import describe_time
from scripts.run_plans.jobs import STOPPED, Ended, ProgramJob
from scripts.run_plans.study_folder import StudyFolder, StudyTask
from scripts.run_plans.study_scores import StudyInfo

REPORT_SECONDS = 60.0  # at least, between two reports


@dataclass
class StudyWatch:
    """Told of every job. tasks: all that are to run, by key. facts: for the report."""

    found: StudyFolder
    tasks: Mapping[str, StudyTask]
    num_slots: int
    facts: dict[str, Any]
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = {key: task.kind for key, task in self.tasks.items()}
        self.reported = time.monotonic()

    def tell_start(self) -> None:
        """How much there is to do, and how much was done before."""
        num_before, num_all = len(self.found.scores), sum(1 for _ in self.found.scorings)
        self.found.write_results()
        print(
            f"{self.found.study.name}: {num_before} of {num_all} scores are there; "
            f"{len(self.tasks)} jobs to run, {self.num_slots} at a time{self.time_left()}",
            flush=True,
        )

    def start(self, job: ProgramJob) -> None:
        """One line."""
        self._tell(f"start  {job.title}")

    def end(self, ended: Ended) -> None:
        """One line; after a score, results.csv and, now and then, the report."""
        task = self.tasks[ended.job.key]
        error = self.found.end(task, ended)
        if error == STOPPED:
            self._tell(f"ended  {ended.job.title}, to be continued")
            return
        del self.left[ended.job.key]
        if error is None:
            took = describe_time(ended.seconds)
            self._tell(f"done   {ended.job.title}, {took}{self.time_left()}")
        else:
            self.failures.append(f"{ended.job.title}: {error}")
            self._tell(f"FAILED {self.failures[-1]}")
        if task.scoring is not None:
            self.found.write_results()
            if time.monotonic() - self.reported > REPORT_SECONDS:
                self._try_report()

    def time_left(self) -> str:
        """`; about 3.2 h left`, or nothing where nothing is known."""
        seconds = self.found.durations.estimate(self.left.values())
        return f"; about {describe_time(seconds / self.num_slots)} left" if seconds else ""

    def write_report(self) -> str:
        """Of all scores that are there; returns the table."""
        self.reported = time.monotonic()
        study = self.found.study
        info = StudyInfo(study.name, study.question, study.reference, self.found.bounds)
        return write_study_report(
            self.found.folder, info, self.found.ordered_scores, self.failures, self.facts
        )

    def _try_report(self) -> None:
        """A report between: hours of training need not end for it."""
        try:
            self.write_report()
        except Exception as error:
            self._tell(f"no report now, {error!r}; it is tried again at the end")

    def _tell(self, text: str) -> None:
        done = len(self.tasks) - len(self.left)
        print(f"[{done}/{len(self.tasks)}] {text}", flush=True)
