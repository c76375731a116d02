"""Who may import whom, and the shape of the training programs, from the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from common.config import REPO_ROOT

STAGES = ["stage1_vae", "stage2_sampler", "stage3_depth", "llm_mde"]
ORDER = STAGES[:3]  # llm_mde is a system of its own
FILES = sorted(
    path.relative_to(REPO_ROOT)
    for folder in ("common", "scripts", "tests", "benchmarks", *STAGES)
    for path in (REPO_ROOT / folder).rglob("*.py")
)
TRAINING = [path for path in FILES if path.parts[0] in STAGES and path.stem.startswith("train")]
PROGRAMS = [*TRAINING, *(path for path in FILES if path.name == "eval.py")]


def imported(tree: ast.AST) -> set[str]:
    """Every module a file imports, at any depth; `from a import b` counts as `a` and `a.b`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def may_import(path: Path, module: str) -> bool:
    """Whether the file may import the module of this project."""
    here, package = path.parts[0], module.partition(".")[0]
    if here == "benchmarks" and module.startswith("tests.golden"):
        return True  # what this project is compared with
    if package in ("scripts", "tests", "conftest"):
        return here == package or (package == "conftest" and here == "tests")
    if package not in STAGES or here in ("scripts", "tests", "benchmarks", package):
        return True
    is_earlier = here in ORDER and package in ORDER[: ORDER.index(here)]
    return is_earlier and (module == package or module.startswith(f"{package}.model"))


def forbidden(path: Path, source: str) -> list[str]:
    return sorted(m for m in imported(ast.parse(source)) if not may_import(path, m))


def read(path: Path) -> str:
    return (REPO_ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nobody_imports_what_it_must_not(path):
    assert not forbidden(path, read(path))


@pytest.mark.parametrize(
    ("path", "source", "allowed"),
    [
        ("common/x.py", "from stage1_vae.model import TextVAE", False),
        ("common/x.py", "def f():\n    import stage1_vae.model", False),
        ("common/x.py", "from scripts import report", False),
        ("common/data/x.py", "from common.config import load_config", True),
        ("stage2_sampler/x.py", "from stage1_vae.model import TextVAE", True),
        ("stage2_sampler/x.py", "from stage1_vae import model", True),
        ("stage2_sampler/x.py", "from stage1_vae.train import step_fn", False),
        ("stage2_sampler/x.py", "from stage1_vae import train", False),
        ("stage2_sampler/x.py", "from stage3_depth.model import LanguageDepth", False),
        ("stage1_vae/x.py", "import llm_mde.model", False),
        ("llm_mde/x.py", "from stage1_vae.model import TextVAE", False),
        ("scripts/x.py", "from stage3_depth.eval import PROGRAM", True),
        ("tests/x.py", "from scripts.report import write_report", False),
        ("scripts/x.py", "from scripts.report import write_report", True),
    ],
)
def test_the_rule_itself(path, source, allowed):
    assert (not forbidden(Path(path), source)) == allowed


def test_there_are_files_to_check():
    assert [path.parts[0] for path in TRAINING[:4]] == ["llm_mde", *ORDER]
    assert len(FILES) > 50


@pytest.mark.parametrize("path", TRAINING, ids=str)
def test_training_programs_are_short(path):
    source = read(path)
    assert len(source.splitlines()) <= 200
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("path", PROGRAMS, ids=str)
def test_programs_explain_themselves_and_run_nothing_when_imported(path):
    """At the top level: docstring, imports, the path to the repository, names and definitions."""
    tree = ast.parse(read(path))
    assert (ast.get_docstring(tree) or "").count("\n") >= 2
    for node in tree.body[1:]:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) == "__name__ == '__main__'"
        elif isinstance(node, ast.Expr):
            assert ast.unparse(node).startswith("sys.path.insert(0, ")
        else:
            assert isinstance(
                node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Assign | ast.ClassDef
            ), ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_star_imports_and_no_bare_except(path):
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.ImportFrom):
            assert [alias.name for alias in node.names] != ["*"]
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None


def test_importing_every_training_program_prints_and_writes_nothing(tmp_path):
    modules = [".".join(path.with_suffix("").parts) for path in TRAINING]
    code = f"import sys; sys.path.insert(0, {str(REPO_ROOT)!r}); import {', '.join(modules)}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
