"""The folder of a study: which of its scores are there, what is left to run, and what it writes.

results.csv, report.html, ...           what was found; see docs/studies.md
scores/LABELS_SETTINGS_DATA.json, .csv  what `eval.py` wrote; the name's end identifies it
runs/LABELS_SETTINGS/STAGE/             the run folders, as any training has them
logs/, folds/, predictions/, durations.json
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.demo_renderer.scale_pairs import bound_of_data
from scripts.run_plans.durations import Durations
from scripts.run_plans.jobs import Ended, ProgramJob
from scripts.run_plans.recipes import checkpoint_file
from scripts.run_plans.study_config import GridPoint, StudyConfig
from scripts.run_plans.study_plan import Scoring, StudyRun, Training
from scripts.run_plans.study_scores import Score, read_images, read_result, write_results_csv

SCORES, PREDICTIONS, LOGS = "scores", "predictions", "logs"


@dataclass(frozen=True)
class StudyTask:
    """A job of a study. scoring: what it scores; None: it trains. kind: see `Duration`."""

    job: ProgramJob
    run: StudyRun
    kind: str
    scoring: Scoring | None = None


@dataclass
class StudyFolder:
    """What a study has in its folder.

    data: what identifies the data of each point; a score of other data does not count.
    """

    folder: Path
    study: StudyConfig
    runs: Sequence[StudyRun]
    data: Mapping[GridPoint, str]

    def __post_init__(self) -> None:
        self.durations = Durations.read(self.folder / "durations.json")
        stems = sorted(path.stem for path in (self.folder / SCORES).glob("*_*_*.json"))
        self._stems = {"_".join(stem.split("_")[-2:]): stem for stem in stems}
        self.scores: dict[Scoring, Score] = {}
        for run, scoring in self.scorings:
            self._collect(run, scoring)

    @property
    def scorings(self) -> Iterator[tuple[StudyRun, Scoring]]:
        """All of the study, in its order."""
        return ((run, scoring) for run in self.runs for scoring in run.scorings)

    @property
    def bounds(self) -> dict[str, float]:
        """Name of the data -> the lowest AbsRel that pixels alone allow, where it is known."""
        roots = {run.point.data: run.config.data.root for run in self.runs}
        found = {data: bound_of_data(root) for data, root in roots.items()}
        return {data: bound for data, bound in found.items() if bound is not None}

    def end(self, task: StudyTask, ended: Ended) -> str | None:
        """Take up what a job has done; returns what went wrong."""
        error = ended.error
        if task.scoring is not None and error is None:
            for run, scoring in self.scorings:
                if scoring.digest == task.scoring.digest:
                    self._collect(run, scoring)
            if task.scoring not in self.scores:
                error = f"its score is not whole; the same command makes it again ({ended.job.log})"
        data = self.data[task.run.point] if error is None else None
        self.durations.add(ended.job.key, task.kind, ended.seconds, data)
        return error

    def _collect(self, run: StudyRun, scoring: Scoring) -> None:
        """Take up a score, if it is there."""
        stem = self.stem(run, scoring)
        result = read_result(self.folder / SCORES / f"{stem}.json")
        images = read_images(self.folder / SCORES / f"{stem}.csv")
        predictions = self.folder / PREDICTIONS / stem
        has_predictions = predictions.is_dir()
        if result is None or images is None or len(images) != result["num_images"]:
            return
        if self._keeps_predictions(run) and not has_predictions:
            return
        self.scores[scoring] = Score(
            cell=scoring.cell,
            seed=run.point.seed,
            fold=run.point.fold,
            result=result,
            images=images,
            run_folder=run.scored.run.folder,
            predictions=predictions if has_predictions else None,
        )

    def stem(self, run: StudyRun, scoring: Scoring) -> str:
        """Of a score's files; those of the same score by another name are taken."""
        end = f"{scoring.digest}_{self.data[run.point]}"
        return self._stems.setdefault(end, f"{scoring.label}_{end}")

    def tasks(self, runs: Sequence[StudyRun]) -> list[StudyTask]:
        """What is left to do for these runs, each once; a score follows its training."""
        tasks: dict[str, StudyTask] = {}
        for run in runs:
            missing = [s for s in run.scorings if s not in self.scores]
            if not missing:
                continue
            needs: tuple[str, ...] = ()
            for training in run.trainings:
                if training.digest not in tasks and self.is_trained(training, run):
                    continue
                job = self._job(training.digest, training.title, training.run.command, needs)
                tasks.setdefault(training.digest, StudyTask(job, run, training.kind))
                needs = (training.digest,)
            for scoring in missing:
                command = [*run.scoring_command(scoring, self.study.checkpoint)]
                command += self._outputs(run, scoring)
                job = self._job(scoring.digest, scoring.title, command, needs)
                kind = run.scoring_kind
                tasks.setdefault(scoring.digest, StudyTask(job, run, kind, scoring))
        return list(tasks.values())

    def is_trained(self, training: Training, run: StudyRun) -> bool:
        """Whether it has come to its end before, on these data, and left its checkpoint."""
        file = checkpoint_file(training.run, self.study.checkpoint)
        return self.durations.is_done(training.digest, self.data[run.point]) and file.is_file()

    def _job(self, key: str, title: str, command: list[str], needs: tuple[str, ...]) -> ProgramJob:
        return ProgramJob(key, title, tuple(command), self.folder / LOGS / f"{key}.log", needs)

    def _outputs(self, run: StudyRun, scoring: Scoring) -> list[str]:
        stem = self.stem(run, scoring)
        scores = self.folder / SCORES
        files = ["--json", str(scores / f"{stem}.json"), "--csv", str(scores / f"{stem}.csv")]
        if self._keeps_predictions(run):
            files += ["--save-predictions", str(self.folder / PREDICTIONS / stem)]
        return files

    @property
    def ordered_scores(self) -> list[Score]:
        """Those that are there, in the order of the study."""
        return [self.scores[scoring] for _, scoring in self.scorings if scoring in self.scores]

    def _keeps_predictions(self, run: StudyRun) -> bool:
        return self.study.save_predictions and run.row.is_trained

    def write_results(self) -> None:
        """results.csv."""
        minutes = [
            self.durations.minutes(training.digest for training in run.trainings)
            for run, scoring in self.scorings
            if scoring in self.scores
        ]
        rows = zip(self.ordered_scores, minutes, strict=True)
        write_results_csv(self.folder / "results.csv", rows)
