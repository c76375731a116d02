"""A model in one line, wherever it lies.

load("runs/nyu/stage3")            a run folder, or a checkpoint file
load("my_model")                   a folder that save_pretrained wrote
load("hf://user/name@revision")    the same on Hugging Face's hub
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download

from common.errors import UserError
from common.runtime.hub import load_from_hub
from common.runtime.processes import Processes
from common.runtime.saved_models import CONFIG, WEIGHTS
from scripts.prediction.model import DepthModel
from scripts.prediction.trained import open_network

HUB = "hf://"


def load(
    place: str | Path, device: str | torch.device | None = None, overrides: Sequence[str] = ()
) -> DepthModel:
    """The model there, on a device (None: a GPU if there is one), ready to predict.

    overrides: `key=value` of the run's config, as for eval.py.
    """
    text = str(place)
    if text.startswith(HUB):
        name, _, revision = text.removeprefix(HUB).partition("@")
        return open_model(fetch(name, revision or None), device, overrides)
    return open_model(text, device, overrides)


def open_model(
    place: str | Path, device: str | torch.device | None = None, overrides: Sequence[str] = ()
) -> DepthModel:
    """A model that lies on this machine."""
    own = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return DepthModel(open_network(place, overrides, Processes(0, 1, own)))


def usable_device(device: str | torch.device) -> torch.device:
    """The device; a `UserError` where torch has none of this name here."""
    try:
        own = torch.device(device)
        torch.empty(1, device=own)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"device {device}: {reason}; name another, or none: a GPU if there is one"
        ) from error
    return own


def fetch(name: str, revision: str | None = None, **options: Any) -> Path:
    """The folder of a saved model of the hub, in the local cache; `name`: USER/NAME."""
    if name.count("/") != 1 or not all(name.split("/")):
        raise UserError(f"{HUB}{name}: expected {HUB}USER/NAME, or {HUB}USER/NAME@REVISION")

    def download() -> list[str]:
        return [
            hf_hub_download(name, file, revision=revision, **options) for file in (CONFIG, WEIGHTS)
        ]

    advice = "check the name, or copy the folder that save_pretrained wrote and name that"
    config, _ = load_from_hub(f"model {name}", advice, download)
    return Path(config).parent
