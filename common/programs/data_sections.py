"""The data part of any config file, a stage's or one that is about data only."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.config import NAMED, apply_overrides, build_config, merge_yaml
from common.data.sets import DATA_SETS
from common.images.crops import NYU_SIZE

Sections = TypeVar("Sections")


@dataclass(frozen=True)
class DataSections(Generic[Sections]):
    """config: the sections asked for. tree, sources: all that the file says, for others."""

    config: Sections
    tree: dict[str, Any]
    sources: dict[str, str]


def read_data_sections(
    config_type: type[Sections], path: Path, overrides: list[str], name: str | None = None
) -> DataSections[Sections]:
    """Sections `config_type` of a config file, with `key=value` overrides of them alone.

    name: of the data set, where the file does not say it. Files that change only the data of a run
    leave the size out: it is the data set's crop then, else NYU's.
    """
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    merge_yaml(tree, sources, path)
    others = tree.keys() - {f.name for f in fields(config_type)}  # type: ignore[arg-type]
    apply_overrides(tree, sources, overrides, config_type)
    kept = {key: value for key, value in tree.items() if key not in others}
    section = kept.setdefault("data", {})
    if isinstance(section, dict):
        known = {} if name is None else {"name": name}
        kind = DATA_SETS.get(str(section.get("name", name)))
        height, width = (kind and kind.crop_size) or NYU_SIZE
        kept["data"] = {**known, "height": height, "width": width, **section}
    own = {key: source for key, source in sources.items() if _section(key) not in others}
    return DataSections(build_config(config_type, kept, own), {**tree, **kept}, sources)


def _section(key: str) -> str:
    return key.removeprefix(NAMED).partition(".")[0]
