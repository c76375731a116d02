"""Write the report of a demo run: one self-contained HTML page with numbers, curves and pictures.

Reads `results.json`, and from each stage's folder `metrics.jsonl`, `config.yaml` and the latest
picture of `panels/`; `report_panels/*.png` is added where it exists. All numbers come from these
files. The page needs no network and no script.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import UserError, run_program
from common.text_files import write_text
from scripts.reporting import parts as parts

STYLE_FILE = Path(__file__).resolve().parent / "reporting" / "report.css"
EXAMPLE = "example: python scripts/report.py runs/demo   writes runs/demo/report.html"


@dataclass(frozen=True)
class StageRecord:
    """What one stage's run folder tells: logged records in order of step, picture, config."""

    name: str
    train: list[dict[str, Any]]
    val: list[dict[str, Any]]
    num_unreadable: int
    latest_panel: Path | None
    config: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", type=Path, metavar="RUNS_DIR/EXPERIMENT")
    print(write_report(parser.parse_args().run_dir))


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run folder and return its path."""
    results = read_results(run_dir / "results.json")
    stages = [read_stage(folder) for folder in stage_folders(run_dir)]
    report_panels = sorted((run_dir / "report_panels").glob("*.png"), key=natural_order)
    body = report_body(run_dir, results, stages, report_panels)
    style = STYLE_FILE.read_text(encoding="utf-8")
    report_path = run_dir / "report.html"
    write_text(report_path, parts.page("LangDepth: demo report", style, body))
    return report_path


def report_body(
    run_dir: Path, results: dict[str, Any], stages: list[StageRecord], report_panels: list[Path]
) -> str:
    """Put the sections in order; a section without data is left out."""
    rows = results["rows"]
    sections = [
        "<h1>Same pixels, different words, different meters</h1>",
        parts.EXPLANATION,
        parts.summary_cards(rows),
        "<h2>Results</h2>",
        parts.results_table(rows),
        parts.bound_chart(rows),
    ]
    if results.get("caption_control"):
        sections.append(parts.control_section(results["caption_control"]))
    if report_panels:
        sections.append("<h2>Pictures</h2>")
        sections += [
            parts.image_figure(path, path.stem.replace("_", " ")) for path in report_panels
        ]
    curves = [stage for stage in stages if stage.train or stage.val]
    if curves:
        sections.append(
            "<h2>Training curves</h2><p>Bold: running mean. Faint: as logged. Dots: validation.</p>"
        )
        sections += [parts.curves_section(stage.name, stage.train, stage.val) for stage in curves]
    with_panels = [(stage.name, stage.latest_panel) for stage in stages if stage.latest_panel]
    if with_panels:
        sections.append("<h2>Latest pictures of each stage</h2>")
        sections += [parts.image_figure(path, f"{name}: {path.name}") for name, path in with_panels]
    notes = [
        f"{stage.name}/metrics.jsonl: {stage.num_unreadable} unreadable lines left out."
        for stage in stages
        if stage.num_unreadable
    ]
    configs = {stage.name: stage.config for stage in stages if stage.config}
    command = f"python scripts/report.py {run_dir}"
    sections.append(parts.facts_section(results.get("facts") or {}, command, configs, notes))
    return "\n".join(sections)


def read_results(path: Path) -> dict[str, Any]:
    """Read and check results.json."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of a finished demo run")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): make it again") from error
    rows = results.get("rows") if isinstance(results, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UserError(f'{path} has no rows: it needs {{"rows": [{{"name", "metrics", ...}}]}}')
    for position, row in enumerate(rows):
        named = isinstance(row, dict) and isinstance(row.get("name"), str)
        if not named or not isinstance(row.get("metrics"), dict):
            raise UserError(f'{path}: rows[{position}] needs a "name" and its "metrics"')
    return results


def stage_folders(run_dir: Path) -> list[Path]:
    """Return the sub-folders that hold a training run, in natural order."""
    runs = {path.parent for path in run_dir.glob("*/metrics.jsonl")}
    runs |= {path.parent for path in run_dir.glob("*/panels")}
    return sorted(runs, key=natural_order)


def read_stage(folder: Path) -> StageRecord:
    """Read one stage's run folder; files that do not exist count as empty."""
    metrics, config = folder / "metrics.jsonl", folder / "config.yaml"
    records, num_unreadable = read_records(_lines(metrics))
    panels = sorted((folder / "panels").glob("*.png"), key=natural_order)
    return StageRecord(
        name=folder.name,
        train=records["train"],
        val=records["val"],
        num_unreadable=num_unreadable,
        latest_panel=panels[-1] if panels else None,
        config="\n".join(_lines(config)),
    )


def read_records(lines: Iterable[str]) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Sort metrics.jsonl lines by kind and step; of a step logged twice (a resume) the last counts.

    Returns {"train": [...], "val": [...]} and the number of lines that are no such record.
    """
    by_step: dict[str, dict[int, dict[str, Any]]] = {"train": {}, "val": {}}
    num_unreadable = 0
    for line in lines:
        try:
            record = json.loads(line)
            by_step[record["kind"]][int(record["step"])] = record
        except (ValueError, KeyError, TypeError):
            num_unreadable += 1
    return {kind: [found[step] for step in sorted(found)] for kind, found in by_step.items()}, (
        num_unreadable
    )


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts step_200 before step_1000."""
    return [
        (int(piece), "") if piece.isdigit() else (-1, piece)
        for piece in re.split(r"([0-9]+)", path.name)
    ]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


if __name__ == "__main__":
    run_program(main)
