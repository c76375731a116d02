"""Facts that stand once: replaced sections, several bases, what may change or is filled in."""

from dataclasses import dataclass, field

import pytest

from common.config import (
    build_config,
    deciding_keys,
    filled_in,
    load_config,
    may_change,
    merge_yaml,
    renamed,
    to_dict,
)
from common.errors import UserError


@dataclass(frozen=True)
class Part:
    size: int = 1
    name: str | None = None


@dataclass(frozen=True)
class Whole:
    part: Part = field(default_factory=Part)
    guest: Part | None = filled_in()
    mean: float | None = filled_in()
    workers: int = may_change(4)
    kind: str = renamed("new", {"old": "new"})


def write(path, text):
    path.write_text(text)
    return path


def test_a_section_goes_back_to_its_defaults_but_for_what_is_kept(tmp_path):
    write(tmp_path / "base.yaml", "part: {size: 7, name: a}\nworkers: 2\n")
    own = "base: base.yaml\nreplace: [part, workers]\nkeep: [part.size]\npart: {name: null}\n"
    assert load_config(Whole, write(tmp_path / "own.yaml", own), []) == Whole(Part(7))
    own = "base: base.yaml\nreplace: [part.name]\n"
    assert load_config(Whole, write(tmp_path / "own.yaml", own), []).part == Part(7)


def test_what_is_kept_is_still_told_from_where_it_came(tmp_path):
    write(tmp_path / "base.yaml", "part: {size: much}\n")
    own = write(tmp_path / "own.yaml", "base: base.yaml\nreplace: [part]\nkeep: [part.size]\n")
    with pytest.raises(UserError, match=r"base\.yaml: part\.size must be a whole number"):
        load_config(Whole, own, [])


@pytest.mark.parametrize("line", ["replace: part", "replace: [1]", "keep: {part: 1}"])
def test_what_to_replace_is_a_list_of_keys(tmp_path, line):
    with pytest.raises(UserError, match="must be a list of sections and keys"):
        load_config(Whole, write(tmp_path / "own.yaml", line + "\n"), [])


def test_a_checkpoints_tree_is_replaced_like_a_file(tmp_path):
    tree = to_dict(Whole(Part(7, "a"), workers=1))
    merge_yaml(tree, {}, write(tmp_path / "own.yaml", "replace: [part]\npart: {size: 2}\n"))
    assert build_config(Whole, tree) == Whole(Part(2), workers=1)


def test_of_several_bases_a_later_one_wins(tmp_path):
    write(tmp_path / "a.yaml", "part: {size: 2, name: a}\n")
    write(tmp_path / "b.yaml", "part: {size: 3}\n")
    own = write(tmp_path / "own.yaml", "base: [a.yaml, b.yaml]\nworkers: 1\n")
    assert load_config(Whole, own, []) == Whole(Part(3, "a"), workers=1)


def test_a_section_may_be_null_until_it_is_named(tmp_path):
    empty = write(tmp_path / "empty.yaml", "")
    assert load_config(Whole, empty, []).guest is None
    assert load_config(Whole, empty, ["guest.size=5"]).guest == Part(5)
    assert load_config(Whole, empty, ["guest=null"]).guest is None
    with pytest.raises(UserError, match="nearest valid key is 'guest.size'"):
        load_config(Whole, empty, ["guest.sise=5"])


def test_an_old_value_is_read_as_its_new_name():
    assert build_config(Whole, {"kind": "old"}) == build_config(Whole, {"kind": "new"}) == Whole()


def test_which_keys_decide_what_is_computed():
    open_keys = deciding_keys(Whole())
    assert open_keys == ["part", "part.size", "part.name", "kind"]
    assert set(deciding_keys(Whole(guest=Part(), mean=0.0))) - set(open_keys) == {
        "guest", "guest.size", "guest.name", "mean"
    }  # fmt: skip
