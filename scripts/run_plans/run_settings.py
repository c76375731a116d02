"""The settings that tell one training, or scoring, from another.

Only those that have not their default: a key that is added to the configs one day, with a default
that changes nothing, makes no finished run another one.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from common.config import deciding_keys, look_up, to_dict
from common.data.samples import SplitName
from common.evaluation.scoring import EvalConfig
from common.programs.run_config import RunConfig
from scripts.run_plans.stage_runs import StageRun

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


def settings_of(run: StageRun) -> dict[str, Any]:
    """What decides what a training computes, and for how long.

    What it leaves to the stage before is in it as it was given; the name of its folder is not.
    """
    config: RunConfig = run.config
    tree, deciding = to_dict(config), set(deciding_keys(config)) - {"experiment"}
    left_open = [".".join(names) for names in run.stage.left_open]
    return {
        "stage": run.stage.name,
        **{key: look_up(tree, key) for key in changed_keys(config) if key in deciding},
        **{key: look_up(run.settings.tree, key) for key in left_open},
        # A run may be made longer, which is another then.
        "train.max_steps": config.train.max_steps,
        "train.epochs": config.train.epochs,
    }


def cost_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Of the settings, those that change how long it takes."""
    others = ("seed", "text.", "init.", "data.subset_seed", *(f"data.{s}_list" for s in SPLITS))
    return {key: value for key, value in settings.items() if not key.startswith(others)}


def evaluation_settings(config: EvalConfig) -> dict[str, Any]:
    """How checkpoints are scored."""
    return {key: getattr(config, key) for key in changed_keys(config)}


def changed_keys(config: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a config whose values are not their defaults."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from changed_keys(value, f"{prefix}{field.name}.")
        elif value != _default(field):
            yield prefix + field.name


def _default(field: Field) -> Any:
    """Of a field; MISSING: it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()
