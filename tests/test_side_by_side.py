"""One command, or two at the same time with the output of one in a log: as real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.config import REPO_ROOT

CALLER = """
import sys
from pathlib import Path
from common.errors import run_program
from scripts.run_plans.stage_runs import run_command, run_side_by_side
shown, quiet, log = sys.argv[1:]
def main():
    if quiet:
        run_side_by_side(["sh", "-c", shown], ["sh", "-c", quiet], Path(log), A="b")
    else:
        run_command(["sh", "-c", shown], A="b")
        print("the next command")
run_program(main)
"""


def as_in_a_terminal():
    """Whoever runs the tests may ignore signals, as nohup and background jobs do."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def run(tmp_path):
    """(shown, quiet, log) -> the calling process, the first of a group of its own.

    quiet: "" starts the first one alone.
    """

    def start(shown, quiet="", log=tmp_path / "new" / "quiet.log"):
        return subprocess.Popen(
            [sys.executable, "-c", CALLER, shown, quiet, str(log)],
            cwd=REPO_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=as_in_a_terminal,
        )

    return start


def test_both_run_at_once_and_one_prints_to_a_log(run, tmp_path):
    wait = "until [ -e {other} ]; do sleep 0.1; done; echo $A {name}"
    files = {name: tmp_path / name for name in ("one", "two")}
    shown, quiet = (
        f"touch {files[own]}; " + wait.format(other=files[other], name=own)
        for own, other in (("one", "two"), ("two", "one"))
    )
    process = run(shown, quiet)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "b one" and "quiet.log 2>&1 &" in out
    assert (tmp_path / "new" / "quiet.log").read_text() == "b two\n"


@pytest.mark.parametrize("fails", ["shown", "quiet"])
def test_where_one_fails_the_other_saves_itself(run, tmp_path, fails):
    commands = dict.fromkeys(
        ("shown", "quiet"),
        f"trap 'echo saved > {tmp_path}/saved; exit 130' TERM; while :; do sleep 0.1; done",
    )
    process = run(**{**commands, fails: "sleep 0.5; exit 3"})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert (tmp_path / "saved").exists()
    assert ("has failed: see" in err) == (fails == "quiet")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_group_leaves_no_process(run, tmp_path, number):
    command = f"echo $$ >> {tmp_path}/pids; exec sleep 60"
    process = run(command, command)
    pids = tmp_path / "pids"
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("count", [1, 2])
def test_a_signal_to_the_caller_alone_reaches_what_it_started(run, tmp_path, count, number):
    commands = [
        f"trap 'echo saved > {tmp_path}/saved{one}; exit {code}' TERM; touch {tmp_path}/on{one}; "
        "while :; do sleep 0.1; done"
        for one, code in ((0, 0), (1, 130))  # one is done in spite of it
    ]
    process = run(*commands[:count])
    while not all((tmp_path / f"on{one}").exists() for one in range(count)):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert all((tmp_path / f"saved{one}").exists() for one in range(count))
    assert "the next command" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_failure_after_a_signal_is_told(run, tmp_path, number):
    wait = f"trap '{{}}' INT TERM; touch {tmp_path}/{{}}; while :; do sleep 0.1; done"
    process = run(wait.format("exit 130", "shown"), wait.format("exit 2", "quiet"))
    while not all((tmp_path / name).exists() for name in ("shown", "quiet")):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "has failed: see" in err


def test_a_log_that_cannot_be_written(run, tmp_path):
    process = run("true", "true", tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.count("\n") == 1 and str(tmp_path) in err
