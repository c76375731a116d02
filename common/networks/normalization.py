"""How weights of timm read images: their mean and std, and what else a file of them does not say.

Images come with ImageNet's mean and std. A network of timm has those of its weights, which are not
the same for all weights of one network: `vit_base_patch16_224` has three.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.images.transforms import IMAGENET_MEAN, IMAGENET_STD
from common.networks.timm_door import timm
from common.runtime.known_files import find_by_sha256, list_readings


@dataclass(frozen=True)
class WeightsReading:
    """quick_gelu: trained with QuickGELU, whatever the network has."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    quick_gelu: bool = False

    def __str__(self) -> str:
        mean, std = (" ".join(f"{x:.3g}" for x in values) for values in (self.mean, self.std))
        return f"mean {mean}, std {std}{', QuickGELU' if self.quick_gelu else ''}"


def from_imagenet(pretrained: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Factor and offset [1, 3, 1, 1] from this project's normalization to the pretrained one."""
    our_mean, our_std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    their_mean, their_std = torch.tensor(pretrained["mean"]), torch.tensor(pretrained["std"])
    scale, shift = our_std / their_std, (our_mean - their_mean) / their_std
    return scale.view(1, 3, 1, 1), shift.view(1, 3, 1, 1)


def reading_of(name: str) -> WeightsReading:
    """That of a network of timm with the weights that its name says (`NAME.TAG`) or implies."""
    known = timm().models.get_pretrained_cfg(name)
    if known is None:
        return WeightsReading(IMAGENET_MEAN, IMAGENET_STD)
    return WeightsReading(tuple(known.mean), tuple(known.std), "QuickGELU" in str(known.notes))


def require_known_reading(name: str, file: Path, key: str, prefix: str = "") -> None:
    """Raise a `UserError` if it is in doubt how the weights in a file read images.

    There is no doubt if the name has a tag (`vit_base_patch16_224.dino`), all weights of the
    network agree, or the file is known by its SHA-256. key: of the config, where the name stands
    behind `prefix`.
    """
    architecture, _, tag = name.partition(".")
    tagged = timm().list_models(f"{architecture}.*", pretrained=True)
    readings = {known.partition(".")[2]: reading_of(known) for known in tagged}
    if tag or len(set(readings.values())) < 2:
        return
    found = find_by_sha256(file, {t: _address(f"{architecture}.{t}") for t in readings})
    if found is not None and readings[found] == reading_of(name):
        return
    raise UserError(
        f"{file} does not say how its weights read images, and those of {architecture} differ; "
        f"name the weights they are of, or were trained from, as "
        f"{key}={prefix}{architecture}.{found or 'TAG'} ({list_readings(readings)})"
    )


def _address(name: str) -> str:
    known = timm().models.get_pretrained_cfg(name)
    return known.url if known is not None and isinstance(known.url, str) else ""
