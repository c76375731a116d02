"""How a program ends whose output nobody reads any more, and one that torchrun starts again."""

import subprocess
import sys

import pytest
import torch.distributed as dist
from conftest import REPO_ROOT

from common.errors import UserError, run_program, tell_stop

PROGRAM = """
from common.errors import run_program
def main():
    {body}
run_program(main)
"""


def run_into_a_closed_pipe(body: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    reading = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reading.wait()  # its end of the pipe is closed
    return subprocess.run(
        command, stdout=reading.stdin, stderr=subprocess.PIPE, text=True, cwd=REPO_ROOT
    )


@pytest.mark.parametrize("body", ["print(1)", "[print(n) for n in range(99999)]"])
def test_a_reader_that_leaves_ends_a_program_in_silence(body):
    outcome = run_into_a_closed_pipe(body)
    assert (outcome.returncode, outcome.stderr) == (141, "")


def test_another_broken_pipe_is_no_silent_end():
    outcome = run_into_a_closed_pipe("raise ValueError('a fault')")
    assert outcome.returncode == 1 and "a fault" in outcome.stderr
    body = "import os; r, w = os.pipe(); os.close(r); os.write(w, b'1')"
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=REPO_ROOT)
    assert outcome.returncode == 1 and "BrokenPipeError" in outcome.stderr


@pytest.fixture
def as_process(monkeypatch):
    """Have this process be one of three, beside a store as torchrun has it."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def be(rank, restart):
        for name, value in (
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", store.port),
            ("WORLD_SIZE", 3),
            ("RANK", rank),
            ("TORCHELASTIC_RESTART_COUNT", restart),
        ):
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr("common.errors.leave", sys.exit)

    return be


def code_of(main):
    with pytest.raises(SystemExit) as stop:
        run_program(main)
    return stop.value.code


def test_processes_that_were_all_told_to_stop_are_not_started_again(as_process):
    for rank in range(3):
        as_process(rank, 0)
        tell_stop()
    for restart, ranks in (
        (1, [1]),
        (2, [2]),
        (3, range(3)),
    ):  # the first that leaves ends the others
        for rank in ranks:
            as_process(rank, restart)
            assert code_of(lambda: pytest.fail("it trains")) == 130


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_processes_of_which_one_was_killed_are_started_again(as_process, killed):
    for rank in {0, 1, 2} - {killed}:  # the launcher told them to stop
        as_process(rank, 0)
        tell_stop()
    for rank in range(3):
        as_process(rank, 1)
        assert code_of(lambda: None) == 0


def test_a_run_that_needed_one_process_is_told_to_stop(as_process, monkeypatch):
    as_process(0, 0)
    monkeypatch.setenv("ROLE_WORLD_SIZE", "3")
    monkeypatch.setenv("WORLD_SIZE", "1")  # the others have left: train.batch_size=1
    tell_stop()
    for rank in range(3):
        as_process(rank, 1)
        assert code_of(lambda: pytest.fail("it trains")) == 130


def test_a_mistake_ends_all_however_the_others_ended(as_process, capsys):
    def err():
        raise UserError("a mistake")

    as_process(1, 0)
    assert code_of(err) == 2
    for rank in range(3):
        as_process(rank, 1)
        assert code_of(lambda: pytest.fail("it trains")) == 2
    assert capsys.readouterr().err.count("error: a mistake") == 1
