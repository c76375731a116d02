"""A trained network as a folder to hand on: `model.safetensors` and `config.json`.

The form of Hugging Face's hub. It holds what a checkpoint does, except for what resuming needs and
what tells the training images; weights alone are in the first file, all else in the second.
"""

import json
import re
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from common.errors import UserError
from common.files import retried, whole_file
from common.text_files import utf8_name, write_json

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FACTS = (
    *("format_version", "stage", "recipe", "model_config", "config", "step", "best_metric"),
    "average",
)
# A path of one machine: from its root, or from a home; also behind what says its kind, as in
# `hf:/home/me/bert` and `RN50:openai=/home/me/w.pt`, but not of an address (`https://`).
_PLACE = re.compile(
    r"(?P<kind>(?:[^\s/~]*[:=])?)(?P<path>(?://)?/(?!/).*|(?<!:)//.*|~[^\s/]*/.*)", re.DOTALL
)
_STATE = "state"  # what of a network's state is no tensor


def is_saved_model(folder: Path) -> bool:
    """Whether both files are there."""
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()


def facts_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a saved model says beside its weights."""
    return {name: checkpoint[name] for name in FACTS if name in checkpoint}


def describe_average(facts: dict[str, Any]) -> str | None:
    """A line where a checkpoint's weights are an average; None: they are the last step's."""
    average = facts.get("average")
    if not isinstance(average, dict):
        return None
    return (
        f"the weights are an average of those after {average.get('num_updates')} steps "
        f"(train.ema_decay={average.get('ema_decay')})"
    )


def write_saved_model(folder: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint's network; each file appears whole or not at all.

    Of paths in its config that only this machine has, the last part is kept.
    """
    state = checkpoint["model"]
    weights = {name: _own(value) for name, value in state.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    facts = facts_of(checkpoint)
    facts["config"] = without_folders(facts["config"])
    facts["config"].get("data", {}).pop("cache", None)  # a folder of the machine that trained it
    with whole_file(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(weights, metadata={"format": "pt"}))
    write_json(folder / CONFIG, {**facts, _STATE: others})


def read_saved_model(folder: Path) -> dict[str, Any]:
    """What `write_saved_model` wrote, as a checkpoint; a `UserError` where it is not that."""
    try:
        text = retried((folder / CONFIG).read_bytes)
        content = json.loads(text)
        with utf8_name(folder / WEIGHTS) as weights:
            tensors = retried(lambda: load_file(weights))
        others = content.pop(_STATE)
        return {**content, "model": {**tensors, **others}}
    except Exception as error:  # reading damaged files fails in many ways
        raise UserError(
            f"cannot read the saved model in {folder}: {CONFIG} and {WEIGHTS} must be those that "
            f"save_pretrained wrote ({type(error).__name__}); copy both again"
        ) from error


def without_folders(value: Any) -> Any:
    """A config's tree with the last part alone of every path of this machine in it."""
    if isinstance(value, dict):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    place = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return f"{place['kind']}{PurePath(place['path']).name}" if place else value


def _own(tensor: Tensor) -> Tensor:
    """In memory of its own: the format takes no tensors that share some."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
