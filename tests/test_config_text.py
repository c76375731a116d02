"""What is typed where text or a path is wanted stays as it is; a number is what it looks like."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml
from config_refusals import refusal
from conftest import train

from common import config_values
from common.config import load_config, to_dict
from common.config_values import read_yaml, split_overrides
from common.errors import UserError
from common.programs.run import choose_folder
from common.programs.train import read_command_line
from stage1_vae.stage import STAGE


@dataclass(frozen=True)
class Words:
    text: str = "x"
    maybe: str | None = "x"
    path: Path = Path("/x")
    place: Path | None = Path("/x")
    files: str | tuple[str, ...] | None = "x"
    steps: int | None = 1
    share: int | float | None = 1
    rate: float = 1.0
    fast: bool = False


@dataclass(frozen=True)
class Tree:
    words: Words
    name: str = "x"


refuse = partial(refusal, kind=Words)

LOOK_LIKE_OTHERS = [
    "2024-05-01", "2024-05-01 12:00:00", "2024_05_01", "007", "0123", "08", "1.10", "1e3", ".5",
    "5.", "1:30", "190:20:30.15", "0x1F", "0b11", "0o17", "+1", ".inf", "-.inf", ".nan", "yes",
    "No", "on", "OFF", "y", "true", "False", "=", "Zürich", "部屋", "２",
]  # fmt: skip
ONLY_TYPED = [
    "/x/set #1", "bench #2", "#", "# x", "{caption}", "{a} and {b}", "a: b", "a:", "- a", "[a",
    "a]", "@home", "`x`", "%x", "&x", "*x", "|", ">", "? x", "it's", '"a', " x ", "a, b", "a=b",
    "a\tb", "null #1", "'a' and 'b'", "\\x", "!!int 7", "<<", "!x",
]  # fmt: skip


def from_arguments(*arguments):
    return load_config(Words, None, list(arguments))


@pytest.mark.parametrize("typed", LOOK_LIKE_OTHERS + ONLY_TYPED)
def test_arguments_for_text_and_paths(typed):
    names = ("text", "maybe", "path", "place", "files")
    config = from_arguments(*(f"{name}={typed}" for name in names))
    assert (config.text, config.maybe, config.files) == (typed, typed, typed)
    assert config.path == config.place == Path.cwd() / typed
    assert type(config.text) is type(config.files) is str  # plain: YAML and checkpoints take it
    assert yaml.safe_load(yaml.safe_dump(to_dict(config)))["text"] == typed


@pytest.mark.parametrize("typed", LOOK_LIKE_OTHERS)
def test_unquoted_in_a_file(tmp_path, typed):
    file = tmp_path / "config.yaml"
    line = "text: {0}\nmaybe: {0}\npath: {0}  # a comment\nplace: {0}\nfiles: [{0}, a]\n"
    file.write_text(line.format(typed), encoding="utf-8")
    config = load_config(Words, file, [])
    assert (config.text, config.maybe, config.files) == (typed, typed, (typed, "a"))
    assert config.path == config.place == config_values.REPO_ROOT / typed
    file.write_text(f"files: {typed}\n", encoding="utf-8")
    assert load_config(Words, file, []).files == typed


@pytest.mark.parametrize("typed", ["null", "Null", "NULL", "~", ""])
def test_null_is_nothing_where_there_may_be_nothing(typed, tmp_path):
    names = ("maybe", "place", "files", "steps", "share")
    config = from_arguments(*(f"{name}={typed}" for name in names), f"text={typed}")
    assert [getattr(config, name) for name in names] == [None] * 5
    assert config.text == typed
    file = tmp_path / "config.yaml"
    file.write_text("".join(f"{name}: {typed}\n" for name in names))
    assert [getattr(load_config(Words, file, []), name) for name in names] == [None] * 5
    file.write_text(f"text: {typed}\n")
    assert refuse(file) == f"{file}: text must be text, not None; '' is empty text"


@pytest.mark.parametrize("typed", ["'007'", '"007"', "'null'", "''", '"a: b #1"'])
def test_quotes_that_reach_the_program_are_yamls(typed):
    config = from_arguments(f"text={typed}", f"maybe={typed}")
    assert config.text == config.maybe == typed[1:-1]


def test_lists_keep_their_entries_as_typed():
    config = from_arguments("files=[007.jsonl, 2024-05-01, 1.10, no, 'a #1', \"b\"]")
    assert config.files == ("007.jsonl", "2024-05-01", "1.10", "no", "a #1", "b")
    assert load_config(Tree, None, ["words={text: 1.10, steps: 010}"]).words == Words(
        "1.10", steps=10
    )


@pytest.mark.parametrize(
    ("typed", "value"),
    [("010", 10), ("08", 8), ("1_000", 1000), ("+5", 5), ("0x1F", 31), ("0b11", 3), (" 7", 7)],
)
def test_whole_numbers_are_decimal(typed, value, tmp_path):
    """Counting up with `seq -w`, the tenth seed is ten and not eight."""
    assert from_arguments(f"steps={typed}").steps == value
    (tmp_path / "config.yaml").write_text(f"steps: {typed}\nshare: {typed}")
    config = load_config(Words, tmp_path / "config.yaml", [])
    assert (config.steps, config.share) == (value, value)


@pytest.mark.parametrize("typed", ["1:30", "1.0", "1e3", "7 #1", "２", "2024-05-01", "'7'", "yes"])
def test_what_is_no_whole_number(typed):
    assert "steps must be a whole number or null, not " in refuse(None, f"steps={typed}")


@pytest.mark.parametrize(
    ("typed", "value"), [("1e-3", 0.001), (".5", 0.5), ("5.", 5.0), ("010", 10.0), ("1E3", 1000.0)]
)
def test_numbers(typed, value):
    assert from_arguments(f"rate={typed}", f"share={typed}").rate == value


@pytest.mark.parametrize("typed", [".inf", ".nan", "nan", "1:30.5", "0.1 #x", "null", ""])
def test_what_is_no_number(typed):
    assert "rate must be a number, not " in refuse(None, f"rate={typed}")


@pytest.mark.parametrize(
    ("typed", "value"), [("yes", True), ("Off", False), ("TRUE", True), ("n", None), ("1", None)]
)
def test_true_and_false(typed, value):
    if value is None:
        assert refuse(None, f"fast={typed}").startswith("command line: fast must be true or false")
    else:
        assert from_arguments(f"fast={typed}").fast is value


@pytest.mark.parametrize("argument", ["path=", "path=''"])
def test_an_empty_path_is_not_the_current_folder(argument):
    assert refuse(None, argument) == "command line: path must be a path, not ''"


def test_a_comment_that_is_the_end_of_a_path_is_refused(tmp_path):
    file, folder = tmp_path / "config.yaml", tmp_path / "set #1"
    file.write_text(f"fast: no\npath: {tmp_path}/set #1\n")
    (tmp_path / "set").mkdir()
    assert load_config(Words, file, []).path == tmp_path / "set"
    folder.mkdir()
    message = refuse(file)
    assert message.startswith(f"{file}, line 2: to YAML, #1 is a comment, but there is {folder}")
    file.write_text(f'path: "{tmp_path}/set #1"  # mine\n')
    assert load_config(Words, file, []).path == folder


def test_a_comment_without_a_space_is_told_once(tmp_path, capsys):
    file = tmp_path / "config.yaml"
    file.write_text("text: bench #2\nmaybe: bench # the second\nsteps: 3 #4\nfiles: [a, b] #x\n")
    for _ in range(2):
        assert load_config(Words, file, []).text == "bench"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {file}, line 1: the value is 'bench', as #2 is a comment")


@pytest.mark.parametrize(
    "experiment", ["2024-05-01", "2024_05_01", "1.10", "007", "bench #2", "no", "null"]
)
def test_the_folder_of_a_run_is_called_as_typed(workspace, tmp_path, experiment):
    arguments = workspace.arguments("stage1", tmp_path, f"experiment={experiment}")
    config = read_command_line(arguments, STAGE).config()
    assert choose_folder(config, "stage1") == tmp_path / experiment / "stage1"


def test_data_lie_where_the_argument_says(workspace, tmp_path):
    for name in ("set", "set #1", "2011_09_26"):
        (tmp_path / name).symlink_to(workspace.data)
        arguments = (f"data.root={tmp_path / name}", "data.train_dir=", "data.test_dir=''")
        config = read_command_line(
            workspace.arguments("stage1", tmp_path, *arguments), STAGE
        ).config()
        assert config.data.root == tmp_path / name
        assert (config.data.train_dir, config.data.test_dir) == ("", "")
    missing = train(
        "stage1", *workspace.arguments("stage1", tmp_path, f"data.root={tmp_path}/no #1")
    )
    assert f"no folder {tmp_path}/no #1;" in missing.refusal


def test_the_same_run_is_found_again_under_such_a_name(workspace, tmp_path):
    arguments = workspace.arguments("stage1", tmp_path, "experiment=007", "train.max_steps=1")
    assert train("stage1", *arguments).code == 0
    assert "already trained" in train("stage1", *arguments).err
    assert [p.name for p in (tmp_path / "007").iterdir()] == ["stage1"]


@pytest.mark.parametrize("key", ["train_dir", "test_dir"])
def test_nothing_where_text_is_wanted_says_what_empty_text_is(workspace, tmp_path, key):
    base, file = workspace.arguments("stage1", tmp_path)[0], tmp_path / "own.yaml"
    for value, is_fine in (("", False), ("null", False), ("''", True)):
        file.write_text(f"base: {base}\ndata:\n  {key}: {value}\n")
        if is_fine:
            assert getattr(read_command_line([str(file)], STAGE).config().data, key) == ""
            continue
        with pytest.raises(UserError, match=f"data.{key} must be text, not None; '' is empty"):
            read_command_line([str(file)], STAGE)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "x:\n  a: {k: 1, k: 2}\n"])
def test_a_key_that_is_there_twice_is_refused(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="config.yaml: not valid YAML: the key '.' is there twice"):
        read_yaml(file)
    file.write_text("a: &a {k: 1}\nb: &b {<<: *a, k: 2}\nc: {<<: *b, m: 3, k: 4}\n")
    assert read_yaml(file)["b"] == {"k": "2"} and read_yaml(file)["c"] == {"k": "4", "m": "3"}


def test_overrides_are_taken_from_wherever_they_stand():
    given = ["a.yaml", "data.root=x y", "--say", "a=1", "320,240=2.0", "s1+s2:train.lr=1", "no =1"]
    rest, overrides = split_overrides(given)
    assert overrides == ["data.root=x y", "a=1", "s1+s2:train.lr=1"]
    assert rest == ["a.yaml", "--say", "320,240=2.0", "no =1"]
    assert split_overrides(given, ("data.",)) == ([*given[:1], *given[2:]], given[1:2])
