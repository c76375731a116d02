"""`scripts/test.sh`: when it runs several tests at once, and what pytest is given."""

import os
import shutil

import pytest
from conftest import run_process, write_program

from common.config import REPO_ROOT

# Answers as the Python of .venv: the number of tests at once, and what pytest would be given.
PYTHON = """
case "$*" in
*xdist*) {xdist} ;;
*sysconf*) echo 3 ;;
*) echo "OMP=${{OMP_NUM_THREADS-}} $*" ;;
esac
"""
AT_ONCE = "-m pytest -n 3 --dist loadfile"


@pytest.fixture
def start(tmp_path):
    """Calls test.sh in a repository that is set up, with xdist or without."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPO_ROOT / "scripts/test.sh", tmp_path / "scripts")
    write_program(tmp_path / "scripts/setup.sh", ":")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for part in ("test", "app"):
        (tmp_path / f"requirements-{part}.txt").touch()
        (tmp_path / f".venv/installed-requirements-{part}.txt").touch()

    def start_program(*arguments, has_xdist=True, **variables):
        answer = "exit 0" if has_xdist else "exit 1"
        write_program(tmp_path / ".venv/bin/python", PYTHON.format(xdist=answer))
        environment = {"TESTS_AT_ONCE": os.devnull, **variables}
        command = ["env", "-u", "TESTS_AT_ONCE", "-u", "OMP_NUM_THREADS"]
        command += [f"{name}={value}" for name, value in environment.items() if value != os.devnull]
        outcome = run_process(*command, "sh", str(tmp_path / "scripts/test.sh"), *arguments)
        assert outcome.code == 0, outcome.err
        return outcome.out.strip()

    return start_program


@pytest.mark.parametrize("arguments", [(), ("-m", "not slow"), ("--durations=60", "-x")])
def test_many_tests_run_several_at_once(start, arguments):
    assert start(*arguments) == " ".join(("OMP=1", AT_ONCE, *arguments))


@pytest.mark.parametrize(
    "arguments",
    [("tests/test_x.py",), ("tests/test_x.py::test_y",), ("-m", "not slow", "-k", "x"), ("-n", "4"),
     ("-n4",), ("--pdb",), ("--lf",)],
)  # fmt: skip
def test_few_tests_run_as_they_are(start, arguments):
    assert start(*arguments) == " ".join(("OMP= -m pytest", *arguments))


def test_one_after_the_other_where_it_is_said_or_xdist_is_missing(start):
    assert start("-m", "slow", TESTS_AT_ONCE="1") == "OMP= -m pytest -m slow"
    assert start("-m", "slow", has_xdist=False) == "OMP= -m pytest -m slow"
    assert start("-x", TESTS_AT_ONCE="7", OMP_NUM_THREADS="2") == (
        "OMP=2 -m pytest -n 7 --dist loadfile -x"
    )
