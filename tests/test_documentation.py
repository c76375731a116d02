"""The pages that are made from the code are up to date, and say what the code says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.config import deciding_keys, load_config, valid_keys
from common.config_values import REPO_ROOT
from common.errors import UserError
from common.runtime.checkpoints import load_checkpoint
from scripts.documentation import troubleshooting_page as page
from scripts.documentation.config_page import STAGES, config_page
from scripts.documentation.fields import keys_of
from scripts.documentation.messages import Message, all_messages, messages_of
from scripts.documentation.subjects import subject_of

DOCS = REPO_ROOT / "docs"
CONFIGS = dict(
    zip(STAGES, ("stage1", "stage2", "stage3", "joint", "llm_mde"), strict=True)
)  # configs/nyu/NAME.yaml
SOURCE = """
KEY = "data.root"

def describe(name):
    if name:
        return f"{name} is odd"
    return "nothing is there"

def fail(path, error, samples):
    hint = f"; it holds {len(samples)} images" if samples else ""
    where = "the list" if samples else "the folder"
    print(f"warning: {path.name} is empty")
    raise UserError(
        f"{KEY}: cannot read {path} ({where}): "
        f"{error.strerror}{hint}"
    )

def other(name, mode):
    raise UserError(describe(name))
    raise ValueError(f"mode: must be one of a, b, not {mode!r}")
    raise ValueError("shapes differ, a programmer's mistake")
"""


@pytest.mark.parametrize(
    ("name", "make"),
    [("configuration.md", config_page), ("troubleshooting.md", page.troubleshooting_page)],
)
def test_the_pages_are_up_to_date(name, make):
    assert (DOCS / name).read_text(encoding="utf-8") == make(), "run python scripts/write_docs.py"


@pytest.mark.slow
def test_the_program_writes_checks_and_tells_of_a_stale_page(tmp_path):
    def write_docs(*words):
        command = [sys.executable, "scripts/write_docs.py", "--folder", str(tmp_path), *words]
        return subprocess.run(command, cwd=REPO_ROOT, capture_output=True, text=True)

    assert write_docs().returncode == 0
    assert write_docs("--check").returncode == 0
    with (tmp_path / "configuration.md").open("a") as file:
        file.write("| `data.forgotten` |\n")
    stale = write_docs("--check")
    assert stale.returncode == 1
    assert stale.stderr == "configuration.md not up to date; run python scripts/write_docs.py\n"


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_key_has_its_row_and_what_resuming_does(stage):
    keys = {key.name: key for key in keys_of(STAGES[stage])}
    all_keys = valid_keys(STAGES[stage])
    assert set(keys) >= {k for k in all_keys if not any(o.startswith(f"{k}.") for o in all_keys)}
    assert set(keys) <= set(all_keys)
    config = load_config(STAGES[stage], REPO_ROOT / f"configs/nyu/{CONFIGS[stage]}.yaml", [])
    fixed = {name for name, key in keys.items() if key.resume == "no"}
    decided = set(deciding_keys(config)) & set(keys)
    assert decided <= fixed
    left = {name for name in fixed - decided if not name.startswith("model.encoder")}
    assert left <= {"model.prior_mean"}  # filled in by something else


def test_rows_say_what_the_dataclass_says():
    keys = {key.name: key for key in keys_of(STAGES["stage1"])}
    assert keys["train.batch_size"].default == "`4`"
    assert keys["train.batch_size"].values == "a whole number; at least 1"
    assert keys["train.dry_run"].resume == "not stored"
    assert keys["eval.flip"].resume == keys["data.root"].resume == "yes"
    assert keys["data.root"].default == "must be given"
    assert keys["loss.smoothness_weight"].meaning.startswith("of edge-aware smoothness")  # parent's
    assert keys["data.carve_by"].meaning.startswith("What is one scene")  # lines above the field


def test_messages_are_read_from_the_source(tmp_path):
    path = tmp_path / "some.py"
    path.write_text(SOURCE)
    assert {message.text for message in messages_of(path)} == {
        "warning: NAME is empty",
        "data.root: cannot read PATH (the list): STRERROR; it holds NUMBER images",
        "data.root: cannot read PATH (the folder): STRERROR; it holds NUMBER images",
        "NAME is odd",
        "nothing is there",
        "mode: must be one of a, b, not MODE",
    }


def refusals(tmp_path):
    """Real errors, of several parts of the project."""
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    (tmp_path / "bad.yaml").write_text("a: [1")
    stage1, nyu = STAGES["stage1"], REPO_ROOT / "configs/nyu/stage1.yaml"
    yield lambda: load_config(stage1, nyu, ["train.batchsize=4"])
    yield lambda: load_config(stage1, nyu, ["data.height=100"])
    yield lambda: load_config(stage1, nyu, ["train.batch_size=0"])
    yield lambda: load_config(stage1, tmp_path / "bad.yaml", [])
    yield lambda: load_checkpoint(tmp_path / "broken.pt", stage="stage1", recipes=("staged",))


def test_what_programs_say_is_on_the_page(tmp_path):
    patterns = [
        re.sub(r"(?:[A-Z][A-Z_]+|\\\.\\\.\\\.)", ".*", re.escape(message.text))
        for message in all_messages()
    ]
    for refuse in refusals(tmp_path):
        with pytest.raises(UserError) as refusal:
            refuse()
        # A config's own check is told with its file and section in front.
        assert any(re.search(f"{pattern}$", str(refusal.value)) for pattern in patterns)


def test_an_explanation_of_a_message_that_is_gone_is_refused(monkeypatch):
    monkeypatch.setitem(page.ADVICE, "the moon is missing", "Wait for the night.")
    with pytest.raises(UserError, match="no program says 'the moon is missing' any more"):
        page.troubleshooting_page()


def test_a_file_without_a_subject_is_refused():
    assert subject_of("common/data/lists.py") == "Lists, splits and folders of data"
    assert subject_of("common/data/frames.py") == "Pictures and depth maps"  # the longer one
    with pytest.raises(UserError, match="name its subject"):
        subject_of("elsewhere/new.py")


def test_every_message_is_on_the_page_once():
    text = page.troubleshooting_page()
    for message in all_messages():
        assert message.text in text
    assert isinstance(all_messages()[0], Message)


def headings(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.M):
        name = re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
        found.add(name if name not in found else f"{name}-1")
    return found


PAGES = [REPO_ROOT / "README.md", REPO_ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        assert other.exists(), target
        if anchor:
            assert anchor in headings(other), target


def slow_tests(file: str) -> dict[str, bool]:
    """The tests of a file, and whether they are marked slow in all their cases."""
    tree = ast.parse((REPO_ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"))
    is_whole = "pytestmark = pytest.mark.slow" in map(ast.unparse, tree.body)
    return {
        node.name: is_whole or "pytest.mark.slow" in map(ast.unparse, node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_tests_that_reliability_names_exist_and_are_as_slow_as_it_says():
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    names = re.findall(r"`(test_\w+)?(?:::(test_\w+))?`(\s\(slow)?", text)
    assert len(names) > 100
    file, found = "", {}
    for named, test, slow in names:
        file = named or file  # `::test_b` is of the file before
        tests = found.setdefault(file, slow_tests(file))
        assert not test or test in tests, f"{file}::{test}"
        assert not test or tests[test] == bool(slow), f"{file}::{test}: is it slow?"
    assert sum(bool(slow) for _, _, slow in names) == text.count("(slow") - 1  # and its explanation
