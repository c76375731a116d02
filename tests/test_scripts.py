"""What a reader of `scripts/` may rely on: examples in `--help`, maps of packages, short files."""

import ast
import re

import pytest

from common.config import REPO_ROOT

SCRIPTS = REPO_ROOT / "scripts"
PROGRAMS = sorted(SCRIPTS.glob("*.py"))
PACKAGES = sorted(path.parent for path in SCRIPTS.glob("*/__init__.py"))
FILES = [*PROGRAMS, *sorted(SCRIPTS.glob("*/*.py"))]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_help_has_an_example(path):
    """In the docstring or the epilog, both of which argparse prints."""
    assert f"scripts/{path.stem}." in path.read_text(encoding="utf-8")
    assert "formatter_class=argparse.RawDescriptionHelpFormatter" in path.read_text()


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: path.name)
def test_a_package_says_what_is_in_it(folder):
    words = set(re.findall(r"\w+", (folder / "__init__.py").read_text(encoding="utf-8")))
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert not modules - words


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SCRIPTS)))
def test_files_and_functions_are_short(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 310
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
