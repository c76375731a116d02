"""`train.time_limit`: what it may say, and a training that saves and ends before it."""

import signal
import time

import pytest
from conftest import train, train_process
from test_resume import last

from common.runtime.signals import catch_signals
from common.runtime.time_limit import read_time, time_limited


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12 * 3600),
        ("0.5", 1800),
        ("01:30:00", 5400),
        ("100:00:01", 360001),
        ("45:30", 2730),
        ("2-12", 60 * 3600),
        ("1-00:30", 88200),
        ("1-02:03:04", 93784),
    ],
)
def test_forms_of_a_time(text, seconds):
    assert read_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "0", "0:00", "1:2:3:4", "1-", "1e3", "nan", "١"]
)
def test_what_is_no_time(text):
    with pytest.raises(ValueError):
        read_time(text)


def test_a_config_that_says_no_time(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, "train.time_limit=a day")
    refusal = train("stage1", *words).refusal
    assert "train.time_limit: 'a day' is no time; give hours as a number" in refusal


def test_the_end_is_a_signal_before_the_limit_and_has_its_reason():
    with catch_signals() as caught, caught.noting():
        begin = time.monotonic()
        with time_limited("00:00:01", caught):
            while not caught and time.monotonic() < begin + 20:
                time.sleep(0.01)
        assert time.monotonic() - begin >= 0.9
        assert caught == [signal.SIGTERM]
        assert caught.reason == "train.time_limit=00:00:01 is nearly over: ended"


def test_a_limit_that_is_not_reached_and_one_of_another_process(monkeypatch):
    with catch_signals() as caught, caught.noting():
        with time_limited("00:00:01", caught):
            pass
        monkeypatch.setenv("RANK", "1")
        with time_limited("00:00:01", caught):
            time.sleep(1.2)
        assert not caught


@pytest.mark.slow
@pytest.mark.parametrize("nproc", ["1", "2"])
def test_a_training_ends_before_it_and_goes_on(workspace, tmp_path, nproc):
    words = workspace.arguments("stage1", tmp_path, "train.max_steps=1000000", "eval.every=1000000")
    begin = time.monotonic()
    outcome = train_process("stage1", *words, "train.time_limit=01:00", NPROC=nproc)
    assert time.monotonic() - begin < 120  # of a program that takes its time to start, here
    assert outcome.code == 130, outcome.err
    step = last(tmp_path / "tiny/stage1")["step"]
    line = f"train.time_limit=01:00 is nearly over: ended; saved at step {step} of 1000000."
    assert line in outcome.err and outcome.err.count("train.time_limit") == 1
    again = train_process("stage1", *words, "train.time_limit=00:30", NPROC=nproc)
    assert again.code == 130 and f"resuming at step {step}" in again.err
