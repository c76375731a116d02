"""Who may import whom, and the shape of the training programs, from the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from common.config import REPO_ROOT

# The rooms of `common`, each with those whose code it may use; the first row is the ground.
GROUND = (
    "config",
    "config_values",
    "errors",
    "files",
    "fingerprints",
    "packed",
    "packed_mappings",
    "printable",
    "progress",
    "shards",
    "shortages",
    "stops",
    "terminal",
    "text_files",
)
ROOMS: dict[str, tuple[str, ...]] = {
    "runtime": (),
    "images": (),
    "losses": (),
    "pages": (),
    "networks": ("runtime", "images"),
    "engine": ("runtime",),
    "language": ("runtime", "images"),
    "data": ("images", "language"),
    "evaluation": ("images", "data", "pages"),
    "programs": (
        "runtime",
        "images",
        "losses",
        "networks",
        "engine",
        "language",
        "data",
        "pages",
        "evaluation",
    ),
}
MAX_LEVELS = 6  # from the ground up
# A stage: a folder with a stage.py. Of an earlier stage it may import model.py and nothing else.
STAGES = sorted(path.parent.name for path in REPO_ROOT.glob("*/stage.py"))
EARLIER = {"stage2_sampler": ("stage1_vae",), "stage3_depth": ("stage1_vae", "stage2_sampler")}
TOP = ("common", "scripts", "tests", "benchmarks", *STAGES)

FILES = sorted(
    path.relative_to(REPO_ROOT) for folder in TOP for path in (REPO_ROOT / folder).rglob("*.py")
)
TRAINING = [path for path in FILES if path.parts[0] in STAGES and path.stem.startswith("train")]
PROGRAMS = [*TRAINING, *(path for path in FILES if path.name == "eval.py")]
SCRIPT_PACKAGES = sorted(
    {path.parts[1] for path in FILES if path.parts[0] == "scripts" and len(path.parts) == 3}
)


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


def room_of(name: str) -> str:
    """`common.config` -> ground; `common.data.lists` -> data; else the first word."""
    parts = name.removesuffix(".py").replace("/", ".").split(".")
    if parts[0] != "common" or len(parts) == 1:
        return parts[0]
    return "ground" if parts[1] in GROUND else parts[1]


def may_import(path: Path, module: str) -> bool:
    """Whether the file may import the module of this project."""
    here, target = path.parts[0], module.split(".")
    if here == "common":
        own, other = room_of(str(path)), room_of(module)
        if target[0] in ("common",) and len(target) > 1:
            return other in (own, "ground", *ROOMS.get(own, ()))
        return target[0] not in TOP
    if target[0] in ("tests", "conftest"):
        return here == "tests"
    if target[0] == "scripts":
        inside = len(target) > 1 and target[1] in SCRIPT_PACKAGES
        return here == "scripts" or (here == "tests" and inside)
    if target[0] not in STAGES or here in ("scripts", "tests", "benchmarks", target[0]):
        return True
    is_earlier = target[0] in EARLIER.get(here, ())
    return is_earlier and (len(target) == 1 or target[1] == "model")


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
        ("common/engine/x.py", "from stage1_vae.model import TextVAE", False),
        ("common/engine/x.py", "def f():\n    import stage1_vae.model", False),
        ("common/data/x.py", "from scripts import report", False),
        ("common/data/x.py", "from common.config import load_config", True),
        ("common/data/x.py", "from common.language.captions import read_captions", True),
        ("common/language/x.py", "from common.data.lists import read_list", False),
        ("common/language/x.py", "from common.data import lists", False),
        ("common/engine/x.py", "from common.data.dataset import DepthDataset", False),
        ("common/config.py", "from common.runtime.precision import Precision", False),
        ("stage2_sampler/x.py", "from stage1_vae.model import TextVAE", True),
        ("stage2_sampler/x.py", "from stage1_vae import model", True),
        ("stage2_sampler/x.py", "from stage1_vae.train import step_fn", False),
        ("stage2_sampler/x.py", "from stage1_vae import train", False),
        ("stage2_sampler/x.py", "from stage3_depth.model import LanguageDepth", False),
        ("stage1_vae/x.py", "import llm_mde.model", False),
        ("llm_mde/x.py", "from stage1_vae.model import TextVAE", False),
        ("scripts/x.py", "from stage3_depth.eval import predict", True),
        ("tests/x.py", "from scripts.report import write_report", False),
        ("tests/x.py", "from scripts.preparation.links import link", True),
        ("benchmarks/x.py", "from scripts.preparation.links import link", False),
        ("scripts/x.py", "from scripts.report import write_report", True),
    ],
)
def test_the_rule_itself(path, source, allowed):
    assert (not forbidden(Path(path), source)) == allowed


def test_every_room_is_in_the_order_and_the_order_has_no_circle():
    rooms = {room_of(str(path)) for path in FILES if path.parts[0] == "common"}
    assert rooms - {"ground", "__init__"} == set(ROOMS)
    for number, (room, uses) in enumerate(ROOMS.items()):
        assert set(uses) <= set(list(ROOMS)[:number]), room


def test_the_house_is_low():
    """The longest way from a room down to the ground, over what is really imported."""
    levels = {"ground": 1}
    for room in ROOMS:
        files = [path for path in FILES if path.parts[:2] == ("common", room)]
        below = {room_of(m) for path in files for m in imported(ast.parse(read(path)))}
        levels[room] = 1 + max(levels[other] for other in below - {room} if other in levels)
    assert max(levels.values()) <= MAX_LEVELS, levels


def test_no_package_of_scripts_has_the_name_of_a_program():
    programs = {path.stem for path in FILES if path.parts[0] == "scripts" and len(path.parts) == 2}
    assert SCRIPT_PACKAGES
    assert not programs & set(SCRIPT_PACKAGES)


def test_there_are_files_to_check():
    assert {"llm_mde", "stage1_vae", "stage2_sampler", "stage3_depth"} <= set(STAGES)
    assert {path.parts[0] for path in TRAINING} == set(STAGES)
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
