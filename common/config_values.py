"""One value of a config: from text to the type its field is declared with, and what to call it.

What an unquoted text is, its field says and not YAML: 007, 1.10, 2024-05-01, 1:30 and `no` are text
where text or a path is wanted, and numbers are decimal (010 is ten). Only null is YAML's own.
"""

import argparse
import dataclasses
import functools
import importlib.util
import math
import os
import re
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union

import yaml

from common.errors import UserError
from common.text_files import to_bytes

REPO_ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "package:"
_NULL = ("", "~", "null", "Null", "NULL")
_OVERRIDE = re.compile(r"[A-Za-z_][\w.+:]*=")  # of a study: stage1+joint:model.text_dim=384
_COMMENT = re.compile(r"[ \t]+#[^\r\n\0]*")


class Plain(str):
    """Unquoted text, as typed; `convert_value` makes of it what its field asks for."""

    def __repr__(self) -> str:
        """For messages: 7 and true as typed, text in quotes."""
        return super().__repr__() if _is_text(self) else str(self)


def _is_text(plain: str) -> bool:
    """Whether it is neither a number nor true or false to YAML."""
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, plain, (True, False))
    return not tag.endswith((":int", ":float", ":bool"))


_MOST_VALUES, _MOST_LEVELS = 100_000, 50  # of a config


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML, and every unquoted scalar but null as `Plain`; notes the comments behind them."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.comments: list[tuple[int, str, str]] = []  # line, the text before, the comment

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A key that is there twice is an error: YAML says so, PyYAML takes the later one."""
        node = super().compose_mapping_node(anchor)
        before: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in before:
                reason = f"the key {key.value!r} is there twice"
                raise yaml.composer.ComposerError(None, None, reason, key.start_mark)
            before.add(key.value)
        return node

    def construct_text(self, node: yaml.ScalarNode) -> str:
        if node.style is not None:  # in quotes, or a block
            return node.value
        end = node.end_mark
        behind = _COMMENT.match(end.buffer or "", end.pointer)
        if behind:
            self.comments.append((end.line + 1, node.value, behind[0].rstrip()))
        return Plain(node.value)


_PlainLoader.add_constructor("tag:yaml.org,2002:str", _PlainLoader.construct_text)


def _load(loader: _PlainLoader) -> Any:
    """The plain tree of a text; `yaml.YAMLError` for all that is none, whatever PyYAML raises."""
    try:
        tree = loader.get_single_data()
    except yaml.YAMLError:
        raise
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply, or holds itself") from error
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        # A tag that says what its value is not: `!!int x`, `!!bool x`, `!!timestamp x`.
        raise yaml.YAMLError(f"a value is not what its tag says ({error})") from error
    _check_size(tree)
    return tree


def _check_size(tree: Any) -> None:
    """Refuse a tree that its aliases (`*name`) make endless, or larger than any config."""
    levels, num_values = [[tree]], 0
    while levels[-1]:
        values = [v for v in levels[-1] if isinstance(v, dict | list | tuple | set)]
        num_values += sum(map(len, values))
        if num_values > _MOST_VALUES or len(levels) > _MOST_LEVELS:
            raise yaml.YAMLError(
                f"more than {_MOST_VALUES:,} values or {_MOST_LEVELS} levels, or it holds itself"
            )
        levels.append([c for v in values for c in (v.values() if isinstance(v, dict) else v)])


def read_yaml(path: Path) -> dict[str, Any]:
    """The tree of a config file, its unquoted scalars `Plain`; a `UserError` if it is none."""
    try:
        loader = _PlainLoader(path.read_text(encoding="utf-8"))
        tree = _load(loader) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read config {path}: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found a {type(tree).__name__}")
    for line, text, comment in loader.comments:
        _check_comment(f"{path}, line {line}", text, comment)
    return tree


def _check_comment(where: str, text: str, comment: str) -> None:
    """Refuse or tell of a comment that may be meant as part of the text: `root: /x/set #1`."""
    if not _is_text(text):
        return
    meant = resolve_path(text + comment)
    if os.path.lexists(meant):
        raise UserError(
            f"{where}: to YAML,{comment} is a comment, but there is {meant}; put quotes around the "
            "value, or the comment on a line of its own"
        )
    if re.match(r"\s+#[^\s#]", comment):  # "#1", and not "# a comment"
        _tell_once(
            f"note: {where}: the value is {text!r}, as{comment} is a comment to YAML; if it "
            "belongs to the value, put quotes around both"
        )


@functools.cache
def _tell_once(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)


def read_argument(kind: Any, text: str) -> Any:
    """The value of a `key=value` argument whose field has the type `kind` (None: no such field).

    Lists and sections are YAML, and so is what stands in quotes; the rest is text as typed, with
    its `#`, spaces and braces. A `ValueError` if it is not the YAML that it must be.
    """
    kinds = typing.get_args(kind) if is_union(kind) else (kind,)
    is_text = str in kinds or Path in kinds
    if text in _NULL and (types.NoneType in kinds or not is_text):
        return None
    in_quotes = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    is_list = text.startswith("[") and (text.endswith("]") or not is_text)
    if not (in_quotes or is_list or any(dataclasses.is_dataclass(k) for k in kinds)):
        return Plain(text)
    try:
        return _load(_PlainLoader(text))
    except yaml.YAMLError:
        if is_text:
            return Plain(text)
        raise ValueError(text) from None


def is_union(kind: Any) -> bool:
    """Whether a type says `A | B`."""
    return typing.get_origin(kind) in (Union, types.UnionType)


def convert_value(kind: Any, value: Any, typed_by_hand: bool) -> Any:
    """`value` as `kind`; TypeError or ValueError when it is not one."""
    origin = typing.get_origin(kind)
    if is_union(kind):
        return _convert_union(typing.get_args(kind), value, typed_by_hand)
    if origin is Literal:
        options = typing.get_args(kind)
        if value not in options or isinstance(value, bool):
            raise ValueError(value)
        return options[options.index(value)]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        return tuple(convert_value(typing.get_args(kind)[0], v, typed_by_hand) for v in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(value)
        inner = typing.get_args(kind)[1]
        return {str(name): convert_value(inner, v, typed_by_hand) for name, v in value.items()}
    return _convert_scalar(kind, value, typed_by_hand)


def _convert_union(kinds: tuple, value: Any, typed_by_hand: bool) -> Any:
    if value is None:
        if types.NoneType in kinds:
            return None
        raise TypeError(value)
    for kind in kinds:
        if kind is types.NoneType:
            continue
        try:
            return convert_value(kind, value, typed_by_hand)
        except (TypeError, ValueError):
            continue
    raise TypeError(value)


def _convert_scalar(kind: Any, value: Any, typed_by_hand: bool) -> Any:
    if isinstance(value, Plain):
        value = _read_as(kind, value)
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        number = float(value)  # "1e-3" too, which YAML takes for text
        if not math.isfinite(number):
            raise ValueError(value)
        return number
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if isinstance(value, str):
        to_bytes(value)  # half a character is no text, nor a path
    if kind is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if kind is Path and isinstance(value, str) and value:
        return resolve_path(value, typed_by_hand)
    raise TypeError(value)


def _read_as(kind: type, text: Plain) -> Any:
    """What unquoted text is where a value of this type is wanted."""
    if kind is int and text.isascii():
        return int(text, 0 if re.match(r"[-+]?0[xXoObB]", text) else 10)
    if kind is bool:
        return yaml.SafeLoader.bool_values.get(text.lower(), text)  # yes, no, on and off too
    return str(text)


def resolve_path(text: str, typed_by_hand: bool = False) -> Path:
    """An absolute path (see `common/config.py` for what a relative one means).

    `package:NAME/PATH` lies inside an installed Python package, which is looked up and not run.
    """
    if text.startswith(PACKAGE):
        return _in_package(text)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (as lexists, never raises)
    if path.is_absolute():
        return path
    if typed_by_hand and os.path.lexists(Path.cwd() / path):
        return Path.cwd() / path
    if typed_by_hand and not os.path.lexists(REPO_ROOT / path):
        return Path.cwd() / path
    return REPO_ROOT / path


def _in_package(text: str) -> Path:
    name, _, inside = text.removeprefix(PACKAGE).partition("/")
    module = name.replace("-", "_")  # a package is installed by one name and imported by the other
    found = importlib.util.find_spec(module) if module.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"{text}: there is no Python package {name or '(no name)'} here; try "
            f"`pip install --no-deps {name.replace('_', '-')}`, or name a path of your own"
        )
    return Path(found.submodule_search_locations[0]) / inside


def output_path(text: str) -> Path:
    """An absolute path of what a program will write: a relative one starts where it was typed.

    Unlike `resolve_path`, which would find, and so replace, the repository's file of that name.
    """
    return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 (as above)


def describe_type(kind: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
        types.NoneType: "null",
    }
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(str(p) for p in parts)
    if origin is tuple:
        return f"a list, each {describe_type(parts[0])}"
    if origin is dict:
        return f"names, each with {describe_type(parts[1])}"
    if parts:
        return " or ".join(describe_type(p) for p in parts)
    return names.get(kind, str(kind))


def split_overrides(
    arguments: Sequence[str], starts: tuple[str, ...] = ()
) -> tuple[list[str], list[str]]:
    """What argparse is to read, and the `key=value` overrides, wherever they stand.

    starts: those of the keys, where other arguments may have a form like theirs.
    """
    overrides = [
        text for text in arguments if _OVERRIDE.match(text) and text.startswith(starts or "")
    ]
    return [text for text in arguments if text not in overrides], overrides


def natural(text: str) -> int:
    """A whole number of at least 0, as `type` of an argument of argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1, as `type` of an argument of argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
