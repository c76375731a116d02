"""Write the report of an evaluation: report.html, images.csv, depth_bins.csv and metrics.json.

    write_report(folder, result, gathered, Origin(labels, facts, command, max_depth, run_folder))

The page needs no network. docs/reports.md says how to read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.evaluation.report.gathered import Gathered
from common.evaluation.report.images_table import ImagesPart
from common.evaluation.report.pixel_errors import DepthBin
from common.evaluation.report.sections import (
    depth_section,
    head_section,
    metrics_section,
    place_section,
    spread_section,
    types_section,
    warnings_section,
)
from common.evaluation.results import EvalResult, result_dict, write_csv, write_rows
from common.pages.page import facts_section, write_page
from common.pages.training import ABOUT_CURVES, curves_section, read_stage
from common.text_files import write_json

PAGE, IMAGES, BINS, METRICS_FILE = REPORT_FILES = (
    "report.html",
    "images.csv",
    "depth_bins.csv",
    "metrics.json",
)


@dataclass(frozen=True)
class Origin:
    """Where an evaluation comes from.

    labels: see `result_dict`; `stage` names it. facts: of the machine and the code. command: what
    was typed. max_depth: meters. run_folder: of the training, for its curves and its config.
    """

    labels: Mapping[str, str]
    facts: Mapping[str, Any]
    command: str
    max_depth: float
    run_folder: Path | None = None


def write_report(folder: Path, result: EvalResult, gathered: Gathered, origin: Origin) -> Path:
    """Write all files of the report into its folder; returns the page's path."""
    write_csv(folder / IMAGES, result)
    bins = [each._asdict() for each in gathered.pixels.depth_bins()]
    write_rows(folder / BINS, DepthBin._fields, bins)
    content = {**result_dict(result, **origin.labels), "micro": result.micro}
    write_json(folder / METRICS_FILE, content)
    title = f"LangDepth: {origin.labels['stage']}, AbsRel {result.metrics['abs_rel']:.3f}"
    write_page(folder / PAGE, title, "evaluation", report_body(result, gathered, origin))
    return folder / PAGE


def report_body(result: EvalResult, gathered: Gathered, origin: Origin) -> str:
    """The sections in order; one without data is left out."""
    images = ImagesPart(result.per_image, gathered)
    return "\n".join(
        [
            head_section(result, origin.labels),
            warnings_section(result, origin.labels, origin.max_depth),
            metrics_section(result),
            spread_section(result.per_image),
            depth_section(gathered.pixels),
            place_section(gathered.pixels),
            types_section(result.per_image),
            images.pictures_section(),
            images.table_section(IMAGES),
            *_origin_sections(origin),
        ]
    )


def _origin_sections(origin: Origin) -> list[str]:
    """Curves of the training where its folder is known, and how the numbers were made."""
    curves, configs = "", {}
    if origin.run_folder is not None:
        run = read_stage(origin.run_folder)
        configs = {run.name: run.config} if run.config else {}
        if run.train or run.val:
            drawn = curves_section(run.name, run.train, run.val)
            curves = f"<h2>Training</h2>{ABOUT_CURVES}{drawn}"
    return [curves, facts_section(origin.facts, [origin.command], configs)]
