"""A real terminal that closes in the middle of a training; and those that outlive it."""

import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

import pytest
from conftest import train
from test_resume import last

from common.config import REPO_ROOT
from common.runtime.launcher import can_leave_hang_ups

pytestmark = pytest.mark.slow
LAUNCHER = [sys.executable, str(REPO_ROOT / "common/runtime/launcher.py")]


class Terminal:
    """A program on a terminal of its own. said: what it has printed there."""

    def __init__(self, command: list[str], folder: Path, **variables: str):
        self.ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))  # or no bar is drawn
        self.process = subprocess.Popen(
            [sys.executable, str(REPO_ROOT / "tests/on_terminal.py"), *command],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.said = b""
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        """Never waiting inside a read, which would keep the terminal open."""
        with suppress(OSError):  # all have left
            while not self._closing.is_set():
                if select.select([self.ours], [], [], 0.05)[0]:
                    self.said += os.read(self.ours, 4096)

    def wait_until(self, condition):
        end = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.said.decode()
            assert time.monotonic() < end, self.said.decode()
            time.sleep(0.02)

    def close(self):
        """As its window does; again: nothing."""
        if not self._closing.is_set():
            self._closing.set()
            self._reader.join()
            os.close(self.ours)


@pytest.fixture
def words(workspace, tmp_path):
    settings = ("train.max_steps=6", "train.save_every=3", "eval.every=3", "eval.batch_size=1")
    return workspace.arguments("stage1", tmp_path, *settings)


@pytest.fixture
def open_terminal(tmp_path):
    opened = []

    def start(command, **variables):
        opened.append(Terminal(command, tmp_path, **variables))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()
        if terminal.process.poll() is None:
            os.killpg(terminal.process.pid, signal.SIGKILL)
            terminal.process.wait()


@pytest.fixture
def held(open_terminal, words, tmp_path):
    """Start a training that stays at a moment, on a terminal, and wait until it is there."""

    def start(moment, nproc, *prefix):
        place = tmp_path / "moment"
        place.mkdir()
        driver = [str(REPO_ROOT / "tests/stopped_moments.py"), moment, str(place)]
        terminal = open_terminal([*prefix, *LAUNCHER, *driver, *words], NPROC=str(nproc))
        ranks = [place / str(rank) for rank in range(nproc)]
        terminal.wait_until(lambda: all(rank.exists() for rank in ranks))
        time.sleep(0.2)
        return terminal

    return start


@pytest.mark.parametrize(("moment", "saved"), [("step", 2), ("data", 2), ("evaluation", 3)])
@pytest.mark.parametrize("nproc", [1, 2])
def test_a_training_whose_terminal_closes_is_saved(held, words, tmp_path, nproc, moment, saved):
    terminal = held(moment, nproc)
    terminal.close()  # the kernel tells of it
    for _ in range(6):  # and a shell, some times
        time.sleep(0.05)
        if terminal.process.poll() is None:
            os.killpg(terminal.process.pid, signal.SIGHUP)
    assert terminal.process.wait(timeout=60) == 130
    run = tmp_path / "tiny/stage1"
    assert last(run)["step"] == saved
    log = (run / "log.txt").read_text()
    assert f"interrupted; saved at step {saved} of 6" in log and "Traceback" not in log
    assert train("stage1", *words).code == 0


@pytest.mark.parametrize("nproc", [1, 2])
def test_nohup_outlives_its_terminal(held, tmp_path, nproc):
    if nproc > 1 and not can_leave_hang_ups():
        pytest.skip("this torchrun takes every hang-up for its own")
    terminal = held("evaluation", nproc, "nohup")
    terminal.close()
    os.killpg(terminal.process.pid, signal.SIGHUP)  # as a shell sends it to its jobs
    assert terminal.process.wait(timeout=100) == 0
    assert last(tmp_path / "tiny/stage1")["step"] == 6


@pytest.mark.parametrize("trap", [":", "''"])  # it alone is told, and outlives it; nobody heeds it
def test_a_training_that_is_not_told_prints_nowhere(open_terminal, words, tmp_path, trap):
    program = [*LAUNCHER, str(REPO_ROOT / "stage1_vae/train.py"), *words, "train.max_steps=60"]
    shell = f"trap {trap} HUP; {shlex.join(program)}; echo $? > code"
    terminal = open_terminal(["bash", "-c", shell], NPROC="1")
    run = tmp_path / "tiny/stage1"
    terminal.wait_until(lambda: (run / "metrics.jsonl").exists() and b"train:" in terminal.said)
    terminal.close()
    assert terminal.process.wait(timeout=100) == 0
    assert (tmp_path / "code").read_text() == "0\n"
    assert last(run)["step"] == 60
