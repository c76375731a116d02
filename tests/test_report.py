"""The report as a real process: it parses, says what the files say, and needs no network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from html_pages import Page

from common.evaluation.panels import write_png

PROGRAM = Path(__file__).resolve().parents[1] / "scripts" / "report.py"
NAMES = ["abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "d1", "d2", "d3", "silog"]


def run_report(run_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), str(run_dir)]
    return subprocess.run(command, capture_output=True, text=True, cwd=run_dir.parent)


def metrics(abs_rel: float) -> dict[str, float]:
    return {name: abs_rel + 0.01 * position for position, name in enumerate(NAMES)}


def write_run(run_dir: Path) -> None:
    """A tiny run: two result rows, two stages, an interrupted log with a repeated step."""
    rows = [
        {"name": "constant <b>guess</b>", "split": "test", "protocol": "p<1>", "num_images": 12}
        | {"num_skipped": 3, "metrics": metrics(0.6543)},
        {"name": "stage 3", "split": "test", "protocol": "p<1>", "num_images": 12}
        | {"metrics": metrics(0.1234), "mean_ratio": 1.017, "note": "a & b"},
        {"name": "broken", "split": "val", "protocol": "other", "num_images": 2}
        | {"metrics": {"abs_rel": float("nan")}},
    ]
    facts = {"machine": "a <machine>", "minutes": {"stage1": 2.5, "stage3": 4.0}, "commands": ["x"]}
    control = {"full_size_with_miniature_caption": 0.261, "miniature_with_full_size_caption": 3.87}
    results = {"rows": rows, "facts": facts, "caption_control": control}
    run_dir.mkdir(parents=True)
    (run_dir / "results.json").write_text(json.dumps(results))
    for stage in ("stage1", "stage3"):
        records = [
            {"step": step, "kind": "train", "loss/total": 9.0 / step, "loss/kl": -0.1, "lr": 1e-4}
            for step in (1, 2, 3, 40)
        ]
        records.append({"step": 3, "kind": "train", "loss/total": float("nan"), "loss/kl": 0.0})
        records.append({"step": 40, "kind": "val", **metrics(0.777 if stage == "stage1" else 0.1)})
        log = "\n".join(json.dumps(record) for record in records) + '\n{"step": 4'
        (run_dir / stage).mkdir()
        (run_dir / stage / "metrics.jsonl").write_text(log)
        (run_dir / stage / "config.yaml").write_text("experiment: <demo>\n")
        for step in (200, 1000):
            picture = np.full((8, 8, 3), step % 256, dtype=np.uint8)
            write_png(run_dir / stage / "panels" / f"step_{step}.png", picture)
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    write_png(run_dir / "report_panels" / "large_picture.png", noise)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    run_dir = tmp_path_factory.mktemp("runs") / "demo"
    write_run(run_dir)
    done = run_report(run_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run_dir / "report.html")
    assert not list(run_dir.glob("*.tmp"))
    return (run_dir / "report.html").read_text(encoding="utf-8")


def test_page_nests_and_says_what_the_files_say(source: str):
    page = Page(source)
    assert page.open_tags == []
    for text in ("0.654", "0.123", "1.017", "0.261", "3.87", "12 images", "3 skipped", "0.375"):
        assert text in page.text, text
    assert "split test, protocol p<1>" in page.text
    assert "1 of 3" in page.text
    assert "together 6.5" in page.text
    assert "stage1/metrics.jsonl: 1 unreadable lines" in page.text
    assert "0.777 at the end" in page.text


def test_page_is_self_contained(source: str):
    page = Page(source)
    assert page.tags.count("script") == 1
    assert "link" not in page.tags
    assert "http:" not in source
    assert "https:" not in source
    addresses = [value for name, value in page.attributes if name in ("src", "href")]
    assert len(addresses) == 3, "one large picture and the latest panel of two stages"
    assert all(address.startswith("data:image/") for address in addresses)
    assert any(address.startswith("data:image/jpeg") for address in addresses)
    assert "step_1000.png" in page.text
    assert "step_200.png" not in page.text


def test_text_from_files_is_escaped(source: str):
    assert "<b>guess" not in source
    assert "<machine>" not in source
    assert "experiment: &lt;demo&gt;" in source
    assert "a &amp; b" in source
    assert "constant <b>guess</b>" in Page(source).text


def test_bars_beyond_the_bound_look_different(source: str):
    assert 'class="bar good"><title>stage 3: 0.1234<' in source
    assert source.count('class="bar good"') == 1
    assert 'class="best under"' in source


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        ('{"rows": []}', "has no rows"),
        ('{"rows": [{"name": "a"}]}', "rows[0]"),
    ],
)
def test_bad_results_are_one_line_and_exit_code_2(tmp_path: Path, content, message):
    run_dir = tmp_path / "demo"
    run_dir.mkdir()
    if content is not None:
        (run_dir / "results.json").write_text(content)
    done = run_report(run_dir)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not (run_dir / "report.html").exists()


def test_minimal_results_are_enough(tmp_path: Path):
    run_dir = tmp_path / "demo"
    run_dir.mkdir()
    rows = [{"name": "only", "metrics": {}}]
    (run_dir / "results.json").write_text(json.dumps({"rows": rows}))
    assert run_report(run_dir).returncode == 0
    assert Page((run_dir / "report.html").read_text(encoding="utf-8")).open_tags == []


def test_help_shows_an_example():
    command = [sys.executable, str(PROGRAM), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "example: python scripts/report.py runs/demo" in done.stdout
