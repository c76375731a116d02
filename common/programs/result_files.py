"""What every program that scores prints and writes: the table, a JSON and a CSV file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.evaluation.calibration import format_calibration
from common.evaluation.protocols import ProtocolMismatch
from common.evaluation.results import (
    EvalResult,
    describe_failures,
    format_aligned,
    format_table,
    result_dict,
    write_csv,
)
from common.files import check_output
from common.text_files import write_json


def check_result_files(json_file: str | None, csv_file: str | None) -> None:
    """Try every place to write to before anything is scored."""
    files = [Path(name) for name in (json_file, csv_file) if name]
    if len({path.resolve() for path in files}) < len(files):
        raise UserError(f"--json and --csv both name {json_file}; name two files")
    for path in files:
        check_output(path)


def hand_out(
    result: EvalResult,
    labels: dict[str, str],
    json_file: str | None = None,
    csv_file: str | None = None,
    with_micro: bool = False,
) -> None:
    """Print and write the result; a `UserError` at the end if it is not complete.

    labels: see `result_dict`; `stage` names its line of the table, where
    `calibrated` is told, too.
    """
    content: dict[str, Any] = result_dict(result, **labels)
    name = labels["stage"] + (" (calibrated)" if "calibrated" in labels else "")
    name += " (incomplete)" if result.failures else ""
    rows: list[tuple[str, EvalResult | dict[str, Any]]] = [(name, result)]
    if with_micro:
        rows.append((f"{name} (over pixels)", {**content, "metrics": result.micro}))
        content["micro"] = result.micro
    print(format_table(rows))
    if (spread := result.caption_spread) is not None:
        print(
            "all captions: the geometric mean of the predictions is scored; largest to smallest "
            f"median depth of an image: mean {spread['mean']:.3f}, at most {spread['largest']:.3f}"
        )
    if result.calibration is not None:
        print("", format_calibration(result.calibration), sep="\n")
    if result.aligned:
        print("", format_aligned(result), sep="\n")
    if json_file:
        write_json(Path(json_file), content)
    if csv_file:
        write_csv(Path(csv_file), result)
    if result.failures:
        raise UserError(
            f"incomplete, only {result.num_images} images are scored: {describe_failures(result)}"
        )


def naming_options(result: EvalResult) -> EvalResult:
    """Failures as a user of `eval.py`, whose `--protocol` wins over the key, is told of them."""
    failures = [
        replace(failure, error=failure.error.naming_option())
        if isinstance(failure.error, ProtocolMismatch)
        else failure
        for failure in result.failures
    ]
    return replace(result, failures=failures)
