"""One YAML file and `key=value` arguments become one tree of frozen dataclasses.

Every default lives in the dataclass that declares it. `base: other.yaml` (relative to the file that
names it) starts from another file, `base: [a.yaml, b.yaml]` from several, a later one winning.
`replace: [data, text.features]` puts these sections and keys back to their defaults before the
file's own are read, but for those in `keep: [data.height]`. Unknown keys, wrong types and values
out of range are a `UserError` that names the file (or the command line), the key and the nearest
valid key.

Relative paths: in a YAML file they start at the repository root; typed on the command line they
start at the current folder, or at the repository root when they exist only there. Everywhere
`package:NAME/PATH` is a file or folder inside an installed Python package.
"""

import dataclasses
import difflib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from common.config_values import (
    REPO_ROOT,
    convert_value,
    describe_type,
    is_union,
    read_argument,
    read_yaml,
)
from common.errors import UserError

T = TypeVar("T")
_MAY_CHANGE, _FILLED_IN, _OLD_VALUES = "may change on resume", "filled in", "old values"
NAMED = "replace or keep: "  # in `sources`: a key that a file names there
MAY_CHANGE = {_MAY_CHANGE: True}  # metadata of a field: see `may_change`
PASSING = {**MAY_CHANGE, "asked for each time": True}  # the same: see `passing`


def load_config(config_type: type[T], yaml_path: Path | None, overrides: list[str]) -> T:
    """Read `yaml_path` (None: defaults only), apply `key=value` words, check and build the tree."""
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if yaml_path is not None:
        merge_yaml(tree, sources, yaml_path)
    apply_overrides(tree, sources, overrides, config_type)
    return build_config(config_type, tree, sources)


def build_config(config_type: type[T], tree: dict, sources: dict[str, str] | None = None) -> T:
    """Build the dataclass tree from nested dicts; `sources` says where each key came from."""
    known, keys = sources or {}, tuple(valid_keys(config_type))
    for named in (name for name in known if name.startswith(NAMED)):
        if named.removeprefix(NAMED) not in keys:
            _refuse_unknown(named.removeprefix(NAMED), {"": known[named]}, keys)
    return _build(config_type, tree, "", known, keys)


def merge_yaml(
    tree: dict, sources: dict[str, str], path: Path, named_by: tuple[Path, ...] = ()
) -> None:
    """Overlay the file's keys on `tree`, those of its `base:` file before its own."""
    if path.resolve() in named_by:
        raise UserError(f"{path}: base: the files name each other in a circle")
    new = read_yaml(path)
    base = new.pop("base", [])
    replaced, kept = (_read_keys(new, name, path) for name in ("replace", "keep"))
    sources.update({f"{NAMED}{key}": str(path) for key in (*replaced, *kept)})
    for name in base if isinstance(base, list) else [base]:
        merge_yaml(tree, sources, path.parent / str(name), (*named_by, path.resolve()))
    before = [(key, look_up(tree, key), _where(key, sources)) for key in kept]
    for key in replaced:
        _forget(tree, sources, key)
    for key, value, source in before:
        if value is not None:
            merge(tree, sources, _nested(key, value), source)
    merge(tree, sources, new, str(path))


def _read_keys(tree: dict, name: str, path: Path) -> list[str]:
    """Take a list of dotted keys out of a file's tree."""
    keys = tree.pop(name, [])
    if not isinstance(keys, list) or not all(
        isinstance(key, str) and not key[:1].isdigit() for key in keys
    ):
        raise UserError(f"{path}: {name} must be a list of sections and keys, as [data]")
    return keys


def _nested(key: str, value: Any) -> dict[str, Any]:
    """`a.b` -> {"a": {"b": value}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _forget(tree: dict, sources: dict[str, str], key: str) -> None:
    """Take a section or key out of the tree, and all that is known of where it came from."""
    *above, last = key.split(".")
    for part in above:
        tree = tree.get(part, {}) if isinstance(tree, dict) else {}
    if isinstance(tree, dict):
        tree.pop(last, None)
    for known in [k for k in sources if k == key or k.startswith(f"{key}.")]:
        del sources[known]


def find_yaml(name: str) -> Path:
    """The config file as typed: seen from the current folder, else from the repository root."""
    for path in (Path(name), REPO_ROOT / name):
        if path.is_file():
            return path
    places = dict.fromkeys((str(Path.cwd()), str(REPO_ROOT)))
    raise UserError(f"no config file {name} in {' or '.join(places)}")


def apply_overrides(
    tree: dict, sources: dict[str, str], overrides: list[str], config_type: type
) -> None:
    """Put `a.b=value` arguments into the tree; what a value is, its field in `config_type` says."""
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"command line: '{word}' is not of the form key=value")
        try:
            value = read_argument(_kind_of(config_type, key), text)
        except ValueError as error:
            raise UserError(f"command line: {key}: cannot read the value '{text}'") from error
        merge(tree, sources, _nested(key, value), "command line")


def merge(tree: dict, sources: dict[str, str], new: dict, source: str, prefix: str = "") -> None:
    """Overlay `new` on `tree`, key by key, and note in `sources` where each key came from."""
    for name, value in new.items():
        key = f"{prefix}{name}"
        sources[key] = source
        if isinstance(value, dict):
            if not isinstance(tree.get(name), dict):
                tree[name] = {}
            merge(tree[name], sources, value, source, f"{key}.")
        else:
            tree[name] = value


def fill_in(facts: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with `facts` where it says nothing, or null."""
    filled = dict(tree)
    for name, fact in facts.items():
        given = tree.get(name)
        if isinstance(fact, dict):
            filled[name] = fill_in(fact, given if isinstance(given, dict) else {})
        elif given is None:
            filled[name] = fact
    return filled


def may_change(default: Any) -> Any:
    """A field that decides how a run is computed or reported, not what: resuming may change it."""
    return dataclasses.field(default=default, metadata=MAY_CHANGE)


def passing(default: Any) -> Any:
    """A field that is about one start of a program, and no part of the run: it is never stored."""
    return dataclasses.field(default=default, metadata=PASSING)


def filled_in() -> Any:
    """A field that is null until something else says it: the data set, or an earlier stage."""
    return dataclasses.field(default=None, metadata={_FILLED_IN: True})


def renamed(default: Any, old_values: dict[str, str]) -> Any:
    """A field some of whose values had another name once; the old name is still read."""
    return dataclasses.field(default=default, metadata={_OLD_VALUES: old_values})


def require_at_least(minimum: int, config: Any, *names: str) -> None:
    """ValueError unless each named value (null apart), or each entry of it, is large enough."""
    for name in names:
        value = getattr(config, name)
        entries = value if isinstance(value, tuple) else (value,)
        if any(entry is not None and not entry >= minimum for entry in entries):
            raise ValueError(f"{name}: must be at least {minimum}, not {_plain(value)}")


def to_dict(config: Any) -> dict[str, Any]:
    """The tree as plain dicts, lists, numbers and strings; paths in the repository are relative."""
    fields = (f for f in dataclasses.fields(config) if f.metadata != PASSING)
    return {f.name: _plain(getattr(config, f.name)) for f in fields}


def valid_keys(config_type: type, prefix: str = "") -> list[str]:
    """Every dotted key the tree has."""
    return [key for key, _ in _all_fields(config_type, prefix)]


def deciding_keys(config: Any) -> list[str]:
    """The dotted keys that decide what a run of this config computes.

    All but what a `may_change` covers, and what is still to be `filled_in`.
    """
    fields = dict(_all_fields(type(config)))
    free = [
        key
        for key, field in fields.items()
        if _MAY_CHANGE in field.metadata
        or (_FILLED_IN in field.metadata and look_up(to_dict(config), key) is None)
    ]
    return [
        key
        for key in fields
        if not any(key == other or key.startswith(f"{other}.") for other in free)
    ]


def look_up(tree: Any, key: str) -> Any:
    """What stands at a dotted key of nested dicts; None: nothing."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _all_fields(config_type: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    """Every dotted key with its field, sections before what is in them."""
    kinds = _field_types(config_type)
    for field in dataclasses.fields(config_type):
        yield prefix + field.name, field
        section = _section(kinds[field.name])
        if section is not None:
            yield from _all_fields(section, f"{prefix}{field.name}.")


def _field_types(config_type: type) -> dict[str, Any]:
    hints = typing.get_type_hints(config_type)
    return {f.name: hints[f.name] for f in dataclasses.fields(config_type)}


def _kind_of(config_type: type, key: str) -> Any:
    """The type that a dotted key is declared with; None: there is no such key."""
    kind: Any = config_type
    for part in key.split("."):
        section = _section(kind)
        kind = None if section is None else _field_types(section).get(part)
    return kind


def _section(kind: Any) -> type | None:
    """The dataclass of a section, also of one that may be null; None: a plain value."""
    kinds = typing.get_args(kind) if is_union(kind) else (kind,)
    return next((typing.cast(type, k) for k in kinds if dataclasses.is_dataclass(k)), None)


def _build(
    config_type: type[T], tree: Any, prefix: str, sources: dict[str, str], keys: tuple[str, ...]
) -> T:
    where = _where(prefix.rstrip("."), sources)
    if not isinstance(tree, dict):
        named = f"{prefix.rstrip('.')} " if prefix else ""
        raise UserError(f"{where}: {named}must hold keys, not {tree!r}")
    kinds = _field_types(config_type)
    for name in tree:
        if name not in kinds:
            _refuse_unknown(f"{prefix}{name}", sources, keys)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, config_type)):
        name, kind, key = field.name, kinds[field.name], f"{prefix}{field.name}"
        section = _section(kind)
        if section is not None and (name in tree or not is_union(kind)):
            is_null = is_union(kind) and tree[name] is None
            below = tree.get(name, {})
            values[name] = None if is_null else _build(section, below, f"{key}.", sources, keys)
        elif name in tree:
            value = tree[name]
            if isinstance(value, str):
                value = field.metadata.get(_OLD_VALUES, {}).get(value, value)
            values[name] = _convert(kind, value, key, sources)
    try:
        return config_type(**values)
    except ValueError as error:
        culprit = f"{prefix}{str(error).split(':')[0]}"
        raise UserError(f"{_where(culprit, sources)}: {prefix}{error}") from error
    except TypeError as error:
        required = [
            f.name
            for f in dataclasses.fields(typing.cast(Any, config_type))
            if f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
            and f.name not in values
        ]
        raise UserError(f"{where}: {prefix}{required[0]} is missing; it has no default") from error


def _refuse_unknown(key: str, sources: dict[str, str], keys: tuple[str, ...]) -> None:
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
    siblings = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    best = siblings[0] if siblings else near[0]
    raise UserError(
        f"{_where(key, sources)}: unknown key '{key}'; the nearest valid key is '{best}'"
    )


def _where(key: str, sources: dict[str, str]) -> str:
    """The file (or command line) that set `key` or the nearest thing below or above it."""
    if key in sources:
        return sources[key]
    below = [s for k, s in sources.items() if k.startswith(f"{key}.")]
    return below[0] if below else next(iter(sources.values()), "config")


def _convert(kind: Any, value: Any, key: str, sources: dict[str, str]) -> Any:
    where = _where(key, sources)
    try:
        return convert_value(kind, value, where == "command line")
    except (TypeError, ValueError):
        wanted = describe_type(kind)
        hint = "; '' is empty text" if kind is str and value is None else ""
        raise UserError(f"{where}: {key} must be {wanted}, not {value!r}{hint}") from None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Path):
        return str(value.relative_to(REPO_ROOT) if value.is_relative_to(REPO_ROOT) else value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value
