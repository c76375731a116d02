"""What a study found, in words: answers, a text table, a Markdown table, and two CSV files.

All differences are ours - theirs, so below 0 is better for AbsRel and RMSE, above 0 for d1.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from common.evaluation.comparison import Estimate
from common.evaluation.metrics import METRIC_NAMES
from common.evaluation.results import align_columns
from scripts.reporting.study_calibration import calibration_lines
from scripts.reporting.study_numbers import CAPTION, Difference, StudyNumbers, is_plain
from scripts.reporting.study_values import StudyRow
from scripts.run_plans.study_scores import Cell, StudyInfo

SHOWN = {"abs_rel": "AbsRel", "rmse": "RMSE", "d1": "d1"}
CONTROL_WORDS = {
    "caption": "with captions",
    "none": "without words",
    "empty": "with an empty sentence",
    "constant": "with one sentence for all images",
    "category": "with the type of the scene as words",
    "other_image": "with captions of other images of the same type",
    "shuffled": "with captions of other images",
    "wrong": "with captions of another type of scene",
}
Verdict = Literal["better", "worse", "same", "unknown"]


@dataclass(frozen=True)
class StudyAnswer:
    """What the captions are worth to one recipe."""

    difference: Difference
    verdict: Verdict
    text: str


def answer(difference: Difference) -> StudyAnswer:
    """The question of a study for one recipe, answered by AbsRel."""
    found = difference.estimates["abs_rel"]
    ours, theirs = difference.means("abs_rel")
    cells = difference.ours.cell, difference.theirs.cell
    head, tail = (CONTROL_WORDS.get(c.train_control, c.train_control) for c in cells)
    text = f"{cells[0].recipe}: {head} AbsRel is {ours:.3f}, {tail} {theirs:.3f}"
    if not (difference.aligned.values[0] - difference.aligned.values[1]).any():
        return StudyAnswer(difference, "same", f"{text}: every image has the same scores.")
    worth = describe_worth(found, theirs)
    if not found.has_interval:
        reason = "all test images are of one scene, so nothing tells how much of it is chance"
        return StudyAnswer(difference, "unknown", f"{text}: {worth}; {reason}.")
    alone = " One seed: what another training would give is not in the interval."
    note = alone if found.num_seeds == 1 else ""
    corrected = ""
    if difference.family > 1:
        p = p_text(difference.corrected["abs_rel"])
        corrected = f"; p = {p} after correction for {difference.family} comparisons"
    if difference.is_significant:
        verdict: Verdict = "better" if found.mean < 0 else "worse"
        return StudyAnswer(difference, verdict, f"{text}: {worth}{corrected}.{note}")
    text += (
        f". This study cannot tell whether that is more than chance: {worth}{corrected}. A true "
        f"difference of {found.detectable:.3f} would be found by four of five such studies.{note}"
    )
    return StudyAnswer(difference, "unknown", text)


def describe_worth(found: Estimate, reference: float) -> str:
    """`the words are worth 0.009 [0.002, 0.015] (5 %)`: how much lower AbsRel is with them."""
    is_cost = found.has_interval and found.low > 0
    sign = 1 if is_cost else -1
    ends = (found.low, found.high) if is_cost else (found.high, found.low)
    worth, *texts = (_fixed(sign * value) for value in (found.mean, *ends))
    interval = f" [{', '.join(texts)}]" if found.has_interval else ""
    share = f" ({_fixed(100 * sign * found.mean / reference, 0)} %)" if reference else ""
    return f"the words {'cost' if is_cost else 'are worth'} {worth}{interval}{share}"


def _fixed(value: float, digits: int = 3) -> str:
    """A number without the sign of a zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def mean_and_spread(found: Estimate | None, digits: int = 4) -> str:
    """`0.1812 ± 0.0040`."""
    if found is None:
        return "-"
    spread = f" ± {found.seed_std:.{digits}f}" if math.isfinite(found.seed_std) else ""
    return f"{found.mean:.{digits}f}{spread}"


def signed_interval(found: Estimate | None, digits: int = 4) -> str:
    """`-0.0090 [-0.0150, -0.0020]`."""
    if found is None:
        return "-"
    interval = f" [{found.low:+.{digits}f}, {found.high:+.{digits}f}]" if found.has_interval else ""
    return f"{found.mean:+.{digits}f}{interval}"


def p_text(p: float) -> str:
    return f"{p:.2g}" if math.isfinite(p) else "-"


def scored_with(cell: Cell) -> str:
    """The control while scoring, where it is another one than while training."""
    return "the same" if cell.eval_control == cell.train_control else cell.eval_control


def table_cells(row: StudyRow, difference: Difference | None) -> list[str]:
    """Of the text tables, without the name of the recipe."""
    cell, estimates = row.cell, row.estimates
    any_metric = estimates.get("abs_rel")
    counts = [str(any_metric.num_seeds), str(any_metric.num_images)] if any_metric else ["0", "0"]
    found = difference.estimates["abs_rel"] if difference else None
    p_values = [found.p, difference.corrected["abs_rel"]] if found and difference else []
    return [
        cell.train_control,
        scored_with(cell),
        *counts,
        *(mean_and_spread(estimates.get(metric)) for metric in SHOWN),
        signed_interval(found),
        *(p_text(p) for p in p_values or [math.nan, math.nan]),
    ]


def heading(reference: str) -> list[str]:
    return [
        "recipe", "trained with", "scored with", "seeds", "images", *SHOWN.values(),
        f"AbsRel minus that of {reference} [95 %]", "p", "p (Holm)",
    ]  # fmt: skip


def text_table(study: StudyInfo, numbers: StudyNumbers) -> str:
    """The answers, and an aligned table for each group of rows."""
    parts = ["\n".join(answers(numbers))]
    for group, rows in numbers.groups.items():
        table = align_columns([heading(study.reference), *table_lines(numbers, rows)])
        parts.append(f"{group.title}\n{table}".lstrip())
        parts.append(bound_text(study, rows))
    calibrated = calibration_lines(numbers.rows)
    parts += [align_columns(calibrated)] if calibrated else []
    return "\n\n".join(part for part in parts if part)


def bound_text(study: StudyInfo, rows: Sequence[StudyRow]) -> str:
    """Each recipe with captions, and the best row of other words, against what pixels allow.

    "" where that is not known of the rows' data.
    """
    bound = study.bounds.get(rows[0].cell.data)
    scored = [row for row in rows if row.estimates]
    if bound is None or not scored:
        return ""

    def share(row: StudyRow) -> str:
        mean = row.estimates["abs_rel"].mean
        return f"{row.label} {mean:.3f} ({100 * mean / bound:.0f} % of it)"

    text = f"Pixels alone allow no AbsRel below {bound:g}"
    own = [row for row in scored if is_plain(row.cell, CAPTION)]
    if own:
        text += f". With captions: {', '.join(map(share, own))}"
    others = [row for row in scored if row not in own]
    if others:
        lowest = min(others, key=lambda row: row.estimates["abs_rel"].mean)
        text += f". Lowest of all others: {share(lowest)}"
    return f"{text}."


def markdown(study: StudyInfo, numbers: StudyNumbers, command: str) -> str:
    """The same for a page of the documentation."""
    parts = [f"```sh\n{command}\n```"] if command else []
    found = [f"- {_plain_markdown(text)}" for text in answers(numbers)]
    parts += ["\n".join(found)] if found else []
    for group, rows in numbers.groups.items():
        title = ", ".join(filter(None, [group.title, describe_counts(rows)]))
        parts.append(_plain_markdown(f"{title[:1].upper()}{title[1:]}:"))
        parts.append(markdown_table(heading(study.reference), table_lines(numbers, rows)))
        parts.append(_plain_markdown(bound_text(study, rows)))
    calibrated = calibration_lines(numbers.rows)
    parts += [markdown_table(calibrated[0], calibrated[1:])] if calibrated else []
    return "\n\n".join(part for part in parts if part) + "\n"


def table_lines(numbers: StudyNumbers, rows: Iterable[StudyRow]) -> list[list[str]]:
    """The cells below `heading`."""
    return [[r.cell.recipe, *table_cells(r, numbers.controls.get(r.key))] for r in rows]


def answers(numbers: StudyNumbers) -> list[str]:
    """A sentence for each recipe, with the group of its rows where there are several."""
    several = len({each.ours.group for each in numbers.answers}) > 1
    return [
        f"{each.ours.group.title}: {answer(each).text}" if several else answer(each).text
        for each in numbers.answers
    ]


def describe_counts(rows: Sequence[StudyRow]) -> str:
    """`222 images of 38 scenes`, of the row with the most."""
    found = [row.estimates["abs_rel"] for row in rows if row.estimates]
    most = max(found, key=lambda each: each.num_images, default=None)
    if most is None:
        return "no image has scores"
    return f"{most.num_images} images of {most.num_scenes} scenes"


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of GitHub's kind."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(_plain_markdown, row)) + " |" for row in rows)


def _plain_markdown(text: str) -> str:
    """Text that means nothing else in Markdown."""
    special = "|<>*_`" + ("[" if "](" in text else "")
    return "".join(f"\\{c}" if c in special else c for c in text)


def means_csv(numbers: StudyNumbers) -> str:
    """One line for each row and metric: mean, spread over seeds, 95 % interval."""
    lines = [
        {**_row_columns(row), "metric": metric, **_estimate_columns(found)}
        for row in numbers.rows
        for metric, found in row.estimates.items()
    ]
    return _csv(lines)


def differences_csv(numbers: StudyNumbers) -> str:
    """One line for each difference and metric."""
    lines = [
        {
            "kind": each.kind,
            **_row_columns(each.ours),
            **{f"reference_{key}": value for key, value in _row_columns(each.theirs).items()},
            "metric": metric,
            "ours": each.means(metric)[0],
            "reference": each.means(metric)[1],
            **_estimate_columns(each.estimates[metric]),
            "p": each.estimates[metric].p,
            "p_holm": each.corrected[metric],
            "comparisons": each.family,
        }
        for each in numbers.differences
        for metric in METRIC_NAMES
    ]
    return _csv(lines)


def _row_columns(row: StudyRow) -> dict[str, str]:
    return {**asdict(row.cell), "split": "folds" if row.key.is_folded else "test"}


def _estimate_columns(found: Estimate) -> dict[str, float]:
    return {
        "mean": found.mean,
        "seed_std": found.seed_std,
        "low": found.low,
        "high": found.high,
        "num_seeds": found.num_seeds,
        "num_images": found.num_images,
        "num_scenes": found.num_scenes,
    }


def _csv(lines: Sequence[dict[str, object]]) -> str:
    """A table with a heading; a value that is not a number is left empty."""
    table = io.StringIO(newline="")
    if lines:
        writer = csv.DictWriter(table, fieldnames=list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v != v else v for k, v in line.items()} for line in lines)
    return table.getvalue()
