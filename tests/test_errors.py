"""How a program ends whose output nobody reads any more."""

import subprocess
import sys

import pytest
from conftest import REPO_ROOT

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
