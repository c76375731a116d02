"""`docs/configuration.md`: every key of every stage, made from the config dataclasses."""

import inspect
import re
from pathlib import Path

from common.data.sets import DATA_SETS, PUBLISHED_SPLITS
from common.errors import UserError
from common.evaluation.protocols import PROTOCOLS
from common.programs.run_config import RunConfig
from llm_mde.config import LLMMDEConfig
from scripts.documentation.fields import Key, keys_of
from stage1_vae.config import Stage1Config
from stage2_sampler.config import Stage2Config
from stage3_depth.config import JointStageConfig, Stage3Config

STAGES: dict[str, type[RunConfig]] = {
    "stage1": Stage1Config,
    "stage2": Stage2Config,
    "stage3": Stage3Config,
    "joint": JointStageConfig,
    "llm_mde": LLMMDEConfig,
}
# Keys whose values are names that a table of the code knows.
NAMES = {"data.name": DATA_SETS, "data.split": PUBLISHED_SPLITS, "eval.protocol": PROTOCOLS}
HEAD = Path(__file__).with_name("configuration_head.md")


def config_page() -> str:
    """The whole page; a `UserError` if a key has no comment."""
    keys = stages_of_keys()
    undocumented = sorted({f"{k.owner.__name__}.{k.name}" for k in keys if not k.meaning})
    if undocumented:
        raise UserError(
            f"no comment says what {', '.join(undocumented)} means; write one beside the field"
        )
    sections = dict.fromkeys(key.section for key in sorted(keys, key=_order))
    parts = [
        _section(name, {k: s for k, s in keys.items() if k.section == name}) for name in sections
    ]
    contents = ", ".join(f"[{_title(name)}](#{anchor_of(name)})" for name in sections)
    return (
        "\n".join([HEAD.read_text(encoding="utf-8"), f"Sections: {contents}.", "", *parts]).rstrip()
        + "\n"
    )


def stages_of_keys() -> dict[Key, list[str]]:
    """Every key with the stages that have it; one that differs among them comes several times."""
    found: dict[Key, list[str]] = {}
    owners: dict[tuple, Key] = {}
    for stage, config_type in STAGES.items():
        for key in keys_of(config_type):
            alike = key.name, key.values, key.default, key.resume, key.meaning
            found.setdefault(owners.setdefault(alike, key), []).append(stage)
    return found


def _order(key: Key) -> tuple[int, str]:
    """Keys of the top first, then the sections that all stages share, then their parts."""
    top = key.section.partition(".")[0]
    shared = ("", "data", "text", "train", "eval", "logging", "model", "prompt", "language")
    return (shared.index(top) if top in shared else len(shared), key.section)


def _section(name: str, keys: dict[Key, list[str]]) -> str:
    """A heading, what all keys have in common, and the table."""
    stages = {tuple(value) for value in keys.values()}
    together = stages.pop() if len(stages) == 1 else None
    lines = [f"## {_title(name)}", ""]
    about = _about(name, keys)
    where = (
        "all stages" if together == tuple(STAGES) else ", ".join(f"`{s}`" for s in together or ())
    )
    above = " ".join(part for part in (about, where and f"In: {where}.") if part)
    lines += [above, ""] if above else []
    heads = ["key", "values", "default", *([] if together else ["in"]), "on resume", "meaning"]
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [_row(key, [] if together else [_stage_names(names)]) for key, names in keys.items()]
    return "\n".join([*lines, ""])


def _stage_names(names: list[str]) -> str:
    return "all" if names == list(STAGES) else ", ".join(names)


def _about(name: str, keys: dict[Key, list[str]]) -> str:
    """The dataclass's own first line, where the section has one dataclass."""
    owners = {key.owner for key in keys}
    if not name or len(owners) > 1:
        return ""
    return _linked((inspect.getdoc(owners.pop()) or "").partition("\n\n")[0].replace("\n", " "))


def _row(key: Key, stages: list[str]) -> str:
    values = key.values
    if key.name in NAMES:
        values = "one of " + ", ".join(NAMES[key.name]) + (", or null" if "null" in values else "")
    cells = [f"`{key.name}`", values, key.default, *stages, key.resume, _linked(key.meaning)]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _linked(text: str) -> str:
    """As a YAML reader wants it: null for None, files as links."""
    text = re.sub(r"\bNone\b", "null", text)
    return re.sub(r"`?\b(common/[\w/]+(?:\.py)?)`?", r"[\1](../\1)", text)


def _title(name: str) -> str:
    return f"`{name}`" if name else "The run"


def anchor_of(name: str) -> str:
    """GitHub's, of a heading."""
    return re.sub(r"[^\w -]", "", name or "the run").lower().replace(" ", "-")
