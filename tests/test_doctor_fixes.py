"""Every fix that the doctor names is carried out, and works; none touches what is there."""

import ast
import hashlib
import re
import runpy
import shlex
import subprocess

import doctor_trees as trees
import pytest
from conftest import call
from doctor_damages import CASES

from common.config import REPO_ROOT

STAGES = sorted(path.parent.name for path in REPO_ROOT.glob("*/stage.py"))
FOLDERS = ("common", "scripts", *STAGES)

ROUNDS = 3  # a second problem may only show when the first one is fixed
# Nobody's data are moved or deleted, and lists stay as they were published.
HARMFUL = re.compile(r"(?<!cannot )\b(move|mv|delete|remove|rm|rename)\b", re.IGNORECASE)


def contents(root):
    """File -> hash of every file below a folder."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "health.json")
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def carry_out(fix):
    """Run the command as a user would; returns the settings to add."""
    if fix["command"].startswith("python scripts/"):
        _, program, *arguments = shlex.split(fix["command"])
        outcome = call(runpy.run_path(str(REPO_ROOT / program))["main"], *arguments)
        assert outcome.code == 0, outcome.err
    elif fix["command"]:
        subprocess.run(["sh", "-ec", fix["command"]], cwd=REPO_ROOT, check=True)
    return fix["settings"]


@pytest.mark.parametrize("name", list(CASES))
def test_what_the_doctor_says_fixes_it(tmp_path, name):
    case, root = CASES[name], tmp_path / "my data"
    case.write(root)
    arguments = case.arguments(root)
    before = contents(root)
    health = trees.examine(arguments[0], tmp_path, *arguments[1:])
    assert case.code in health.codes(), health.outcome.out
    for _ in range(ROUNDS):
        if not health.codes():
            break
        for finding in health.content["findings"]:
            if finding["level"] == "problem":
                arguments += carry_out(finding["fix"])
        health = trees.examine(arguments[0], tmp_path, *arguments[1:])
    assert health.codes() == [], health.outcome.out
    now = contents(root)
    changed = {path for path in before if now.get(path) != before[path]}
    # What the doctor's own program made of other captions is made anew.
    assert changed <= ({root / "text.safetensors"} if case.code == "feature_captions" else set())


@pytest.mark.parametrize("name", list(CASES))
def test_nothing_advises_to_move_or_delete(tmp_path, name):
    case, root = CASES[name], tmp_path / "my data"
    case.write(root)
    arguments = case.arguments(root)
    health = trees.examine(arguments[0], tmp_path, *arguments[1:])
    for finding in health.content["findings"]:
        assert not HARMFUL.search(finding["mend"]), finding


PROGRAMS = [path for name in FOLDERS for path in sorted((REPO_ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(REPO_ROOT)))
def test_no_error_or_advice_does_either(path):
    for node in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
        if getattr(node.func, "id", "") in ("UserError", "advice", "Fix"):
            words = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
            text = " ".join(word for word in words if isinstance(word, str))
            assert not HARMFUL.search(text), text
