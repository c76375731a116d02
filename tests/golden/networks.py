"""Full-size networks with the reference weights, which pass through the converter's name tables."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from golden.recipe import tensor_for
from torch import Tensor, nn

from common.networks.published.names import Kind, State, complete, from_published
from common.networks.swin_parts import ShiftedAttention, relative_position_index

GOLDEN = Path(__file__).parent
N = TypeVar("N", bound=nn.Module)


def read_arrays(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / name) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}


def published_shapes(name: str) -> State:
    """Meta tensors under the published names of `keys_NAME.json`."""
    shapes = json.loads((GOLDEN / f"keys_{name}.json").read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def build(make: Callable[[], N]) -> N:
    """Make a network without spending time on random weights; `load` gives it its own."""
    with torch.device("meta"):
        network = make()
    for module in network.modules():
        if isinstance(module, ShiftedAttention):
            module.relative_position_index = relative_position_index(module.window_size[0])
    return network.eval()


def load(network: nn.Module, name: str, kind: Kind) -> None:
    """Give `network` the reference weights of the published file `name`."""
    published = {
        key: reference_weight(key, tuple(like.shape))
        for key, like in published_shapes(name).items()
        if not key.endswith("relative_position_index")
    }
    own, _ = from_published(published, kind)
    full, unknown = complete(own, network.state_dict(), kind, name)
    assert not unknown
    network.load_state_dict(full, assign=True)


@cache
def reference_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """The staged and the joint network have the same encoder weights: drawn once, held once."""
    return tensor_for(name, shape)
