"""What the doctor found, as lines for a person and as JSON for programs."""

import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.printable import one_line
from common.text_files import write_json
from scripts.doctor_checks.findings import Finding

WIDTH = 100


@dataclass(frozen=True)
class DoctorReport:
    """What was found."""

    data: str
    findings: list[Finding]
    counts: dict[str, int]  # split -> pairs listed
    seconds: float

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "problem"]


def sorted_by_level(findings: list[Finding]) -> list[Finding]:
    """Problems last, next to the verdict."""
    return sorted(findings, key=lambda finding: ("ok", "note", "problem").index(finding.level))


def describe(finding: Finding) -> str:
    """A few aligned lines."""
    level = "PROBLEM" if finding.level == "problem" else finding.level
    lines = [_wrapped(f"{level:<8}{finding.code:<20}", finding.text)]
    if finding.level != "ok":
        for label, example in zip(("such as", "", ""), finding.examples, strict=False):
            lines.append(_wrapped(f"{'':10}{label:<9}", example))
    for label, text in (("cause", finding.cause), ("fix", str(finding.fix))):
        lines += [_wrapped(f"{'':10}{label:<9}", line) for line in text.splitlines()]
    return "\n".join(lines)


def _wrapped(start: str, text: str) -> str:
    return textwrap.fill(
        one_line(text),
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def verdict(report: DoctorReport) -> str:
    """One line."""
    codes = sorted({finding.code for finding in report.problems})
    notes = sum(finding.level == "note" for finding in report.findings)
    ending = f"{notes} notes, {report.seconds:.1f} s"
    if not codes:
        is_sure = all(finding.code != "depth_unit" for finding in report.findings)
        doubt = "" if is_sure else ", but only you can say if the unit of depth is right"
        return f"healthy{doubt}: training will accept this data ({ending})"
    return f"{len(report.problems)} problems: {', '.join(codes)} ({ending})"


def write_doctor_report(path: Path, report: DoctorReport) -> None:
    """The report for programs."""
    content = {
        "data": report.data,
        "healthy": not report.problems,
        "findings": [_as_json(finding) for finding in report.findings],
        "counts": report.counts,
        "seconds": round(report.seconds, 2),
    }
    write_json(path, content)


def _as_json(finding: Finding) -> dict[str, Any]:
    """Its fields; programs read what fixes it as one text, `mend`, or in its parts, `fix`."""
    return {**asdict(finding), "mend": str(finding.fix)}
