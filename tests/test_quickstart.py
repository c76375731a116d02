"""The quickstart from end to end, as a real process, on a handful of pictures."""

import json
import subprocess
import sys

import pytest

from common.config import REPO_ROOT
from common.evaluation.metrics import METRIC_NAMES

NAMES = ["constant guess", "stage 1 (text only)", "stage 2", "stage 3 without language", "stage 3"]


@pytest.mark.slow
def test_rehearsal_writes_table_report_and_pictures():
    command = [sys.executable, "scripts/quickstart.py", "--rehearsal", "--fresh"]
    done = subprocess.run(command, cwd=REPO_ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    run_dir = REPO_ROOT / "runs" / "rehearsal"
    results = json.loads((run_dir / "results.json").read_text())
    rows = results["rows"]
    assert [row["name"].partition(" (0")[0].partition(" (1")[0] for row in rows] == NAMES
    for row in rows:
        assert set(row["metrics"]) == set(METRIC_NAMES)
        assert (row["split"], row["protocol"], row["num_images"]) == ("test", "none", 8)
    # Whatever a model makes of pixels alone, both scales of a picture together bound its AbsRel.
    pixels_only = next(row for row in rows if row["name"] == "stage 3 without language")
    assert pixels_only["metrics"]["abs_rel"] >= 0.375 - 1e-6
    page = (run_dir / "report.html").read_text()
    assert "0.375" in page and "data:image/png;base64" in page
    assert str(run_dir / "report.html") in done.stdout
    assert len(list((run_dir / "report_panels").glob("*.png"))) == 6

    again = subprocess.run(command[:-1], cwd=REPO_ROOT, capture_output=True, text=True, timeout=900)
    log = REPO_ROOT / "runs" / "rehearsal_control" / "stage3.log"  # where two ran side by side
    said = again.stderr + (log.read_text() if log.exists() else "")
    assert again.returncode == 0 and said.count("already trained") == 4
