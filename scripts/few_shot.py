"""Train recipes on few images, score them on the whole test split, and compare them.

    python scripts/few_shot.py --recipe llm-mde staged --images 8 32 0.5 all --output runs/few_shot
    python scripts/few_shot.py --recipe llm-mde "llm-mde prompt.caption=false" --data nyu/labeled
        --images 8 32 128 --seeds 0 1 2 3 4 --output runs/few_shot_caption train.max_steps=300

Every recipe trains on the same images: a seed decides which ones (`data.subset_seed`), and the
images of a smaller number are among those of a larger one. The seed also decides the initial
weights and the order of the images. Validation and test split stay whole; the number of steps is
the same for every number of images. Words after a recipe's name belong to its scored stage alone,
`key=value` overrides at the end to all stages of all recipes.

Writes table.txt, abs_rel.svg (AbsRel against the number of images, mean and standard deviation over
seeds) and results.json, anew after each run. The same command goes on where it was; what is
finished is not trained again. docs/few_shot.md tells more.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config_values import output_path, split_overrides
from common.errors import UserError, run_program
from common.files import check_output
from common.runtime.claims import claim_folder
from common.runtime.machine import environment
from scripts.run_plans.few_shot_plan import FewShotRun, make_plan
from scripts.run_plans.few_shot_report import REPORT_FILES, ResultRow, write_few_shot_report
from scripts.run_plans.recipes import RECIPES


def main() -> None:
    """Plan, check, then train and score one run after the other."""
    arguments, overrides = _parse()
    output = output_path(arguments.output)
    runs = make_plan(
        arguments.recipe,
        arguments.data,
        arguments.images,
        arguments.seeds,
        output,
        arguments.checkpoint,
        overrides,
    )
    for name in REPORT_FILES:
        check_output(output / name)
    with claim_folder(output, "name another --output"):
        run_all(runs, output)


def run_all(runs: list[FewShotRun], output: Path) -> None:
    """One run after the other; what is finished is written after each."""
    facts = {"command": " ".join(sys.argv), **environment()}
    rows: list[ResultRow] = []
    failures: list[str] = []
    for number, run in enumerate(runs, 1):
        print(f"\n[{number}/{len(runs)}] {run.title}", flush=True)
        try:
            rows.append(row_of(run))
        except (SystemExit, UserError) as error:
            failures.append(f"{run.title}: {_reason(error)}")
            print(f"failed: {failures[-1]}", file=sys.stderr, flush=True)
        table = write_few_shot_report(output, rows, failures, facts)
    print(f"\n{table}\n\nResults: {output}")
    if failures:
        print(f"{len(failures)} of {len(runs)} runs failed:", *failures, sep="\n", file=sys.stderr)
        raise SystemExit(1)


def row_of(run: FewShotRun) -> ResultRow:
    """Train and score, unless that is done; returns one row of results.json."""
    result = run.read_result()
    if result is None:
        run.train()
        run.evaluate()
        result = run.read_result()
    else:
        print(f"finished before: {run.result_file}", flush=True)
    if result is None:
        raise UserError(f"{run.result_file} cannot be read; run the same command again")
    subset = run.subset
    return {
        "name": run.recipe.spec,
        "train_images": subset.images,
        "seed": subset.seed,
        "result": result,
    }


def _reason(error: SystemExit | UserError) -> str:
    return f"exit code {error.code}" if isinstance(error, SystemExit) else str(error)


def _parse() -> tuple[argparse.Namespace, list[str]]:
    """The options, and the `key=value` overrides."""
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="few_shot.py --recipe NAME ... --images K ... --output DIR [options] [key=value ...]",
    )
    add = parser.add_argument
    add(
        "--recipe",
        nargs="+",
        required=True,
        metavar="NAME",
        help=f"what to train: {', '.join(RECIPES)}, or in quotes 'NAME key=value ...'",
    )
    add(
        "--data",
        default="demo",
        metavar="NAME",
        help="configs/NAME/*.yaml (demo, nyu, kitti), configs/NAME_*.yaml (nyu/labeled, "
        "demo/streets), or your own folder of such files (default: demo)",
    )
    add(
        "--images",
        nargs="+",
        required=True,
        metavar="K",
        help="numbers of training images (8), shares of them (0.5), or 'all'",
    )
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="S", help="default: 0 1 2")
    add("--output", required=True, metavar="DIR", help="for runs and results")
    add(
        "--checkpoint",
        choices=("last", "best"),
        default="last",
        help="last: nothing was chosen (default); best: by the validation split, which may hold "
        "more images than the training",
    )
    return parser.parse_args(arguments), overrides


if __name__ == "__main__":
    run_program(main)
