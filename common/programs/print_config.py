"""`--print-config`: every setting of a run, and where each came from.

What is printed is a config file itself; the comments name the file, the command line, the data set,
the earlier stage, or `default`.
"""

import os
from typing import Any

import yaml

from common.config import look_up, to_dict
from common.errors import UserError
from common.programs.ready import find_earlier
from common.programs.settings import Settings

# What a data set says where the config leaves it null.
_OF_DATA_SET = ("depth_scale", "float_depth_scale", "rotated_bits", "mean_log_depth")


def describe_settings(settings: Settings) -> str:
    """The lines of `--print-config`."""
    stage = settings.stage
    config, earlier, path, notes = settings.config(), None, None, []
    try:
        path = find_earlier(stage, config)
    except UserError as error:
        notes.append(f"# {error}; what it decides is not shown")
    else:
        earlier = stage.earlier.read(path) if stage.earlier and path else None
        config = settings.config(earlier, is_last=True)
    facts = _flat(stage.facts(config, None))
    origins = dict.fromkeys(facts, f"data set {config.data.name}")
    if earlier is not None and stage.earlier is not None:
        known = _flat(stage.facts(config, earlier)).keys() - facts.keys()
        origins |= dict.fromkeys(known, f"{stage.earlier.name} ({path})")
    lines = _lines(to_dict(config), settings, origins, config.data.data_set)
    return "\n".join([f"# {stage.name}, recipe {stage.recipe}", *notes, *lines])


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat


def _lines(
    tree: dict[str, Any], settings: Settings, origins: dict[str, str], data_set: Any
) -> list[str]:
    """`key: value  # where from`, indented; the comments in one column."""
    rows: list[tuple[str, str]] = []

    def walk(section: dict[str, Any], prefix: str, indent: str) -> None:
        for name, value in section.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and value:
                rows.append((f"{indent}{name}:", ""))
                walk(value, f"{key}.", indent + "  ")
                continue
            source = _source(key, settings, origins)
            if value is None and prefix == "data." and name in _OF_DATA_SET:
                source += f"; the data set's own: {getattr(data_set, name)}"
            rows.append((f"{indent}{name}: {_yaml(value)}", source))

    walk(tree, "", "")
    width = min(max(len(text) for text, _ in rows), 60)
    return [f"{text:{width}}  # {source}" if source else text for text, source in rows]


def _source(key: str, settings: Settings, origins: dict[str, str]) -> str:
    """Who said it; a fact only fills in what is not given, or null."""
    if key in origins and look_up(settings.tree, key) is None:
        return origins[key]
    if key in settings.sources:
        source = settings.sources[key]
        return source if source == "command line" else os.path.normpath(source)
    return "default"


def _yaml(value: Any) -> str:
    """One line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("...\n").strip()
