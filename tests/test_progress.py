"""A bar on a terminal; in a file whole lines, and few."""

import io
import sys
from pathlib import Path

import open_clip.pretrained
import pytest
from conftest import evaluate, run_script, train

from common import progress
from common.config import REPO_ROOT
from common.progress import progress_bar, tracked
from common.runtime.hub import one_line_failure


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only the test lets pass."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def written(capsys):
    """Since the last time; no terminal watches."""
    return capsys.readouterr().err


def advance(bar, clock, count, seconds):
    for _ in range(count):
        clock[0] += seconds
        bar.update()


def test_a_line_for_each_tenth(capsys, clock):
    with progress_bar("encoding", 1000, unit="caption") as bar:
        advance(bar, clock, 1000, 1.0)
    text = written(capsys)
    lines = text.splitlines()
    assert len(lines) == 10
    assert lines[0] == "encoding: 100/1000 (10 %), 1 caption/s, 15:00 left"
    assert lines[-1] == "encoding: 1000/1000 (100 %), 1 caption/s"
    assert "\r" not in text


@pytest.mark.parametrize(
    ("total", "count", "seconds", "expected"),
    [
        (1000, 1000, 0.001, ["x: 1000/1000 (100 %), 1e+03 it/s"]),  # quick: the last line alone
        (1000, 130, 60.0, 13),  # slow: it lives, each ten minutes
        (None, 25, 60.0, 6),  # of unknown length: 1, 2, 4, 8, 16, and the last
        (1000, 0, 0.0, []),
    ],
)
def test_how_many_lines(capsys, clock, total, count, seconds, expected):
    with progress_bar("x", total) as bar:
        advance(bar, clock, count, seconds)
    lines = written(capsys).splitlines()
    assert (lines if isinstance(expected, list) else len(lines)) == expected


def test_a_bar_that_does_not_stay_leaves_no_last_line(capsys, clock):
    assert list(tracked(range(5), "x", stays=False)) == list(range(5))
    assert written(capsys) == ""


def test_a_job_with_a_rhythm_says_when(capsys, clock):
    with progress_bar("train", 200, done=100, unit="step", has_rhythm=True) as bar:
        advance(bar, clock, 50, 100.0)
        assert written(capsys) == ""
        bar.report("loss 0.5")
    assert written(capsys) == "train: 150/200 (75 %), 0.01 step/s, 1:23:20 left, loss 0.5\n"


def test_bytes_are_readable(capsys, clock):
    with progress_bar("sync.zip", 4e9, unit="B") as bar:
        clock[0] = 20.0
        bar.update(1e9)
    assert written(capsys).startswith("sync.zip: 1.00GB/4.00GB (25 %), 50.0MB/s, 01:00 left\n")


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("x", 10) as bar:
        bar.update(5)
        bar.report("loss 1")
    assert "\r" in sys.stderr.getvalue() and "loss 1" in sys.stderr.getvalue()


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_only_the_first_process_shows_anything(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("RANK", "1")
    with progress_bar("x", 1) as bar:
        bar.update()
        bar.report("text")
    assert sys.stderr.getvalue() == ""


def test_a_download_of_a_library_writes_lines_too(tmp_path, capsys):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(bytes(100_000))
    with one_line_failure("weights", "ask"):
        file = open_clip.pretrained.download_pretrained_from_url(
            weights.as_uri(), str(tmp_path / "cache")
        )
    assert Path(file).stat().st_size == 100_000
    assert written(capsys).startswith("downloading: 100kB/100kB (100 %), ")


def test_one_module_draws_bars():
    """So that no program fills a log with them."""
    folders = (
        "common",
        "scripts",
        "benchmarks",
        "stage1_vae",
        "stage2_sampler",
        "stage3_depth",
        "llm_mde",
    )
    files = [path for folder in folders for path in (REPO_ROOT / folder).rglob("*.py")]
    users = [path.name for path in files if "import tqdm" in path.read_text(encoding="utf-8")]
    assert len(files) > 100
    assert users == ["progress.py"]


def test_training_writes_one_line_per_log_step(workspace, tmp_path):
    words = ("train.max_steps=20", "train.log_every=5", "eval.every=10")
    outcome = train("stage1", *workspace.arguments("stage1", tmp_path, *words))
    assert outcome.code == 0
    lines = [line for line in outcome.err.splitlines() if line.startswith("train: ")]
    assert [line.split()[1] for line in lines] == ["5/20", "10/20", "15/20", "20/20"]
    assert all("loss " in line for line in lines)
    assert "\r" not in outcome.err and "evaluate" not in outcome.err


def test_other_programs_write_lines(workspace, trained, tmp_path):
    outcomes = [
        evaluate("stage1", "--checkpoint", str(trained / "tiny/stage1")),
        run_script("encode_text.py", "--captions", workspace.data / "captions.jsonl", "--encoder",
                   "untrained:0", "--output", tmp_path / "text.safetensors"),
        run_script("make_demo_data.py", "--out", tmp_path / "demo", "--scenes", 2,
                   "--val-scenes", 1, "--test-scenes", 1, "--height", 32, "--width", 64,
                   "--workers", 1),
    ]  # fmt: skip
    assert [outcome.code for outcome in outcomes] == [0, 0, 0]
    assert all("\r" not in outcome.err for outcome in outcomes)
    assert "encoding captions: 20/20 (100 %)" in outcomes[1].err
