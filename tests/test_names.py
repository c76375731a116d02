"""One thing per name: no class, type alias or type variable is defined in two files."""

import ast
import re
from collections import defaultdict

import pytest

from common.config import REPO_ROOT

STAGES = sorted(path.parent.name for path in REPO_ROOT.glob("*/stage.py"))
FOLDERS = ("common", "scripts", "benchmarks", *STAGES)


def types_of(source: str) -> set[str]:
    """The classes, type aliases and type variables that a module defines at its top level."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names |= {t.id for t in targets if isinstance(t, ast.Name) and is_type_name(t.id)}
    return names


def is_type_name(name: str) -> bool:
    """CamelCase, or one letter."""
    return bool(re.fullmatch(r"_?[A-Z](\w*[a-z]\w*)?", name))


def defined_twice() -> dict[str, list[str]]:
    """Name -> the files that define it, where there are several."""
    places = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((REPO_ROOT / folder).rglob("*.py")):
            for name in types_of(path.read_text(encoding="utf-8")):
                places[name].append(str(path.relative_to(REPO_ROOT)))
    return {name: files for name, files in places.items() if len(files) > 1}


def test_no_two_types_have_one_name():
    assert not defined_twice()


def test_the_search_finds_classes_aliases_and_variables():
    source = "class A: ...\nPairs = tuple[int]\nT = TypeVar('T')\nSIZE = 3\nname = 4\n"
    assert types_of(source) == {"A", "Pairs", "T"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("class Frame:\n    class Inner: ...", {"Frame"}),
        ("Row = dict[str, int]\nT = TypeVar('T')", {"Row", "T"}),
        ("Rows: TypeAlias = list[int]", {"Rows"}),
        ("MAX_DEPTH = 10\nURL: str = ''\ncount = 3", set()),
        ("def f():\n    Local = int", set()),
    ],
)
def test_what_counts_as_a_type(source, names):
    assert types_of(source) == names
