"""Studies that are stopped, started twice, or whose files are damaged."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import run_process, start_process
from studies import PROGRAM, StudyProgram, study_in_process


@pytest.fixture
def study(workspace, tmp_path, monkeypatch) -> StudyProgram:
    return study_in_process(workspace, tmp_path / "a study", monkeypatch)


def test_a_report_that_fails_between_stops_nothing(study, monkeypatch):
    tries = []

    def write_report(folder, info, scores, failures, facts):
        tries.append(len(scores))
        if len(tries) == 1:
            raise RuntimeError("a bug")
        return "the table"

    monkeypatch.setattr("scripts.run_plans.study_watch.REPORT_SECONDS", 0)
    monkeypatch.setattr("scripts.run_plans.study_watch.write_study_report", write_report)
    study.write(recipes={"words": "stage1"})
    outcome = study.run("--jobs=1")
    assert (outcome.code, tries) == (0, [1, 2, 2])
    assert "no report now, RuntimeError('a bug')" in outcome.out and "the table" in outcome.out


@pytest.mark.slow
def test_a_signal_saves_what_runs_and_the_same_command_goes_on(workspace, tmp_path):
    study = StudyProgram(workspace, tmp_path / "study")
    settings = ["train.max_steps=150", "train.log_every=5", "eval.every=1000"]
    study.write(recipes={"words": "stage1"}, settings=settings)
    command = (sys.executable, PROGRAM, str(study.file), f"--output={study.folder}", "--jobs=2")
    process = start_process(*command)
    deadline = time.monotonic() + 200
    while not list(study.folder.glob("runs/*/stage1/metrics.jsonl")):  # one may still start
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # a program in the background may ignore SIGINT
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert out.count("to be continued") == 2 and "waiting for 2 that save themselves" in err
    assert list(study.folder.glob("runs/*/stage1/checkpoints/last.pt"))
    outcome = run_process(*command)
    assert outcome.code == 0, outcome.err
    logs = [file.read_text() for file in study.folder.glob("runs/*/stage1/log.txt")]
    assert len(logs) == 2 and any("resuming at step" in log for log in logs)
    assert [row["train_control"] for row in study.results()] == ["caption", "none"]


def test_a_study_that_runs_is_not_run_twice(study):
    study.write(train_control=["caption"])
    second = []
    start = study.start

    def start_twice(*arguments, **options):
        if not second:
            second.append(None)
            second.append(study.run())
        return start(*arguments, **options)

    study.start = start_twice
    subprocess.Popen = start_twice
    assert study.run().code == 0
    assert "name another --output" in second[1].refusal


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".json", '{"metrics": {}, "num_images": 4}'),
        (".json", '{"metrics": [1], "num_images": 4}'),
        (".json", '{"metrics": {"abs_rel": 0.1'),
        (".csv", "abs_rel,rmse\n0.1,0.2\n"),
        (".csv", None),  # its last line is lost
    ],
)
def test_a_damaged_score_is_made_again(study, suffix, content):
    study.write(recipes={"words": "stage1"}, train_control=["caption"])
    assert study.run().code == 0
    rows = study.results()
    (file,) = (study.folder / "scores").glob(f"*{suffix}")
    file.write_text(content or "".join(file.read_text().splitlines(keepends=True)[:-1]))
    outcome = study.run()
    assert outcome.code == 0, outcome.err
    assert study.started == ["eval stage1 caption 0"]
    assert study.results() == rows
