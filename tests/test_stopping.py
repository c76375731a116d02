"""SIGTERM and SIGINT at any moment of a real training, to all its processes or to one of them."""

import os
import signal
import sys
import time

import pytest
import torch
from conftest import metrics_of, start_process, train
from test_resume import TIMES, last, same

from common.config import REPO_ROOT

pytestmark = pytest.mark.slow
DRIVER = REPO_ROOT / "tests/stopped_moments.py"
# Moment -> what is saved then, of six steps that are evaluated every three.
SAVED = {"set-up": 0, "first step": 0, "step": 2, "data": 2, "evaluation": 3, "save": 3}


@pytest.fixture
def words(workspace, tmp_path):
    def of(*overrides):
        settings = ("train.max_steps=6", "train.save_every=3", "eval.every=3", "eval.batch_size=1")
        return workspace.arguments("stage1", tmp_path, *settings, *overrides)

    return of


@pytest.fixture
def held(words, tmp_path):
    """Start a training that stays at a moment, and wait until the processes named are there."""
    started = []

    def start(moment, nproc=1, ranks=(0,), *overrides):
        place = tmp_path / "moment"
        place.mkdir()
        command = (sys.executable, "common/runtime/launcher.py", str(DRIVER), moment, str(place))
        process = start_process(*command, *words(*overrides), NPROC=str(nproc))
        started.append(process)
        end = time.monotonic() + 120
        while not all((place / str(rank)).exists() for rank in ranks):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.2)
        return process, {rank: int((place / str(rank)).read_text().split()[0]) for rank in ranks}

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def check_stopped(process, saved):
    """It ends in time, with the documented code and one line that says what is saved."""
    begin = time.monotonic()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert time.monotonic() - begin < 45, err  # 30 s promised, on a machine that others use
    assert "Traceback" not in err and "error:" not in err
    lines = [line for line in err.splitlines() if line.startswith("interrupted")]
    assert len(lines) == 1, err
    expected = f"saved at step {saved} of 6" if saved else "before the first step; there is nothing"
    assert expected in lines[0]
    return err


def check_same_end(words, tmp_path):
    """The stopped run, gone on with, ends as one that was never stopped."""
    straight = train("stage1", *words("experiment=straight"))
    again = train("stage1", *words())
    assert straight.code == again.code == 0, again.err
    runs = [tmp_path / name / "stage1" for name in ("straight", "tiny")]
    for name in ("last", "best"):
        a, b = (torch.load(run / f"checkpoints/{name}.pt", weights_only=True) for run in runs)
        a.pop("config"), b.pop("config")
        assert same(a, b)
    lines = [
        [
            {k: v for k, v in line.items() if k not in TIMES}
            for kind in ("train", "val")
            for line in metrics_of(run, kind)
        ]
        for run in runs
    ]
    assert lines[0] == lines[1]
    assert [line["step"] for line in metrics_of(runs[1], "val")] == [3, 6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", SAVED)
def test_one_process(held, words, tmp_path, moment, number):
    process, _ = held(moment)
    process.send_signal(number)
    check_stopped(process, SAVED[moment])
    last_path = tmp_path / "tiny/stage1/checkpoints/last.pt"
    assert last_path.exists() == (SAVED[moment] > 0)
    if moment == "evaluation":  # it ended early, and is made up for
        assert len((tmp_path / "moment/0").read_text().split()) < 4
        assert last(tmp_path / "tiny/stage1")["evaluation_failed"]
    if number == signal.SIGTERM:
        check_same_end(words, tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("moment", ["set-up", "step", "data", "evaluation"])
def test_one_of_two_processes(held, tmp_path, moment, rank):
    process, numbers = held(moment, 2, (0, 1))
    os.kill(numbers[rank], signal.SIGTERM)
    check_stopped(process, SAVED[moment])
    if moment == "evaluation":
        assert last(tmp_path / "tiny/stage1")["evaluation_failed"]


def test_all_of_two_processes_in_an_evaluation(held, tmp_path):
    process, _ = held("evaluation", 2, (0, 1))
    os.killpg(process.pid, signal.SIGTERM)
    check_stopped(process, 3)
    assert last(tmp_path / "tiny/stage1")["evaluation_failed"]


def test_where_no_handler_is_run_a_thread_ends_it(held):
    process, _ = held("no python")
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert time.monotonic() - begin < 45
    assert "did not end within 25 s, and nothing more could be saved" in err
