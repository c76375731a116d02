"""Run a study: a grid of recipes, words, encoders, data and seeds that answers one question.

    python scripts/study.py configs/studies/demo_scale.yaml --list
    python scripts/study.py configs/studies/demo_scale.yaml
    python scripts/study.py my.yaml --jobs 4 --only "joint*, seed 0" staged train.max_steps=300

A STUDY.yaml names what is compared; docs/studies.md tells how to write one. Every run has a folder
of its own; earlier stages that several runs need are trained once. As many runs go on at a time as
there are GPUs, or cores, each with its own. The same command goes on where it was: finished scores
are read, half-trained runs resume. Ctrl-C lets all runs save themselves first.

A `key=value` without a dot changes a key of the study (`seeds=[0]`), one with a dot is a setting of
all runs (`train.max_steps=300`; `stage1:train.max_steps=50`: of stage 1).

Writes results.csv (one line per score) after each score, and the report at the end and until then
at most once a minute.
"""

import argparse
import fnmatch
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import REPO_ROOT, find_yaml
from common.config_values import output_path, positive, split_overrides
from common.errors import UserError, run_program
from common.files import check_output
from common.runtime.claims import claim_folder
from common.runtime.cores import num_cores
from common.runtime.machine import environment
from scripts.run_plans.jobs import Slot, make_slots, run_jobs, visible_gpus
from scripts.run_plans.study_config import StudyConfig, read_study
from scripts.run_plans.study_data import survey_study
from scripts.run_plans.study_folder import StudyFolder
from scripts.run_plans.study_list import describe_plan
from scripts.run_plans.study_plan import StudyRun, plan_study
from scripts.run_plans.study_watch import StudyWatch


def main() -> None:
    """Plan, check, then run what is not finished yet."""
    arguments, overrides = _parse()
    study = read_study(find_yaml(arguments.study), overrides)
    folder = output_path(arguments.output) if arguments.output else default_folder(study)
    runs = plan_study(study, folder)
    chosen = choose(runs, arguments.only)
    slots = make_slots(arguments.jobs, visible_gpus(), num_cores())
    if arguments.list:
        print(describe_plan(study, folder, chosen, len(slots)))
        return
    check_output(folder / "results.csv")
    with claim_folder(folder, "name another --output"):
        found = StudyFolder(folder, study, runs, survey_study(study, runs, folder))
        run_study(found, chosen, slots)


def run_study(found: StudyFolder, chosen: Sequence[StudyRun], slots: Sequence[Slot]) -> None:
    """Run what is left of the chosen runs; exit code 1 if any failed."""
    tasks = found.tasks(chosen)
    facts = {"command": shlex.join(sys.argv), **environment()}
    watch = StudyWatch(found, {task.job.key: task for task in tasks}, len(slots), facts)
    watch.tell_start()
    try:
        run_jobs([task.job for task in tasks], slots, watch.start, watch.end)
    finally:
        table = watch.write_report()
    print(f"\n{table}\n\nResults: {found.folder}")
    if watch.failures:
        print(f"{len(watch.failures)} of {len(tasks)} jobs failed:", *watch.failures, sep="\n",
              file=sys.stderr)  # fmt: skip
        raise SystemExit(1)


def default_folder(study: StudyConfig) -> Path:
    """Where a study is, if no --output is given."""
    return REPO_ROOT / "runs" / "studies" / study.name


def choose(runs: Sequence[StudyRun], texts: Sequence[str]) -> list[StudyRun]:
    """The runs that --only asks for; all, if it asks for none."""
    chosen = [run for run in runs if not texts or any(matches(run, text) for text in texts)]
    if not chosen:
        raise UserError(
            f"--only {shlex.join(texts)}: no run has these labels; the first one's are "
            f"'{runs[0].point.title}', and --list shows the others"
        )
    return chosen


def matches(run: StudyRun, text: str) -> bool:
    """Whether a run has every label of `joint*, seed 0`."""
    parts = [part.strip() for part in text.split(",")]
    return all(fnmatch.filter(run.point.labels, part) for part in parts)


def _parse() -> tuple[argparse.Namespace, list[str]]:
    """The options, and the `key=value` overrides."""
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="study.py STUDY.yaml [options] [key=value ...]",
    )
    add = parser.add_argument
    add("study", metavar="STUDY.yaml")
    add("--jobs", type=positive, metavar="N", help="runs at a time (default: one per GPU, or core)")
    add("--output", metavar="DIR", help="the study's folder (default: runs/studies/NAME)")
    add(
        "--only",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="only runs with these labels, as joint, 'llm*' or 'staged, seed 0'",
    )
    add("--list", action="store_true", help="print the runs and the time they take; run nothing")
    return parser.parse_args(arguments), overrides


if __name__ == "__main__":
    run_program(main)
