"""A real terminal that closes in the middle of a training; and `nohup`, which outlives it."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest
from conftest import train
from test_resume import last

from common.config import REPO_ROOT
from common.runtime.launcher import can_outlive_terminal

pytestmark = pytest.mark.slow
DRIVER = REPO_ROOT / "tests/stopped_moments.py"
LAUNCHER = REPO_ROOT / "common/runtime/launcher.py"


def own_terminal():
    """The process's first file becomes its terminal; it heeds what the tests' caller may ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def in_terminal(workspace, tmp_path):
    """Start a training on a terminal of its own, which stays at a moment; returns both."""
    settings = ("train.max_steps=6", "train.save_every=3", "eval.every=3", "eval.batch_size=1")
    words = workspace.arguments("stage1", tmp_path, *settings)
    open_ends, started = [], []

    def start(moment, nproc, *prefix):
        place = tmp_path / "moment"
        place.mkdir()
        ours, theirs = pty.openpty()
        open_ends.append(ours)
        process = subprocess.Popen(
            [*prefix, sys.executable, str(LAUNCHER), str(DRIVER), moment, str(place), *words],
            cwd=tmp_path,  # of nohup.out
            env={**os.environ, "OMP_NUM_THREADS": "1", "NPROC": str(nproc)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=own_terminal,
        )
        os.close(theirs)
        started.append(process)
        end = time.monotonic() + 120
        while not all((place / str(rank)).exists() for rank in range(nproc)):
            assert process.poll() is None, os.read(ours, 100_000).decode()
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.2)
        return process, lambda: os.close(open_ends.pop())

    yield start, words
    for end in open_ends:
        os.close(end)
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize(("moment", "saved"), [("step", 2), ("data", 2), ("evaluation", 3)])
@pytest.mark.parametrize("nproc", [1, 2])
def test_a_training_whose_terminal_closes_is_saved(in_terminal, tmp_path, nproc, moment, saved):
    start, words = in_terminal
    process, close = start(moment, nproc)
    close()
    assert process.wait(timeout=60) == 130
    run = tmp_path / "tiny/stage1"
    assert last(run)["step"] == saved
    log = (run / "log.txt").read_text()
    assert f"interrupted; saved at step {saved} of 6" in log and "Traceback" not in log
    assert train("stage1", *words).code == 0


@pytest.mark.parametrize("nproc", [1, 2])
def test_nohup_outlives_its_terminal(in_terminal, tmp_path, nproc):
    if nproc > 1 and not can_outlive_terminal():
        pytest.skip("this torchrun takes every hang-up for its own")
    start, _ = in_terminal
    process, close = start("evaluation", nproc, "nohup")
    close()
    os.killpg(process.pid, signal.SIGHUP)  # as a shell sends it to its jobs
    assert process.wait(timeout=100) == 0
    assert last(tmp_path / "tiny/stage1")["step"] == 6
