"""Write the report of a demo run: one self-contained HTML page with numbers, curves and pictures.

Reads `results.json`, and from each stage's folder `metrics.jsonl`, `config.yaml` and the latest
picture of `panels/`; `report_panels/*.png` is added where it exists. All numbers come from these
files. The page needs no network.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import UserError, run_program
from common.pages.page import facts_section, image_figure, write_page
from common.pages.training import (
    ABOUT_CURVES,
    StageRecord,
    curves_section,
    natural_order,
    read_stage,
)
from scripts.reporting import parts as parts

EXAMPLE = "example: python scripts/report.py runs/demo   writes runs/demo/report.html"


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
    report_path = run_dir / "report.html"
    write_page(report_path, "LangDepth: demo report", "demo report", body)
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
        parts.pages_line(results.get("pages") or {}),
    ]
    if results.get("caption_control"):
        sections.append(parts.control_section(results["caption_control"]))
    if report_panels:
        sections.append("<h2>Pictures</h2>")
        sections += [image_figure(path, path.stem.replace("_", " ")) for path in report_panels]
    curves = [stage for stage in stages if stage.train or stage.val]
    if curves:
        sections.append(f"<h2>Training curves</h2>{ABOUT_CURVES}")
        sections += [curves_section(stage.name, stage.train, stage.val) for stage in curves]
    with_panels = [(stage.name, stage.latest_panel) for stage in stages if stage.latest_panel]
    if with_panels:
        sections.append("<h2>Latest pictures of each stage</h2>")
        sections += [image_figure(path, f"{name}: {path.name}") for name, path in with_panels]
    notes = [
        f"{stage.name}/metrics.jsonl: {stage.num_unreadable} unreadable lines left out."
        for stage in stages
        if stage.num_unreadable
    ]
    configs = {stage.name: stage.config for stage in stages if stage.config}
    facts = dict(results.get("facts") or {})
    listed = facts.pop("commands", [])
    commands = [listed] if isinstance(listed, str) else [str(each) for each in listed]
    commands.append(f"python scripts/report.py {run_dir}")
    sections.append(facts_section(facts, commands, configs, notes))
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


if __name__ == "__main__":
    run_program(main)
