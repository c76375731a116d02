"""Recipes as plans of many trainings name them: their stages, their YAML files, their overrides."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from common.config import find_yaml
from common.errors import UserError
from common.programs.stage import Stage
from llm_mde.stage import STAGE as LLM_MDE
from scripts.run_plans.stage_runs import StageRun
from stage1_vae.stage import STAGE as STAGE1
from stage2_sampler.stage import STAGE as STAGE2
from stage3_depth.stage import JOINT, JOINT_LEGACY, STAGED

RecipeStage = tuple[str, Stage]  # name of the YAML file, and what trains and scores it
RECIPES: dict[str, tuple[RecipeStage, ...]] = {  # as trained; the last is scored
    "staged": (("stage1", STAGE1), ("stage2", STAGE2), ("stage3", STAGED)),
    "joint": (("joint", JOINT),),
    "joint-legacy": (("joint_legacy", JOINT_LEGACY),),
    "llm-mde": (("llm_mde", LLM_MDE),),
    "stage1": (("stage1", STAGE1),),  # words alone
}


def split_words(text: str, where: str) -> list[str]:
    """The words of `NAME [key=value ...]`, quotes as in a shell; where: what names it."""
    try:
        return shlex.split(text) or [""]
    except ValueError as error:
        raise UserError(f"{where}: {error}; close the quotes") from error


def check_overrides(
    items: Iterable[str], taken: Iterable[str], program: str, where: str = ""
) -> None:
    """A `UserError` for what is no override, or sets what `program` sets itself.

    where: starts the message about the form, as "--recipe joint: ".
    """
    for item in items:
        key, equals, _ = item.partition("=")
        if not equals:
            raise UserError(f"{where}'{item}' is not of the form key=value")
        if any(key == name or key.startswith(f"{name}.") for name in taken):
            raise UserError(f"{item}: {program} sets {key} itself; leave it out")


def find_recipe_file(data: str, yaml_name: str, where: str) -> Path:
    """`nyu` -> configs/nyu/stage1.yaml, `nyu/labeled` -> configs/nyu/labeled_stage1.yaml.

    where: what names the data, for the message.
    """
    candidates = (
        f"configs/{data}/{yaml_name}.yaml", f"configs/{data}_{yaml_name}.yaml",
        f"{data}/{yaml_name}.yaml",
    )  # fmt: skip
    for candidate in candidates:
        try:
            return find_yaml(candidate).resolve()
        except UserError:
            continue
    raise UserError(f"{where}: found no config file {', '.join(candidates)}")


def checkpoint_file(run: StageRun, checkpoint: str) -> Path:
    """checkpoint: last or best."""
    return run.folder / "checkpoints" / f"{checkpoint}.pt"
