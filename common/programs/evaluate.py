"""The command line of every stage's `eval.py`; the options are the same in all of them."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from common.config import apply_overrides, build_config, find_yaml, merge_yaml
from common.config_values import resolve_path
from common.data.kept_data import KeptData
from common.data.samples import SplitName
from common.data.splits import is_searched
from common.errors import UserError
from common.evaluation.calibration import MIN_DRAWS
from common.evaluation.known_distance import DistanceCalibration, read_raw_calibration
from common.evaluation.protocols import ProtocolMismatch
from common.evaluation.results import EvalResult
from common.evaluation.watchers import OnScored, Watchers
from common.images.depth_files import DepthWriter, describe_changed, write_scale
from common.printable import one_line
from common.programs.assembly import load_split
from common.programs.draws import score_words
from common.programs.evaluation_options import BENCHMARK, parse_evaluation
from common.programs.exported import exported_stage
from common.programs.inference import Predict, evaluate_dataset
from common.programs.report_folder import ReportFolder
from common.programs.result_files import check_result_files, hand_out, naming_options
from common.programs.run_config import RunConfig
from common.programs.stage import Stage, choose_stage
from common.programs.submission import export_submission
from common.progress import write_line
from common.runtime.checkpoints import find_checkpoint, load_checkpoint
from common.runtime.claims import claim_folder, claim_path, claim_together
from common.runtime.exported_files import is_exported
from common.runtime.hub import set_hub_timeout
from common.runtime.processes import Processes, join_processes
from common.runtime.saved_models import describe_average
from common.runtime.threads import fit_threads

# What a checkpoint leaves open: how the keys that may be given with it start.
CHANGEABLE = ("data.", "text.", "eval.", "output_root=", "hub_timeout=")


def evaluate(doc: str, *stages: Stage) -> None:
    """Parse the command line, score the checkpoint, print the table, write what was asked for.

    stages: one per recipe; the checkpoint says which it needs.
    """
    arguments = parse_evaluation(doc)
    opened = _find(arguments, stages)
    with join_processes() as processes, _claim_output(arguments, processes):
        if (line := fit_threads(processes.device)) is not None:
            write_line(line)
        if arguments.split == BENCHMARK:
            _make_submission(arguments, opened, processes)
        else:
            _score(arguments, opened, processes)


def _find(arguments: argparse.Namespace, stages: tuple[Stage, ...]) -> "Checkpoint":
    """The checkpoint that is named, with the stage of its recipe."""
    path = find_checkpoint(
        stages[0].name,
        stages[0].folder,
        "--checkpoint PATH",
        resolve_path(arguments.checkpoint, True),
    )
    recipes = tuple(stage.recipe for stage in stages)
    saved = load_checkpoint(path, stage=stages[0].name, recipes=recipes, takes_exported=True)
    stage = choose_stage(stages, saved["recipe"])
    if arguments.samples is not None:
        _check_samples(arguments.samples, stage, path, saved["config"]["experiment"])
    return Checkpoint(
        exported_stage(stage, path) if is_exported(path) else stage,
        path,
        find_yaml(arguments.config) if arguments.config else None,
        tuple(_overrides(arguments)),
    )


def _make_submission(
    arguments: argparse.Namespace, opened: "Checkpoint", processes: Processes
) -> None:
    """Write the zip for KITTI's server."""
    config, model = opened.open(processes)
    zip_path = Path(arguments.save_submission)
    text = export_submission(model, opened.stage, config, processes, zip_path)
    if processes.is_main:
        print(text)


def _score(arguments: argparse.Namespace, opened: "Checkpoint", processes: Processes) -> None:
    """Print the table, write what was asked for."""
    if processes.is_main:
        check_result_files(arguments.json, arguments.csv)
    report = ReportFolder(Path(arguments.report)) if arguments.report else None
    try:
        has_medians = bool(arguments.csv or arguments.samples or report)
        file = arguments.calibration
        calibration = file and read_raw_calibration(Path(file))
        predictions, samples = arguments.save_predictions, arguments.samples
        on_scored = report.gathered.add if report else None
        wanted = Wanted(predictions, has_medians, samples, calibration, on_scored)
        result, config = opened.score(arguments.split, processes, wanted)
    except ProtocolMismatch as error:
        raise error.naming_option() from error
    result = naming_options(result)
    labels = opened.labels(config, arguments.split)
    if wanted.calibration:
        labels["calibrated"] = f"{file}: {wanted.calibration.describe()}"
    try:
        if processes.is_main:
            hand_out(result, labels, arguments.json, arguments.csv, arguments.micro)
    finally:  # also of an incomplete result
        if report is not None:
            report.write(result, labels, config.data.max_depth, processes)
    if processes.is_main and result.gt_use.is_loud:
        print(result.gt_use.describe("scored", config.data.max_depth), file=sys.stderr)


@dataclass(frozen=True)
class Wanted:
    """What an evaluation is to give beside the metrics.

    predictions: folder for 16-bit depth PNG files (KITTI's are its crops, 352x1216). has_medians:
    of each image. num_draws: scenes to draw from the words alone, which are scored alone then.
    calibration: what to do to all predictions before they are scored and saved. on_scored: is shown
    each image of this process that has a scored pixel.
    """

    predictions: str | None = None
    has_medians: bool = False
    num_draws: int | None = None
    calibration: DistanceCalibration | None = None
    on_scored: OnScored | None = None


NOTHING_MORE = Wanted()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to score with its own config, changed by a file and by overrides."""

    stage: Stage
    path: Path
    config_file: Path | None = None
    overrides: tuple[str, ...] = ()

    def _read(self) -> dict[str, Any]:
        recipes = (self.stage.recipe,)
        return load_checkpoint(
            self.path, stage=self.stage.name, recipes=recipes, takes_exported=True
        )

    def open(self, processes: Processes) -> tuple[RunConfig, nn.Module]:
        """The config to score it with, and its network."""
        saved = self._read()
        tree, sources = saved["config"], {"": str(self.path)}
        tree["eval"].pop("max_images", None)  # limits validation while training, not this
        if self.config_file is not None:
            merge_yaml(tree, sources, self.config_file)
        apply_overrides(tree, sources, list(self.overrides), self.stage.config_type)
        config = build_config(self.stage.config_type, tree, sources)
        set_hub_timeout(config.hub_timeout)
        return config, self.stage.load(saved).to(processes.device)

    def score(
        self, split: SplitName, processes: Processes, wanted: Wanted = NOTHING_MORE
    ) -> tuple[EvalResult, RunConfig]:
        """Score it on a split; returns the result and the config used."""
        config, model = self.open(processes)
        kept = KeptData.of(self._read(), self.path)
        dataset = load_split(config, split, self.stage.needs(model), processes, kept)
        notes = list(dataset.notes)
        if (average := describe_average(self._read())) is not None:
            notes.append(average)
        if kept is None and is_searched(config.data):
            notes.append(f"{self.path} does not say which images it was trained on; the folder was "
                         "divided again")  # fmt: skip
        if processes.is_main and notes:
            print(*map(one_line, notes), sep="\n", file=sys.stderr)
        self.stage.check_words(model, dataset.language, dataset.largest_size)
        writer = None
        if wanted.predictions is not None:
            files = {sample.key: sample.image_file for sample in dataset.samples}
            scale = config.eval.saved_depth_scale or dataset.data_set.depth_scale
            gt_files = [sample.depth_file for sample in dataset.samples]
            writer = DepthWriter(Path(wanted.predictions), scale, files, gt_files)
        watchers = Watchers(writer, wanted.on_scored)
        words = self.stage.words_alone
        if words and wanted.num_draws is not None:
            result = score_words(
                model, words, dataset, config, processes, wanted.num_draws, watchers
            )
        else:
            result = evaluate_dataset(
                model,
                calibrated(self.stage.predict, wanted.calibration),
                dataset,
                config.eval,
                config.data.max_depth,
                processes,
                watchers,
                wanted.has_medians,
            )
        if writer is not None:
            lost = describe_changed(processes.gather(writer.changed), writer.depth_scale)
            if processes.is_main:
                own = wanted.calibration
                done = {} if own is None else {"calibration": asdict(own)}
                write_scale(writer.folder, writer.depth_scale, done)
            if processes.is_main and lost:
                print(lost, file=sys.stderr)
        return result, config

    def labels(self, config: RunConfig, split: str) -> dict[str, str]:
        """What a result file says beside the numbers; other words than usual are never silent."""
        control, captions = config.text.control, config.eval.captions
        average, most = describe_average(self._read()), config.eval.max_images
        return {
            "checkpoint": str(self.path),
            "recipe": self.stage.recipe,
            "stage": self.stage.name,
            "data": str(config.data.root),
            "split": split,
            **({} if most is None else {"images": f"the first {most} (eval.max_images)"}),
            **({} if control == "caption" else {"control": control}),
            **({} if captions == "first" else {"captions": captions}),
            **({} if average is None else {"weights": average}),
        }


def calibrated(predict: Predict, calibration: DistanceCalibration | None) -> Predict:
    """The prediction of a stage, calibrated."""
    if calibration is None:
        return predict
    return lambda model, batch: calibration.apply(predict(model, batch).float())


@contextmanager
def _claim_output(arguments: argparse.Namespace, processes: Processes) -> Iterator[None]:
    """Hold what is written file by file: two programs would mix theirs."""
    with ExitStack() as held:
        for folder in filter(None, (arguments.save_predictions, arguments.report)):
            claim = claim_folder(Path(folder), "name another folder")
            held.enter_context(claim_together(processes, claim))
        if arguments.save_submission:
            claim = claim_path(Path(arguments.save_submission), "name another file")
            held.enter_context(claim_together(processes, claim))
        yield


def _check_samples(count: int, stage: Stage, path: Path, experiment: str) -> None:
    """Raise a `UserError` unless `count` scenes can be drawn."""
    if stage.words_alone is None:
        raise UserError(
            f"--samples: in {stage.name} ({stage.recipe}) the words alone give no depth to draw; "
            "they do in stage 1 and in recipe joint"
        )
    if is_exported(path):
        raise UserError(
            f"--samples: {path} is an exported network, which draws no scenes; name the run it was "
            f"made from, {stage.name} of experiment {experiment}"
        )
    if count < MIN_DRAWS:
        raise UserError(f"--samples {count}: too few for a 95 % interval; at least {MIN_DRAWS}")


def check_changeable(overrides: Sequence[str]) -> None:
    """Raise a `UserError` for a `key=value` that a checkpoint fixes."""
    for override in overrides:
        if not override.startswith(CHANGEABLE):
            raise UserError(
                f"command line: {override} cannot be changed here: the checkpoint fixes it; "
                "data.*, text.*, eval.*, output_root and hub_timeout can"
            )


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """The `key=value` words, and those that options stand for."""
    overrides = list(arguments.overrides)
    check_changeable(overrides)
    if arguments.protocol:
        overrides.append(f"eval.protocol={arguments.protocol}")
    if arguments.flip:
        overrides.append("eval.flip=true")
    return overrides
