"""Sections of a study's page as HTML: answers, tables, differences, types of scenes, curves.

Every function returns a string of HTML in which all text from files is escaped.
"""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from common.evaluation.comparison import Estimate
from common.evaluation.report.columns import metric_heads
from common.pages.axes import Series
from common.pages.charts import NUM_COLORS
from common.pages.page import number, table
from common.pages.training import curve_figure, read_stage
from scripts.reporting.interval_chart import interval_chart, signed
from scripts.reporting.study_calibration import EXPLANATION, HEADING, calibrated_rows
from scripts.reporting.study_numbers import Difference, StudyNumbers
from scripts.reporting.study_text import (
    CONTROL_WORDS,
    SHOWN,
    answer,
    bound_text,
    mean_and_spread,
    p_text,
    scored_with,
)
from scripts.reporting.study_values import StudyRow
from scripts.run_plans.study_scores import StudyInfo

VERDICTS = {
    "better": "words help",
    "worse": "words hurt",
    "same": "no change",
    "unknown": "cannot tell",
}
IMAGES_HEAD = "<th>images<small>/ scenes</small></th>"
MAX_TYPES = 16  # rows of a table of scene types

METHOD = """
<p>Every number is a mean over test images, every image counting the same, and then over seeds; ±
is the standard deviation between seeds. Brackets hold 95 % intervals of a difference: scenes and
seeds are drawn anew 10,000 times, with replacement, and both systems keep their values of the same
image and seed (a paired bootstrap). Scenes are drawn and not images, because neighboring frames are
nearly one picture. Few scenes or seeds vary too little when drawn anew, so the draws are scaled as
Student's t is. p is two-sided and comes from the same draws: it is below 0.05 where the interval
leaves out 0. p (Holm) is corrected for how many comparisons of its kind this study makes: captions
with the reference (the question), other controls with it, other words in the test, recipes with
each other. Green and orange: the interval leaves out 0, before that correction.</p>
"""


def answers_section(numbers: StudyNumbers) -> str:
    """One sentence for each recipe, marked by what it says."""
    several = len({each.ours.group for each in numbers.answers}) > 1
    items = []
    for each in numbers.answers:
        found = answer(each)
        group = f"<small>{escape(each.ours.group.title)}</small>" if several else ""
        items.append(
            f'<li><b class="verdict {found.verdict}">{VERDICTS[found.verdict]}</b>'
            f"<span>{group}{escape(found.text)}</span></li>"
        )
    if not items:
        return (
            '<p class="faint">No answer yet: no recipe has scores both with captions and with the '
            "control that they are compared with.</p>"
        )
    return f'<ul class="answers">{"".join(items)}</ul>'


def rows_table(rows: Sequence[StudyRow], numbers: StudyNumbers, reference: str) -> str:
    """Means and spreads of every row, and its difference to the reference control."""
    bodies = []
    for recipe, members in groupby(rows, key=lambda row: row.cell.recipe):
        bodies.append(f'<tr class="group recipe"><th colspan="9">{escape(recipe)}</th></tr>')
        bodies += [_row(row, numbers.controls.get(row.key)) for row in members]
    left_out = max((row.num_left_out for row in rows), default=0)
    text = f"{left_out} images are left out of a row: not every seed has a finite score of them."
    note = f'<p class="faint">{text}</p>' if left_out else ""
    heads = (
        f"<th></th><th>seeds</th>{IMAGES_HEAD}{metric_heads(SHOWN)}<th>AbsRel, difference to"
        f"<small>{escape(reference)} [95 %]</small></th><th>p</th><th>p<small>Holm</small></th>"
    )
    return table(f"<tr>{heads}</tr>", bodies) + note


def bound_note(study: StudyInfo, rows: Sequence[StudyRow]) -> str:
    """What pixels alone allow on the data of the rows, and how far below it words come."""
    text = bound_text(study, rows)
    return f"<p>{escape(text)}</p>" if text else ""


def _row(row: StudyRow, difference: Difference | None) -> str:
    found = row.estimates.get("abs_rel")
    counts = "<td>–</td><td>–</td>"
    if found is not None:
        counts = f"<td>{found.num_seeds}</td>{_counts_cell(found)}"
    cells = "".join(f"<td>{_spread(row.estimates.get(key))}</td>" for key in SHOWN)
    return f"<tr><th>{_name(row)}</th>{counts}{cells}{_difference_cells(row, difference)}</tr>"


def _difference_cells(row: StudyRow, difference: Difference | None) -> str:
    if difference is None:
        return "<td></td><td></td><td></td>"
    found = difference.estimates["abs_rel"]
    other = difference.theirs.group
    elsewhere = f"<br><small>of {escape(other.title)}</small>" if other != row.group else ""
    return (
        f'<td class="{_color(found)}">{_interval(found)}{elsewhere}</td>'
        f"<td>{p_text(found.p)}</td><td>{p_text(difference.corrected['abs_rel'])}</td>"
    )


def _name(row: StudyRow) -> str:
    """What words the row had, for the table below the name of its recipe."""
    trained = CONTROL_WORDS.get(row.cell.train_control, row.cell.train_control)
    if row.is_as_trained:
        return f"{escape(trained)}<small>{escape(row.cell.train_control)}</small>"
    scored = CONTROL_WORDS.get(row.cell.eval_control, row.cell.eval_control)
    return (
        f"{escape(scored)}, in the test only<small>{escape(row.cell.train_control)} → "
        f"{escape(scored_with(row.cell))}</small>"
    )


def differences_chart(rows: Sequence[StudyRow], numbers: StudyNumbers, reference: str) -> str:
    """The differences in AbsRel of trainings to the reference control, with their intervals."""
    keys = [row.key for row in rows if row.is_as_trained and row.key in numbers.controls]
    if not keys:
        return ""
    found = [numbers.controls[key] for key in keys]
    return _chart(found, f"as {reference}", f"AbsRel minus that of {reference}")


def _chart(found: Sequence[Difference], zero_label: str, x_label: str) -> str:
    labels = [each.ours.label for each in found]
    estimates = [each.estimates["abs_rel"] for each in found]
    chart = interval_chart(labels, estimates, zero_label, x_label)
    return f'<figure class="wide">{chart}</figure>'


def compared_table(title: str, text: str, differences: Sequence[Difference]) -> str:
    """A section with the AbsRel of rows and of what each is compared with."""
    if not differences:
        return ""
    lines = []
    for each in differences:
        found, (ours, theirs) = each.estimates["abs_rel"], each.means("abs_rel")
        group = each.ours.group.title
        place = f"<small>{escape(group)}</small>" if group else ""
        lines.append(
            f"<tr><th>{escape(each.ours.label)}{place}</th><td>{ours:.3f}</td>"
            f"<td>{theirs:.3f}<br><small>{escape(each.theirs.label)}</small></td>"
            f'<td class="{_color(found)}">{_interval(found)}</td>'
            f"<td>{p_text(found.p)}</td><td>{p_text(each.corrected['abs_rel'])}</td></tr>"
        )
    heads = (
        "<tr><th></th><th>AbsRel</th><th>compared with</th><th>difference<small>[95 %]</small></th>"
        "<th>p</th><th>p<small>Holm</small></th></tr>"
    )
    return f"<h2>{escape(title)}</h2><p>{escape(text)}</p>{table(heads, lines)}"


def types_section(differences: Sequence[Difference]) -> str:
    """What captions are worth on each type of scene: one column for each recipe of a group."""
    columns = [{each.name: each for each in one.by_type()} for one in differences]
    names = list(dict.fromkeys(name for column in columns for name in column))
    if len(names) < 2:
        return ""
    above = "".join(
        f'<th colspan="2" class="span">{escape(one.ours.cell.recipe)}</th>' for one in differences
    )
    below = "".join(
        f"<th><small>{escape(one.theirs.cell.train_control)}</small></th>"
        f"<th><small>{escape(one.ours.cell.train_control)} − "
        f"{escape(one.theirs.cell.train_control)} [95 %]</small></th>"
        for one in differences
    )
    lines = []
    for name in names[:MAX_TYPES]:
        found = [column.get(name) for column in columns]
        first = next(each.estimate for each in found if each is not None)
        cells = "".join(
            f"<td>{each.reference:.3f}</td>"
            f'<td class="{_color(each.estimate)}">{_interval(each.estimate)}</td>'
            if each is not None
            else "<td></td><td></td>"
            for each in found
        )
        lines.append(f"<tr><th>{escape(name)}</th>{_counts_cell(first)}{cells}</tr>")
    heads = f"<tr><th></th><th></th>{above}</tr><tr><th></th>{IMAGES_HEAD}{below}</tr>"
    rest = len(names) - MAX_TYPES
    note = f" {rest} types with fewer images are left out." if rest > 0 else ""
    return (
        f"<h3>By type of scene</h3>{table(heads, lines)}"
        '<p class="faint">AbsRel, and what captions change of it. These intervals are not '
        f"corrected for how many there are, and a type with one scene has none.{note}</p>"
    )


def curves_section(rows: Sequence[StudyRow]) -> str:
    """Validation AbsRel by step, one line for each training, mean over seeds and folds."""
    figures = []
    for _, members in groupby(rows, key=lambda row: row.cell.recipe):
        lines = [_mean_curve(row) for row in members if row.is_as_trained]
        drawn = [line for line in lines if line.values]
        figures += [
            curve_figure(drawn[at : at + NUM_COLORS], "AbsRel", log_y=False, with_dots=True)
            for at in range(0, len(drawn), NUM_COLORS)
        ]
    if not figures:
        return ""
    return f'<h3>Validation AbsRel by step</h3><div class="pair">{"".join(figures)}</div>'


def _mean_curve(row: StudyRow) -> Series:
    """Over the steps that all of its runs have."""
    folders = dict.fromkeys(score.run_folder for score in row.scores)
    logs = [
        {number(record["step"]): number(record.get("abs_rel")) for record in read_stage(folder).val}
        for folder in folders
    ]
    logs = [log for log in logs if log]
    steps = sorted(set.intersection(*map(set, logs))) if logs else []
    return Series(row.label, steps, [sum(log[s] for log in logs) / len(logs) for s in steps])


def _counts_cell(found: Estimate) -> str:
    return f"<td>{found.num_images} <small>/ {found.num_scenes}</small></td>"


def _spread(found: Estimate | None) -> str:
    return "–" if found is None else mean_and_spread(found, 3)


def _interval(found: Estimate) -> str:
    if not found.has_interval:
        return signed(found.mean)
    return f"{signed(found.mean)} <small>[{signed(found.low)}, {signed(found.high)}]</small>"


def _color(found: Estimate) -> str:
    if not found.differs:
        return ""
    return "under" if found.mean < 0 else "over"


def calibration_section(rows: Sequence[StudyRow]) -> str:
    """How well calibrated the words alone are; "" where no row says so."""
    found = calibrated_rows(rows)
    if not found:
        return ""
    heads = "".join(f"<th>{escape(name)}</th>" for name in HEADING)
    lines = [
        f"<tr><th>{escape(row.label)}<small>{escape(row.group.title)}</small></th>"
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for row, cells in found
    ]
    return (
        f"<h2>How far to trust the words alone</h2><p>{escape(EXPLANATION)}</p>"
        f"{table(f'<tr><th></th>{heads}</tr>', lines)}"
    )


def failures_section(failures: Sequence[str]) -> str:
    """What is missing in the tables, and why."""
    if not failures:
        return ""
    items = "".join(f"<li>{escape(failure)}</li>" for failure in failures)
    return f"<h2>What failed</h2><ul>{items}</ul>"


def count_text(numbers: StudyNumbers) -> str:
    """`12 rows, 60 scores, 222 images of 38 scenes`."""
    num_scores = sum(len(row.scores) for row in numbers.rows)
    seeds = {score.seed for row in numbers.rows for score in row.scores}
    found = [row.estimates["abs_rel"] for row in numbers.rows if row.estimates]
    counts = {"row": len(numbers.rows), "seed": len(seeds), "score": num_scores}
    parts = [f"{count} {what}{'s' if count != 1 else ''}" for what, count in counts.items()]
    if found:
        most = max(found, key=lambda each: each.num_images)
        parts.append(f"up to {most.num_images} test images of {most.num_scenes} scenes")
    return ", ".join(parts)
