"""What a YAML file and `key=value` overrides say for a stage, and what it leaves to others."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common.config import apply_overrides, build_config, fill_in, merge_yaml
from common.programs.run_config import RunConfig
from common.programs.stage import Stage, choose_stage


@dataclass(frozen=True)
class Settings:
    """The keys that are given for a stage, and where each came from."""

    stage: Stage
    tree: dict[str, Any]
    sources: dict[str, str]

    def config(self, earlier: Any = None, is_last: bool = False) -> RunConfig:
        """The config with the stage's facts below the given keys.

        earlier: the earlier network, which knows some of the facts; None: what only it completes
        stays open, and keys that are given there wait for it, unless `is_last`: there is none.
        """
        known = dict(self.tree)
        for section, key in self.stage.left_open:
            if isinstance(known.get(section), dict):
                known[section] = {k: v for k, v in known[section].items() if k != key}
        config = build_config(self.stage.config_type, known, self.sources)
        tree = known if earlier is None and not is_last else self.tree
        tree = fill_in(self.stage.facts(config, earlier), tree)
        return build_config(self.stage.config_type, tree, self.sources)


def read_settings(yaml_path: Path, overrides: list[str], *stages: Stage) -> Settings:
    """For the stage whose recipe they name; the first one, if they name none."""
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    merge_yaml(tree, sources, yaml_path)
    stage = stages[0]
    if any(field.name == "recipe" for field in fields(stage.config_type)):
        named = [item for item in overrides if item.startswith("recipe=")]  # it says what keys are
        apply_overrides(tree, sources, named, stage.config_type)
        recipe = str(tree.get("recipe", stage.recipe))
        stage = choose_stage(stages, recipe, f"{sources.get('recipe', 'config')}: ")
    apply_overrides(tree, sources, overrides, stage.config_type)
    return Settings(stage, tree, sources)
