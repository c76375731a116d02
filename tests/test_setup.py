"""`scripts/setup.sh` with environments that are half made; requirements.txt is empty here."""

import hashlib
import os
import shutil
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import run_process, write_program

from common.config import REPO_ROOT
from scripts.pinning.lock_file import MADE_FOR, this_system

pytestmark = pytest.mark.slow  # each makes an environment


@pytest.fixture
def root(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("setup.sh", "setup_locked.sh", "venv.sh"):
        shutil.copy(REPO_ROOT / "scripts" / name, tmp_path / "scripts")
    for part in ("", "-weights", "-test", "-app"):
        (tmp_path / f"requirements{part}.txt").write_text("")
    return tmp_path


def set_up(root, python=sys.executable, **variables):
    program = str(root / "scripts/setup.sh")
    return run_process("sh", program, cwd=root, PYTHON=str(python), **variables)


def mark_installed(root):
    for name in ("requirements", "requirements-weights"):
        shutil.copy(root / f"{name}.txt", root / f".venv/installed-{name}.txt")


def check_works(root):
    outcome = run_process(str(root / ".venv/bin/python"), "-m", "pip", "--version", cwd=root)
    assert outcome.code == 0, outcome.err
    for name in ("requirements", "requirements-weights"):
        assert (root / f".venv/installed-{name}.txt").exists()


def without_pip(root):
    venv.create(root / ".venv", with_pip=False, symlinks=True)
    (root / ".venv/kept").touch()


def python_is_gone(root):
    """As after an update of the system: everything was installed once."""
    without_pip(root)
    mark_installed(root)
    for path in (root / ".venv/bin").glob("python*"):
        path.unlink()
        path.symlink_to("/nowhere/python3")


def python_is_too_old(root):
    without_pip(root)
    (root / ".venv/bin/python").unlink()
    write_program(root / ".venv/bin/python", "exit 1")


def nothing_but_a_folder(root):
    (root / ".venv").mkdir()


@pytest.mark.parametrize(
    "half", [without_pip, python_is_gone, python_is_too_old, nothing_but_a_folder]
)
def test_a_half_made_environment_is_completed_or_made_anew(root, half):
    half(root)
    outcome = set_up(root)
    assert outcome.code == 0, outcome.err
    check_works(root)
    assert (root / ".venv/kept").exists() == (half is without_pip)
    assert ("made anew" in outcome.out) == (half is not without_pip)
    assert set_up(root).out == ""  # nothing is left to do


def test_packages_never_go_into_the_systems_python(root):
    """Without pyvenv.cfg, a link called .venv/bin/python is the Python it links to."""
    without_pip(root)
    (root / ".venv/pyvenv.cfg").unlink()
    mark_installed(root)
    outcome = set_up(root)
    assert outcome.code == 2
    assert ".venv has no Python that works" in outcome.errors[0]


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_this_program_did_not_make_stays(root, kind):
    mine = root / "mine"
    mine.mkdir()
    (mine / "notes.txt").touch()
    mine.rename(root / ".venv") if kind == "folder" else (root / ".venv").symlink_to(mine)
    outcome = set_up(root)
    assert outcome.code == 2
    assert ".venv has no Python that works, and this program did not make it" in outcome.errors[0]
    assert (root / ".venv/notes.txt").exists()


def test_debians_python_without_venv(root):
    """It has no ensurepip: half an environment and an error, until python3-venv is installed."""
    python = root / "python3"
    makes_half = 'mkdir -p .venv/bin; touch .venv/pyvenv.cfg; ln -sf "$0" .venv/bin/python'
    cases = f'*"-m pip"*|*"-m ensurepip"*) exit 1;; *"-m venv"*) {makes_half}; exit 1;;'
    write_program(python, f'case "$*" in {cases} esac\nexec {sys.executable} "$@"')
    package = "python{}.{}-venv".format(*sys.version_info)
    for _ in range(2):
        outcome = set_up(root, python)
        assert outcome.code == 2
        assert f"on Debian and Ubuntu: apt install {package}" in outcome.errors[0]
    assert set_up(root).code == 0
    check_works(root)


def test_a_pip_that_fails_is_one_line_and_can_be_called_again(root):
    (root / "requirements.txt").write_text("./nothing-here.whl\n")
    outcome = set_up(root)
    assert outcome.code == 2
    assert outcome.errors[-1].startswith("error: pip cannot install requirements.txt")
    (root / "requirements.txt").write_text("")
    assert set_up(root).code == 0
    check_works(root)


def test_a_python_that_does_not_exist(root):
    outcome = set_up(root, Path(os.sep) / "nowhere" / "python")
    assert outcome.code == 2
    assert "no Python 3.10 or newer found" in outcome.errors[0]


def write_wheel(folder: Path, content: str) -> str:
    """A package `tiny` 1.0 of one module; returns the sha256 of its file."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny-1.0-py3-none-any.whl"
    facts = "tiny-1.0.dist-info"
    parts = {
        "tiny.py": content,
        f"{facts}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{facts}/RECORD": "tiny.py,,\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in parts.items():
            wheel.writestr(zipfile.ZipInfo(name), text)  # without the time
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_lock(root, digest, made_for=None):
    line = f"tiny==1.0 --hash=sha256:{digest}\n"
    (root / "requirements.lock").write_text(f"{MADE_FOR}{made_for or this_system()}\n{line}")


@pytest.fixture
def shelf(root):
    """Where pip finds wheels, and nothing else."""
    return {"PIP_FIND_LINKS": str(root / "wheels"), "PIP_NO_INDEX": "1"}


def installed(root):
    outcome = run_process(str(root / ".venv/bin/python"), "-c", "import tiny; print(tiny.word)")
    return outcome.out.strip()


def test_a_locked_environment_has_the_file_of_the_lock_and_stays_locked(root, shelf):
    write_lock(root, write_wheel(root / "wheels", "word = 'right'"))
    outcome = set_up(root, LOCKED="1", **shelf)
    assert outcome.code == 0, outcome.err
    assert installed(root) == "right"
    assert set_up(root, **shelf).out == ""  # nothing is left to do; requirements.txt neither
    (root / "requirements.txt").write_text("no-such-package\n")
    assert set_up(root, **shelf).out == ""
    write_lock(root, "00" * 32)
    shutil.rmtree(next((root / ".venv").glob("lib/python*/site-packages/tiny-1.0.dist-info")))
    outcome = set_up(root, **shelf)  # without LOCKED: it is another lock now
    assert outcome.code == 2 and "requirements.lock" in outcome.errors[-1]


def test_a_file_with_another_hash_is_not_installed(root, shelf):
    digest = write_wheel(root / "wheels", "word = 'right'")
    assert write_wheel(root / "wheels", "word = 'strange'") != digest
    write_lock(root, digest)
    for _ in range(2):  # the first try leaves nothing that a second one takes for installed
        outcome = set_up(root, LOCKED="1", **shelf)
        assert outcome.code == 2
        assert "DO NOT MATCH THE HASHES" in outcome.err
        assert outcome.errors[-1].startswith("error: pip cannot install requirements.lock")
        assert installed(root) == ""
    write_wheel(root / "wheels", "word = 'right'")
    assert set_up(root, LOCKED="1", **shelf).code == 0
    assert installed(root) == "right"


def test_an_environment_made_without_the_lock_is_not_called_locked(root, shelf):
    write_lock(root, write_wheel(root / "wheels", "word = 'right'"))
    assert set_up(root, **shelf).code == 0
    outcome = set_up(root, LOCKED="1", **shelf)
    assert outcome.code == 2
    assert ".venv was installed without the lock" in outcome.errors[0]


def test_a_lock_for_another_python_or_system(root, shelf):
    write_lock(root, "00" * 32, "Python 3.7 linux-x86_64")
    outcome = set_up(root, LOCKED="1", **shelf)
    assert outcome.code == 2
    assert "is made for Python 3.7 linux-x86_64, which was not found" in outcome.errors[0]
    assert not (root / ".venv").exists()
