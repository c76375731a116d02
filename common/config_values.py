"""One value of a config: from YAML to the type its field is declared with, and what to call it."""

import argparse
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union

from common.files import to_bytes

REPO_ROOT = Path(__file__).resolve().parents[1]


def is_union(kind: Any) -> bool:
    """Whether a type says `A | B`."""
    return typing.get_origin(kind) in (Union, types.UnionType)


def convert_value(kind: Any, value: Any, typed_by_hand: bool) -> Any:
    """`value` as `kind`; TypeError or ValueError when it is not one."""
    origin = typing.get_origin(kind)
    if is_union(kind):
        return _convert_union(typing.get_args(kind), value, typed_by_hand)
    if origin is Literal:
        if value not in typing.get_args(kind) or isinstance(value, bool):
            raise ValueError(value)
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        return tuple(convert_value(typing.get_args(kind)[0], v, typed_by_hand) for v in value)
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
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        number = float(value)  # PyYAML reads 1e-3 as a string
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
    if kind is Path and isinstance(value, str):
        return resolve_path(value, typed_by_hand)
    raise TypeError(value)


def resolve_path(text: str, typed_by_hand: bool = False) -> Path:
    """An absolute path (see the module's docstring for what a relative one means)."""
    path = Path(text).expanduser()
    if path.is_absolute():
        return path
    if typed_by_hand and (Path.cwd() / path).exists():
        return Path.cwd() / path
    if typed_by_hand and not (REPO_ROOT / path).exists():
        return Path.cwd() / path
    return REPO_ROOT / path


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
    if parts:
        return " or ".join(describe_type(p) for p in parts)
    return names.get(kind, str(kind))


def positive(text: str) -> int:
    """A whole number of at least 1, as `type` of an argument of argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
