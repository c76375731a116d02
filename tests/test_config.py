"""YAML files and key=value words to dataclasses, and every way they can be wrong."""

from dataclasses import FrozenInstanceError, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from config_refusals import refusal
from conftest import call

from common.config import REPO_ROOT, build_config, find_yaml, load_config, to_dict, valid_keys
from common.config_values import resolve_path
from common.errors import UserError
from common.programs.train import read_command_line
from common.programs.train import train as train_program
from stage1_vae.stage import STAGE


@dataclass(frozen=True)
class Data:
    root: Path
    height: int = 64
    lists: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.height % 32:
            raise ValueError(f"height: {self.height} is not divisible by 32")


@dataclass(frozen=True)
class Train:
    lr: float = 1e-3
    steps: int | None = None
    clip: float | None = 1.0
    fast: bool = False
    dims: tuple[int, ...] = (2, 3)
    precision: Literal["auto", "fp32"] = "auto"


@dataclass(frozen=True)
class Config:
    data: Data
    name: str = "x"
    train: Train = field(default_factory=Train)


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="config.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write_file


refuse = partial(refusal, kind=Config)


def test_defaults_file_and_words_in_that_order(write):
    path = write("data: {root: /d, height: 96}\ntrain:\n  lr: 1e-4\n  steps: 7\n")
    config = load_config(Config, path, ["train.steps=8", "train.fast=true", "data.lists=[a, b]"])
    assert config == Config(
        Data(Path("/d"), 96, ("a", "b")), "x", Train(lr=1e-4, steps=8, fast=True)
    )
    with pytest.raises(FrozenInstanceError):
        config.name = "y"


def test_a_value_takes_the_type_of_its_field(write):
    path = write("data: {root: /d}\nname: 12\ntrain: {lr: 1, dims: [4]}\n")
    config = load_config(Config, path, ["train.clip=null", "train.steps=null", "data.lists=a"])
    assert config.name == "12"
    assert isinstance(config.train.lr, float)
    assert config.train == Train(lr=1.0, dims=(4,), clip=None)
    assert config.data.lists == "a"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("train.steps=ten", "a whole number or null"),
        ("train.steps=1.5", "a whole number or null"),
        ("train.steps=true", "a whole number or null"),
        ("train.lr=fast", "a number"),
        ("train.lr=null", "a number"),
        ("train.fast=1", "true or false"),
        ("train.dims=4", "a list, each a whole number"),
        ("train.dims=[4, x]", "a list, each a whole number"),
        ("train.precision=fp8", "one of auto, fp32"),
        ("name=[a]", "text"),
        ("data.root=", "a path"),
        ("data.root=[a]", "a path"),
        ("data.root.deep=7", "a path"),
    ],
)
def test_wrong_type(write, word, kind):
    message = refuse(write("data: {root: /d}"), word)
    key = word.partition("=")[0].removesuffix(".deep")
    assert message.startswith(f"command line: {key} must be {kind}, not ")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("data.hieght", "data.height"),
        ("dta.height", "data"),
        ("height", "data.height"),
        ("lr", "train.lr"),
        ("nmae", "name"),
        ("train.learning_rate", "train"),
    ],
)
def test_misspelled_key_names_the_nearest(write, key, nearest):
    path = write("data: {root: /d}")
    message = refuse(path, f"{key}=3")
    assert message.startswith("command line: unknown key ")
    assert f"the nearest valid key is '{nearest}" in message


def test_a_mistake_is_reported_in_the_file_that_holds_it(write):
    base = write("data: {root: /d, hieght: 3}", "base.yaml")
    child = write("base: base.yaml\ntrain: {lr: 1e-3}")
    assert refuse(child).startswith(f"{base}: unknown key 'data.hieght'")
    base.write_text("data: {root: /d}\ntrain: {fast: 1}")
    assert refuse(child).startswith(f"{base}: train.fast must be true or false")
    child.write_text("base: base.yaml\ntrain: {fast: 2}")
    assert refuse(child).startswith(f"{child}: train.fast")
    assert refuse(child, "train.fast=3").startswith("command line: train.fast")


def test_value_out_of_range_names_source_key_and_value(write):
    path = write("data: {root: /d, height: 100}")
    assert refuse(path) == f"{path}: data.height: 100 is not divisible by 32"
    good = write("data: {root: /d}")
    assert refuse(good, "data.height=33").startswith("command line: data.height: 33")


def test_a_required_key_that_is_missing(write):
    path = write("data: {height: 64}")
    assert refuse(path) == f"{path}: data.root is missing; it has no default"
    assert refuse(write("name: y")).endswith("data.root is missing; it has no default")
    assert "data.root is missing" in refuse(None)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("data: [", "not valid YAML"),
        ("- a\n- b", "expected 'key: value' lines, found a list"),
        ("data: 3", "data must hold keys, not 3"),
        ("data: {root: /d}\ntrain:", "train must hold keys, not None"),
        ("base: nowhere.yaml", "nowhere.yaml"),
        ("base: config.yaml", "config.yaml"),
    ],
)
def test_files_that_are_not_a_config(write, text, part):
    path = write(text)
    message = refuse(path)
    assert part in message
    assert str(path.parent) in message


def test_words_that_are_not_key_value(write):
    path = write("data: {root: /d}")
    assert "'train' is not of the form key=value" in refuse(path, "train")
    assert "'=3' is not of the form key=value" in refuse(path, "=3")
    assert "train.dims: cannot read the value '[1'" in refuse(path, "train.dims=[1")
    assert "train must hold keys" in refuse(path, "train=3")


def test_base_files_chain_and_the_last_one_wins(write):
    write("data: {root: /a, height: 96}\ntrain: {lr: 1.0, dims: [1, 2, 3]}", "a.yaml")
    write("base: ../a.yaml\ntrain: {lr: 2.0}", "deep/b.yaml")
    config = load_config(Config, write("base: deep/b.yaml\ntrain: {dims: [9]}"), [])
    assert config == Config(Data(Path("/a"), 96), train=Train(lr=2.0, dims=(9,)))


def test_relative_paths(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    from_file = load_config(Config, write("data: {root: here}"), [])
    assert from_file.data.root == REPO_ROOT / "here"
    assert load_config(Config, None, ["data.root=here"]).data.root == tmp_path / "here"
    assert load_config(Config, None, ["data.root=common"]).data.root == REPO_ROOT / "common"
    assert load_config(Config, None, ["data.root=nowhere"]).data.root == tmp_path / "nowhere"
    assert resolve_path("~/x") == Path.home() / "x"
    assert resolve_path("/abs") == Path("/abs")


def test_paths_inside_installed_packages(tmp_path, monkeypatch):
    """Found under both of a package's names, and not run: this one could not be."""
    (tmp_path / "some_weights" / "model").mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").write_text("raise SystemExit('was run')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("some_weights", "some-weights"):
        assert resolve_path(f"package:{name}/model") == tmp_path / "some_weights" / "model"
    for name in ("no-such-weights/model", "", "../etc", "math"):
        with pytest.raises(UserError, match="there is no Python package"):
            resolve_path(f"package:{name}")


def test_round_trip_through_plain_types():
    config = Config(Data(REPO_ROOT / "data/x", 32, ("a",)), train=Train(clip=None))
    tree = to_dict(config)
    assert tree["data"] == {"root": "data/x", "height": 32, "lists": ["a"]}
    assert build_config(Config, tree) == config
    outside = Config(Data(Path("/elsewhere")))
    assert build_config(Config, to_dict(outside)) == outside


def test_valid_keys_are_dotted():
    assert valid_keys(Config)[:4] == ["data", "data.root", "data.height", "data.lists"]


def test_the_command_line_of_a_training_program(workspace, monkeypatch):
    path = str(workspace.configs / "stage1.yaml")
    stage = replace(STAGE, default_yaml=path)

    def read(*arguments):
        settings = read_command_line(list(arguments), stage)
        assert settings.stage is stage
        return settings.config()

    assert read() == read(path)
    assert read("seed=3", path, "experiment=y").experiment == "y"
    monkeypatch.chdir(workspace.configs)
    assert read("stage1.yaml").seed == 0
    for words in (("a.yaml", "b.yaml"), (path, "--fast"), ("--lr=3",)):
        with pytest.raises(UserError, match="command line"):
            read(*words)
    with pytest.raises(UserError, match=r"no config file nowhere\.yaml"):
        read("nowhere.yaml")
    outcome = call(partial(train_program, "What it does.\n", stage), "--help")
    assert outcome.code == 0
    assert "What it does." in outcome.out


def test_find_yaml_prefers_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/demo/stage1.yaml"
    assert find_yaml(name) == REPO_ROOT / name
    (tmp_path / "configs/demo").mkdir(parents=True)
    (tmp_path / name).touch()
    assert find_yaml(name).resolve() == tmp_path / name
