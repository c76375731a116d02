"""Train all three stages on generated rooms, score them, and write a report.

Runs the programs a user would type, prints each command, and reuses whatever is there already.
Results: runs/demo/report.html and runs/demo/results.json.
"""

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import Tensor

from common.data.dataset import DepthDataset
from common.errors import run_program
from common.evaluation.panels import stack_panels, write_png
from common.evaluation.results import EvalResult, format_table, result_dict
from common.evaluation.scoring import ScoringRule, evaluate_depth
from common.files import check_output
from common.language.language import Needs
from common.programs.assembly import evaluation_batches, load_split
from common.programs.evaluate import Checkpoint, Wanted
from common.programs.inference import draw_prediction_panel
from common.programs.report_folder import ReportFolder
from common.programs.run_config import RunConfig
from common.programs.stage import Stage
from common.runtime.claims import claim_path
from common.runtime.cores import LoadMeter
from common.runtime.machine import environment
from common.runtime.processes import Processes, join_processes
from common.runtime.threads import are_chosen, free_threads
from common.text_files import write_json
from scripts.report import write_report
from scripts.run_plans.stage_runs import StageRun, run_command, run_side_by_side
from stage1_vae.stage import STAGE as STAGE1
from stage2_sampler.stage import STAGE as STAGE2
from stage3_depth.stage import STAGED as STAGE3

# A rehearsal runs everything in a minute; its numbers mean nothing.
REHEARSAL = ("train.max_steps=4", "train.batch_size=4", "train.num_workers=0", "eval.every=4")
IMAGE_REPORT = "images"  # folder of the last row's evaluation report
REHEARSAL_DATA = ("--scenes", "12", "--val-scenes", "2", "--test-scenes", "4")


@dataclass(frozen=True)
class Model:
    """One row of the table: how it is trained, where it is, what scores it."""

    name: str
    experiment: str
    stage: Stage
    overrides: tuple[str, ...] = ()

    def run(self, data_root: Path, earlier: Path | None, extra: tuple[str, ...]) -> StageRun:
        """The training. earlier: the run folder of the stage before."""
        overrides = [f"experiment={self.experiment}", f"data.root={data_root / 'rooms'}"]
        if earlier is not None:
            overrides.append(f"init.{earlier.name.partition('-')[0]}={earlier}")
        config_file = ROOT / f"configs/demo/{self.stage.name}.yaml"
        return StageRun(self.stage, config_file, (*overrides, *self.overrides, *extra))


@dataclass(frozen=True)
class TrainedModel:
    """A model and the folder of its run."""

    model: Model
    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "best.pt"


def models(experiment: str) -> list[Model]:
    """The four trained rows, in the order of training; the second last is the control."""
    control = f"{experiment}_control"
    no_language = ("language.mode=none",)
    return [
        Model("stage 1 (text only)", experiment, STAGE1),
        Model("stage 2", experiment, STAGE2),
        Model("stage 3 without language", control, STAGE3, no_language),
        Model("stage 3", experiment, STAGE3),
    ]


def main() -> None:
    """Data, training, evaluation, report."""
    arguments = _parse()
    experiment = "rehearsal" if arguments.rehearsal else "demo"
    data_root = ROOT / "data" / experiment
    run_dir = ROOT / "runs" / experiment
    with claim_path(run_dir, "look at its files in the meantime"):
        make_all(arguments, experiment, data_root, run_dir)


def make_all(
    arguments: argparse.Namespace, experiment: str, data_root: Path, run_dir: Path
) -> None:
    """Every program in its turn; what is there already is reused."""
    rows = models(experiment)
    if arguments.fresh:
        for folder in (data_root, run_dir, ROOT / "runs" / f"{experiment}_control"):
            shutil.rmtree(folder, ignore_errors=True)
    check_output(run_dir / "results.json")
    start = time.monotonic()
    small = REHEARSAL_DATA if arguments.rehearsal else ()
    maker = str(ROOT / "scripts" / "make_demo_data.py")
    run_command([sys.executable, maker, "--out", str(data_root), *small])
    runs = train_all(rows, data_root, REHEARSAL if arguments.rehearsal else ())
    with join_processes() as processes:
        results = score(runs, run_dir, processes)
    results["facts"]["minutes"]["this call"] = round((time.monotonic() - start) / 60, 1)
    write_json(run_dir / "results.json", results)
    print_summary(results, write_report(run_dir))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: sh scripts/quickstart.sh --fresh",
    )  # fmt: skip
    parser.add_argument(
        "--fresh", action="store_true", help="remove the demo's data and runs first"
    )
    parser.add_argument(
        "--rehearsal",
        action="store_true",
        help="all of it in a minute on few images (runs/rehearsal)",
    )
    return parser.parse_args()


def train_all(rows: list[Model], data_root: Path, extra: tuple[str, ...]) -> list[TrainedModel]:
    """Run each stage's `train.sh` in one process: the networks are small.

    The last two are the control and what it is compared with. Neither needs the other, and with
    half of the threads each they are faster side by side.
    """
    runs: list[StageRun] = []
    for model in rows:
        earlier = {run.stage.name: run.folder for run in runs}
        needed = {"stage2": "stage1", "stage3": "stage2"}.get(model.stage.name, "")
        runs.append(model.run(data_root, earlier.get(needed), extra))
    *first, control, last = runs
    for run in first:
        run.train(NPROC="1")
    threads = 1 if torch.cuda.is_available() or are_chosen() else free_threads(LoadMeter())[0]
    if threads == 1:
        control.train(NPROC="1")
        last.train(NPROC="1")
    else:
        shares = {"NPROC": "1", "OMP_NUM_THREADS": str(threads // 2)}
        run_side_by_side(last.command, control.command, log_of(control), **shares)
    return [TrainedModel(model, run.folder) for model, run in zip(rows, runs, strict=True)]


def log_of(run: StageRun) -> Path:
    """What a run prints while another one is shown."""
    return run.folder.with_suffix(".log")


def score(rows: list[TrainedModel], run_dir: Path, processes: Processes) -> dict[str, Any]:
    """Score every row on the test split, draw the report's panels, and return results.json."""
    print("\nScoring on the test split ...", flush=True)
    table: list[dict[str, Any]] = []
    report = ReportFolder(run_dir / IMAGE_REPORT)
    for row in rows:
        checkpoint = Checkpoint(row.model.stage, row.checkpoint)
        is_shown = row is rows[-1]
        wanted = Wanted(has_medians=is_shown, on_scored=report.gathered.add if is_shown else None)
        result, config = checkpoint.score("test", processes, wanted)
        named = replace(checkpoint, path=row.checkpoint.relative_to(ROOT))
        labels = named.labels(config, "test")
        if is_shown:
            report.write(result, labels, config.data.max_depth, processes)
        entry = {"name": row.model.name, **result_dict(result, **labels)}
        table.append({**entry, "mean_ratio": mean_ratio(result.per_image)})
    images = load_split(config, "test", Needs(), processes)
    table.insert(0, constant_guess_row(images, config))
    swapped = ("text.captions=captions_swapped.jsonl",)
    result, _ = Checkpoint(STAGE3, rows[-1].checkpoint, overrides=swapped).score("test", processes)
    draw_twins(rows[-2:], run_dir / "report_panels", processes)
    control = wrong_caption_ratios(result, config.data.root)
    pages = {f"{rows[-1].model.name}, image by image": f"{IMAGE_REPORT}/report.html"}
    return {"rows": table, "caption_control": control, "pages": pages, "facts": facts(rows)}


def mean_ratio(rows: list[dict[str, Any]]) -> float:
    """Geometric mean of predicted / true depth, over images."""
    return float(np.exp(np.mean([row["log_ratio"] for row in rows])))


def wrong_caption_ratios(result: EvalResult, data_root: Path) -> dict[str, float]:
    """Predicted / true depth when every image comes with the caption of the other scale."""
    lines = (data_root / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    scale = {entry["image"]: entry["scale"] for entry in map(json.loads, lines)}
    full = [r for r in result.per_image if scale[r["image_path"]] == "full"]
    small = [r for r in result.per_image if scale[r["image_path"]] == "miniature"]
    return {
        "full_size_with_miniature_caption": mean_ratio(full),
        "miniature_with_full_size_caption": mean_ratio(small),
    }


def constant_guess_row(dataset: DepthDataset, config: RunConfig) -> dict[str, Any]:
    """The one depth that has the lowest mean AbsRel on this very split, scored like a model."""
    samples = [dataset[i].gt_depth[:, ::4, ::4].flatten() for i in range(len(dataset))]

    def abs_rel(guess: Tensor) -> float:
        return float(np.mean([((guess - s[s > 0]).abs() / s[s > 0]).mean() for s in samples]))

    best = min(torch.logspace(-1, 1, 201), key=abs_rel)
    alone = Processes(0, 1, torch.device("cpu"))
    result = evaluate_depth(
        lambda batch: best * torch.ones_like(batch.image[:, :1]),
        evaluation_batches(dataset, config.eval, alone),
        ScoringRule(config.eval.protocol, config.data.max_depth),
    )
    labels = {"split": "test", "note": "the best one for this very split"}
    return {"name": f"constant guess ({best:.2f} m)", **result_dict(result, **labels)}


def draw_twins(
    rows: list[TrainedModel], folder: Path, processes: Processes, num_images: int = 3
) -> None:
    """The same image with both captions, as the control and as the full model see it."""
    shutil.rmtree(folder, ignore_errors=True)
    for row in rows:
        stage = row.model.stage
        config, network = Checkpoint(stage, row.checkpoint).open(processes)
        dataset = load_split(config, "test", stage.needs(network), processes)
        for number in range(min(num_images, len(dataset) // 2)):
            # Twins are neighbors in the list.
            first = number * (len(dataset) // 2 // num_images) * 2
            panels = [
                draw_prediction_panel(network, stage.predict, dataset, index, row.model.name)
                for index in (first, first + 1)
            ]
            name = f"same_pixels_{number + 1}_{row.model.name.replace(' ', '_')}.png"
            write_png(folder / name, stack_panels(panels))


def facts(rows: list[TrainedModel]) -> dict[str, Any]:
    """Where the numbers come from, for the report."""
    minutes = {row.model.name: training_minutes(row.folder) for row in rows}
    return {**environment(), "minutes": minutes, "commands": ["sh scripts/quickstart.sh"]}


def training_minutes(folder: Path) -> float:
    """Minutes of training steps, from the run's own log."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]
    steps = np.diff([0, *(entry["step"] for entry in logged)])
    seconds = sum(s * entry["step_seconds"] for s, entry in zip(steps, logged, strict=True))
    return round(float(seconds) / 60, 1)


def print_summary(results: dict[str, Any], report: Path) -> None:
    """The table, the wrong-caption ratios, and where to look."""
    print("\n" + format_table([(row["name"], row) for row in results["rows"]]))
    ratios = results["caption_control"]
    print(
        f"\nWith the caption of the other scale, stage 3 predicts "
        f"{ratios['full_size_with_miniature_caption']:.2f} x the depth of full-size rooms "
        f"and {ratios['miniature_with_full_size_caption']:.2f} x that of miniatures."
    )
    print(f"\nReport:  {report}\nNumbers: {report.with_name('results.json')}"
          f"\nCurves:  .venv/bin/tensorboard --logdir {report.parent}")  # fmt: skip


if __name__ == "__main__":
    run_program(main)  # an interrupted one goes on where it was: the same command again
