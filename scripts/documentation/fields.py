"""What every key of a config is, from the dataclass that declares it.

The meaning is the comment beside the field, or the one above it, so that it stands once.
"""

import ast
import dataclasses
import inspect
import io
import tokenize
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import MAY_CHANGE, PASSING
from common.config_values import REPO_ROOT, describe_type, is_union

LONGEST = 60  # characters of a default that is shown whole


@dataclass(frozen=True)
class Key:
    """One key of a config.

    owner: the dataclass of its section. resume: what a run that goes on does with another value.
    """

    name: str  # dotted
    section: str
    owner: type
    values: str
    default: str
    resume: str
    meaning: str


def keys_of(config_type: type, prefix: str = "", may_change: bool = False) -> Iterator[Key]:
    """Every key of a config's tree, sections in the order in which they are declared."""
    kinds, meanings = typing.get_type_hints(config_type), meanings_of(config_type)
    least = least_values(config_type)
    for field in dataclasses.fields(config_type):
        name, kind = field.name, kinds[field.name]
        may = may_change or MAY_CHANGE.items() <= field.metadata.items()
        section = section_of(kind)
        if section is None or is_union(kind):
            yield Key(
                prefix + name,
                prefix.rstrip("."),
                config_type,
                _describe_values(kind, section, least.get(name)),
                _describe_default(field),
                "not stored" if field.metadata == PASSING else "yes" if may else "no",
                meanings.get(name, ""),
            )
        if section is not None:
            yield from keys_of(section, f"{prefix}{name}.", may)


def section_of(kind: Any) -> Any:
    """The dataclass of a section, also of one that may be null; None: a plain value."""
    kinds = typing.get_args(kind) if is_union(kind) else (kind,)
    return next((k for k in kinds if dataclasses.is_dataclass(k)), None)


def _describe_values(kind: Any, section: Any, least: int | None) -> str:
    if section is not None:
        return "a section, or null"
    text = describe_type(kind)
    return text if least is None else f"{text}; at least {least}"


def _describe_default(field: dataclasses.Field) -> str:
    """As a YAML file has it; text that is long is shortened."""
    if field.default is dataclasses.MISSING:
        return "must be given"
    text = _plain(field.default)
    return f"`{text if len(text) <= LONGEST else text[: LONGEST - 4] + ' ...'}`"


def _plain(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(_plain(v) for v in value)}]"
        case Path():
            return str(value.relative_to(REPO_ROOT) if value.is_relative_to(REPO_ROOT) else value)
        case "":
            return '""'
    return str(value)


def meanings_of(config_type: type) -> dict[str, str]:
    """The comment of each field, those of parent classes too."""
    found: dict[str, str] = {}
    for owner in reversed(config_type.__mro__):
        if dataclasses.is_dataclass(owner):
            source = inspect.getsource(owner)
            found |= _comments(source, _fields_in(source))
    return found


def _fields_in(source: str) -> list[ast.AnnAssign]:
    [definition] = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    return [node for node in definition.body if isinstance(node, ast.AnnAssign)]


def _comments(source: str, fields: list[ast.AnnAssign]) -> dict[str, str]:
    """Of each field: what is behind it, else the lines directly above it."""
    behind, alone = _comment_lines(source)
    found = {}
    for node in fields:
        assert isinstance(node.target, ast.Name)
        lines, number = [], node.lineno - 1
        while number in alone:
            lines.insert(0, alone[number])
            number -= 1
        text = behind.get(node.end_lineno or node.lineno) or " ".join(lines)
        if text:
            found[node.target.id] = text
    return found


def _comment_lines(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Comments by line number: those behind code, and those on lines of their own."""
    behind, alone = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            place = alone if token.line.lstrip().startswith("#") else behind
            place[token.start[0]] = token.string.lstrip("# ")
    return behind, alone


def least_values(config_type: type) -> dict[str, int]:
    """What `require_at_least(1, self, "name", ...)` in `__post_init__` says."""
    found: dict[str, int] = {}
    for owner in reversed(config_type.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        for node in ast.walk(ast.parse(inspect.getsource(owner))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require_at_least":
                least, _, *names = node.args
                assert isinstance(least, ast.Constant)
                found |= {n.value: least.value for n in names if isinstance(n, ast.Constant)}
    return found
