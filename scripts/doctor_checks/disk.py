"""Room for what a run writes: packed features and checkpoints."""

import os
import shutil
from pathlib import Path

from common.files import existing_folder
from scripts.doctor_checks.findings import Finding, advice, fine, note, problem

_GB = 1024**3
_LEAST = 1 * _GB  # a log, panels, and the checkpoints of a small network
_COMFORTABLE = 10 * _GB  # last.pt and best.pt of a Swin-L estimator, with Adam's moments


def check_disk(folder: Path, num_images: int, feature_length: int) -> list[Finding]:
    """Free space and permission at `folder`, which need not exist yet."""
    place = existing_folder(folder)
    findings = []
    if not place.is_dir() or not os.access(place, os.W_OK):
        text = f"nothing can be written to {folder}"
        fix = advice("name a folder of yours: output_root=PATH")
        findings.append(problem("not_writable", text, [str(place)], "not your folder", fix))
    # fp16, of text and of images
    needed = _LEAST + 2 * 2 * num_images * feature_length
    free = shutil.disk_usage(place).free
    space = f"{free / _GB:.1f} GB are free at {folder}"
    fix = advice("make some room, or name another disk: output_root=PATH")
    if free < needed:
        text = f"{space}, features and a small run need {needed / _GB:.1f} GB"
        findings.append(problem("disk_space", text, [str(place)], fix=fix))
    elif free < _COMFORTABLE:
        text = (
            f"{space}; the two checkpoints of a Swin-L run take about {_COMFORTABLE / _GB:.0f} GB"
        )
        findings.append(note("disk_space", text, [str(place)], fix=fix))
    return findings or [fine("disk", space)]
