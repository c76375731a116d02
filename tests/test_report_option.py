"""`--report DIR` of the programs: the numbers of their other files, whatever is scored."""

import csv
import json

import pytest
from conftest import evaluate, run_process, run_script
from html_pages import Page

from common.evaluation.metrics import METRIC_NAMES
from common.evaluation.report.document import REPORT_FILES


@pytest.fixture(scope="module")
def reported(trained, tmp_path_factory):
    """Stage 3, two steps old: `report/`, and what --json and --csv write."""
    folder = tmp_path_factory.mktemp("reported")
    words = ["--json", str(folder / "out.json"), "--csv", str(folder / "out.csv"), "--micro"]
    outcome = evaluate(
        "stage3", "--checkpoint", str(trained / "tiny/stage3"), "--report", str(folder / "report"),
        *words,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert f"report: {folder / 'report/report.html'}" in outcome.err
    return folder


def test_eval_writes_a_report_with_the_numbers_of_its_files(reported, trained):
    report = reported / "report"
    assert sorted(path.name for path in report.iterdir()) == sorted(REPORT_FILES)
    assert (report / "images.csv").read_bytes() == (reported / "out.csv").read_bytes()
    assert (report / "metrics.json").read_bytes() == (reported / "out.json").read_bytes()
    page = Page((report / "report.html").read_text(encoding="utf-8"))
    assert page.open_tags == []
    result = json.loads((reported / "out.json").read_text())
    for name in METRIC_NAMES:
        assert f"{result['metrics'][name]:.4f}" in page.text, name
    for text in ("A room, seen from test/room", "Training", "validation AbsRel", "experiment: tiny",
                 str(trained / "tiny/stage3/checkpoints/best.pt"), "protocol"):  # fmt: skip
        assert text in page.text, text


def test_a_report_changes_no_score(reported, trained, tmp_path):
    path = tmp_path / "plain.json"
    words = ["--checkpoint", str(trained / "tiny/stage3"), "--json", str(path), "--micro"]
    assert evaluate("stage3", *words).code == 0
    assert path.read_bytes() == (reported / "out.json").read_bytes()


def test_two_processes_write_the_report_of_one(reported, trained, tmp_path):
    outcome = run_process(
        "sh", "scripts/launch.sh", "stage3_depth/eval.py", "--checkpoint",
        str(trained / "tiny/stage3"), "--report", str(tmp_path / "report"), NPROC="2",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    one, two = (
        {name: (folder / "report" / name).read_text() for name in REPORT_FILES}
        for folder in (reported, tmp_path)
    )
    for name in ("images.csv", "depth_bins.csv"):
        rows = [list(csv.reader(content[name].splitlines())) for content in (one, two)]
        assert len(rows[0]) == len(rows[1]) > 2
        for ours, theirs in zip(*rows, strict=True):
            assert list(map(numbers_of, theirs)) == pytest.approx(
                list(map(numbers_of, ours)), rel=1e-4, nan_ok=True
            )
    assert "processes" in Page(two["report.html"]).text


def numbers_of(text):
    """nan for words."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def test_scored_maps_get_the_same_report(reported, trained, workspace, tmp_path):
    maps, out = tmp_path / "maps", tmp_path / "report"
    checkpoint = ["--checkpoint", str(trained / "tiny/stage3")]
    assert evaluate("stage3", *checkpoint, "--save-predictions", str(maps)).code == 0
    config = workspace.configs / "stage3.yaml"
    outcome = run_script("score.py", "--predictions", maps, config, "--report", out,
                         "--align", "median")  # fmt: skip
    assert outcome.code == 0, outcome.err
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert "NOT METRIC" in page.text and "caption" not in page.tags
    ours, theirs = (
        list(csv.DictReader((folder / "depth_bins.csv").open()))
        for folder in (reported / "report", out)
    )
    assert [row["num_pixels"] for row in ours] == [row["num_pixels"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert float(other["abs_rel"]) == pytest.approx(float(mine["abs_rel"]), abs=2e-3)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_earlier_stages_report_too(trained, tmp_path, stage):
    words = ["--checkpoint", str(trained / "tiny" / stage), "--report", str(tmp_path / "r")]
    assert evaluate(stage, *words).code == 0
    assert (tmp_path / "r/report.html").exists()


def test_what_words_alone_say_has_a_report(trained, tmp_path):
    words = ["--checkpoint", str(trained / "tiny/stage1"), "--report", str(tmp_path / "r")]
    assert evaluate("stage1", *words, "--samples", "40").code == 0
    page = Page((tmp_path / "r/report.html").read_text(encoding="utf-8"))
    assert "How far to trust the words alone" in page.text


@pytest.mark.parametrize("again", ["a", "a/", "b/../a", "link"])
def test_a_report_and_predictions_are_two_folders(trained, tmp_path, again):
    (tmp_path / "link").symlink_to("a")
    both = ["--report", str(tmp_path / "a"), "--save-predictions", f"{tmp_path}/{again}"]
    outcome = evaluate("stage1", "--checkpoint", str(trained / "tiny/stage1"), *both)
    assert "--report and --save-predictions both name" in outcome.refusal
