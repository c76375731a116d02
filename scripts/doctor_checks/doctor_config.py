"""What the doctor is told: the data part of a config, and an LLM-MDE config as a whole."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from common.config import REPO_ROOT, apply_overrides, build_config, find_yaml, merge_yaml
from common.config_values import resolve_path
from common.data.data_config import DataConfig
from common.data.sets import DATA_SETS
from common.errors import UserError
from common.evaluation.scoring import EvalConfig
from common.images.crops import NYU_SIZE
from common.language.features import TextConfig
from common.runtime.hub import HUB_TIMEOUT, check_hub_timeout, set_hub_timeout
from scripts.doctor_checks.commands import commands_for
from scripts.doctor_checks.lengths import llm_mde_config


@dataclass(frozen=True)
class DoctorConfig:
    """The keys of a run's config that concern its data."""

    data: DataConfig
    text: TextConfig = field(default_factory=TextConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    output_root: Path = REPO_ROOT / "runs"
    hub_timeout: float = HUB_TIMEOUT
    llm_mde: Any = None  # the whole LLMMDEConfig: its language model reads the captions

    def __post_init__(self) -> None:
        check_hub_timeout(self.hub_timeout)


def load(data: str, yaml_name: str, root: str | None, overrides: list[str]) -> DoctorConfig:
    """The data part of a config file, any stage's or a data file, with `key=value` overrides."""
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    merge_yaml(tree, sources, find_yaml(yaml_name))
    others = tree.keys() - {f.name for f in fields(DoctorConfig)}
    if root:
        overrides = [f"data.root={resolve_path(root, True)}", *overrides]
    apply_overrides(tree, sources, overrides, DoctorConfig)
    kept = {name: value for name, value in tree.items() if name not in others}
    # Files that change only the data of a run leave the size out.
    height, width = DATA_SETS[data].crop_size or NYU_SIZE
    section = kept.setdefault("data", {})
    kept["data"] = {"name": data, "height": height, "width": width, **section}
    config = build_config(DoctorConfig, kept, sources)
    set_hub_timeout(config.hub_timeout)
    if config.data.name != data:
        raise UserError(
            f"{yaml_name} is about data.name={config.data.name}, not {data}: call doctor.py "
            f"{config.data.name}, or name another --config"
        )
    if not config.data.root.is_dir():
        fix = commands_for(config.data, config.text, yaml_name)["prepare"]
        raise UserError(f"no folder {config.data.root}; give --root PATH, or make it: {fix}")
    return replace(config, llm_mde=llm_mde_config({**tree, **kept}, sources))
