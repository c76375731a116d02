"""How wrong is the scale of each network, and do two of them err alike? From eval.py --csv.

    python scripts/scale_errors.py picture=none.csv words=linear.csv both=caption.csv
    python scripts/scale_errors.py "picture=none_0.csv none_1.csv" "words=linear.csv"

The scale error of an image is the mean of ln pred - ln gt over its scored pixels (`log_ratio`).
Told are its mean and standard deviation over the images of each, and of each two of them how far
the errors correlate, and the standard deviation of their best mixture, (1 - w) a + w b in logs,
whose weight w is chosen for every scene on the other scenes: what one could gain from knowing the
other. Several files of one name are seeds; numbers are means over them.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.data.scenes import scene_labels
from common.errors import UserError, run_program
from common.evaluation.comparison import Floats
from common.evaluation.mixture import mix
from common.evaluation.results import align_columns

COLUMN = "log_ratio"


def main() -> None:
    """Print a table of the networks, and one of their pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scores", nargs="+", metavar="NAME=FILE.csv")
    named = list(map(read_argument, parser.parse_args().scores))
    found = dict(named)
    if len(found) < len(named):
        raise UserError("two NAMEs are the same; give each its own, and the seeds of one together")
    images, errors = align_errors(found)
    scenes = scene_labels(images)
    print(f"{len(images)} images of {len(set(scenes))} scenes")
    print(align_columns([["scale error", "mean", "std"], *single_lines(errors)]))
    if len(errors) > 1:
        head = ["two of them", "correlation", "weight of the second", "std of the mixture"]
        print(align_columns([head, *pair_lines(errors, scenes)]))


def read_argument(text: str) -> tuple[str, list[dict[str, float]]]:
    """`NAME=FILE FILE ...`: the name, and of each file image -> scale error."""
    name, equals, files = text.partition("=")
    if not equals or not name or not files.split():
        raise UserError(f"{text!r} is not of the form NAME=FILE.csv")
    paths = [Path(files)] if Path(files).is_file() else list(map(Path, files.split()))
    return name, list(map(read_errors, paths))


def read_errors(path: Path) -> dict[str, float]:
    """Image -> `log_ratio`, of the images that have a finite one."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        errors = {row["image_path"]: float(row[COLUMN]) for row in rows}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} has no columns image_path and {COLUMN} of numbers; give what eval.py --csv "
            "wrote"
        ) from error
    return {image: error for image, error in errors.items() if np.isfinite(error)}


def align_errors(
    found: Mapping[str, Sequence[Mapping[str, float]]],
) -> tuple[list[str], dict[str, Floats]]:
    """The images that all files have, and name -> errors [S, N]."""
    seeds = [one for files in found.values() for one in files]
    images = [image for image in seeds[0] if all(image in one for one in seeds)]
    if len(images) < 2:
        raise UserError(f"the files have {len(images)} images in common; score the same split")
    errors = {
        name: np.array([[one[image] for image in images] for one in files])
        for name, files in found.items()
    }
    return images, errors


def single_lines(errors: Mapping[str, Floats]) -> list[list[str]]:
    """Name, mean and standard deviation."""
    return [
        [name, f"{values.mean():+.3f}", f"{values.std(axis=1).mean():.3f}"]
        for name, values in errors.items()
    ]


def pair_lines(errors: Mapping[str, Floats], scenes: Sequence[str]) -> list[list[str]]:
    """Of each two names; their seeds are paired in order, one file goes with every seed."""
    lines = []
    for first, second in combinations(errors, 2):
        pairs = pair_seeds(errors[first], errors[second])
        correlations = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
        mixed = [mix(a, b, scenes) for a, b in pairs]
        weight, spread = np.mean([(w.mean(), values.std()) for w, values in mixed], axis=0)
        numbers = f"{np.mean(correlations):.2f}", f"{weight:.2f}", f"{spread:.3f}"
        lines.append([f"{first}, {second}", *numbers])
    return lines


def pair_seeds(first: Floats, second: Floats) -> list[tuple[Floats, Floats]]:
    """[S, N] and [S', N] -> pairs of [N]; S' may be S, and either may be 1."""
    count = max(len(first), len(second))
    if not {len(first), len(second)} <= {1, count}:
        raise UserError(
            f"{len(first)} and {len(second)} files cannot be paired; give as many seeds of both, "
            "or one"
        )
    return [(first[i % len(first)], second[i % len(second)]) for i in range(count)]


if __name__ == "__main__":
    run_program(main)
