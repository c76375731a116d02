"""Write what a study found: report.html, table.txt, table.md, means.csv and differences.csv.

    table = write_study_report(folder, study, scores, failures, facts)

It works with whatever scores are there: a missing row, seed or reference leaves a gap, one scene
has no interval. The page needs no network.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from common.pages.page import facts_section, page
from common.pages.training import read_stage
from common.text_files import write_text
from scripts.reporting import study_parts
from scripts.reporting.study_numbers import StudyNumbers, compute_numbers
from scripts.reporting.study_pictures import pictures_section
from scripts.reporting.study_text import (
    differences_csv,
    markdown,
    means_csv,
    text_table,
)
from scripts.run_plans.study_scores import Score, StudyInfo

REPORT_FILES = ("report.html", "table.txt", "table.md", "means.csv", "differences.csv")
TEST_WORDS = (
    "The same trained networks, given other words than in training. This is another question than "
    "training without words: a network that never relied on them loses nothing here."
)
RECIPES = "Each row against the study's first recipe, with the same words."


def write_study_report(
    folder: Path,
    study: StudyInfo,
    scores: Sequence[Score],
    failures: Sequence[str],
    facts: Mapping[str, Any],
) -> str:
    """Write all files of a study's report into its folder; returns the text table.

    facts: of the machine and the run, as `common/runtime/machine.py` gives them; `command`: what
    was typed.
    """
    numbers = compute_numbers(study, scores)
    table = text_table(study, numbers)
    failed = "".join(f"\nfailed: {failure}" for failure in failures)
    command = str(facts.get("command", ""))
    body = report_body(study, numbers, failures, facts)
    contents = (
        page(f"LangDepth: {study.name}", "study", body),
        f"{study.question}\n\n{table}{failed}\n",
        markdown(study, numbers, command),
        means_csv(numbers),
        differences_csv(numbers),
    )
    for name, content in zip(REPORT_FILES, contents, strict=True):
        write_text(folder / name, content)
    return table


def report_body(
    study: StudyInfo,
    numbers: StudyNumbers,
    failures: Sequence[str],
    facts: Mapping[str, Any],
) -> str:
    """The sections in order; one without data is left out."""
    return "\n".join(
        [
            f"<h1>{escape(study.question)}</h1>",
            f'<p class="faint">Study {escape(study.name)}: '
            f"{escape(study_parts.count_text(numbers))}. Controls are compared with "
            f"<b>{escape(study.reference)}</b>.</p>",
            study_parts.answers_section(numbers),
            *group_sections(study, numbers),
            study_parts.compared_table(
                "Other words in the test", TEST_WORDS, list(numbers.test_words.values())
            ),
            study_parts.compared_table(
                "Recipes against each other", RECIPES, list(numbers.recipes.values())
            ),
            study_parts.calibration_section(numbers.rows),
            study_parts.failures_section(failures),
            f"<h2>How to read the numbers</h2>{study_parts.METHOD}",
            facts_section(
                {key: value for key, value in facts.items() if key != "command"},
                [str(facts.get("command", ""))],
                configs_of(numbers),
            ),
        ]
    )


def group_sections(study: StudyInfo, numbers: StudyNumbers) -> list[str]:
    """For each data set, kind of captions and encoder: table, chart, types, curves, pictures."""
    sections = []
    for group, rows in numbers.groups.items():
        answers = [each for each in numbers.answers if each.ours.group == group]
        sections += [
            f"<h2>{escape(group.title or 'Results')}</h2>",
            study_parts.rows_table(rows, numbers, study.reference),
            study_parts.bound_note(study, rows),
            study_parts.differences_chart(rows, numbers, study.reference),
            study_parts.types_section(answers),
            study_parts.curves_section(rows),
            *map(pictures_section, answers),
        ]
    return sections


def configs_of(numbers: StudyNumbers) -> dict[str, str]:
    """The config of the first run of each recipe, where there is one."""
    first: dict[str, Path] = {}
    for row in numbers.rows:
        first.setdefault(row.cell.recipe, row.scores[0].run_folder)
    found = {recipe: read_stage(folder).config for recipe, folder in first.items()}
    return {recipe: config for recipe, config in found.items() if config}
