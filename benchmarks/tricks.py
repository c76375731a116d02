"""The plain form of each thing that makes a training step fast, to be put in its place.

    with without("folded-head"):
        ...  # networks trained here use the plain head

For measuring one trick at a time (`train_step.py --without NAME`) and for the tests, which train
with and without each and compare values and gradients. The networks' own switch takes their plain
forms (`common/networks/fast/`); what is kept from call to call, and Adam, are patched here.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

import common.engine.optimization
import common.networks.fast.depth_head
import common.networks.fast.upsampling
import common.networks.fast.window_attention
import common.networks.scene_decoder
from common.networks.fast import FAST_FORMS, plain

MALLOC = "malloc"  # set when a process starts, so `train_step.py` sees to it


class PlainAdam(torch.optim.Adam):
    """Adam as PyTorch runs it by default, instead of its one fused kernel."""

    def __init__(self, parameters: Any, fused: bool = True, **options: Any):
        super().__init__(parameters, **options)

    def step(self, closure: Any = None) -> Any:
        self.found_inf = None  # only the fused kernel knows it
        return super().step(closure)


def _uncached(module: Any, name: str) -> tuple[object, str, Callable]:
    """Mask, code or matrix made anew at every call."""
    return module, name, getattr(module, name).__wrapped__


REPLACEMENTS: dict[str, list[tuple[object, str, Any]]] = {
    "fused-adam": [(common.engine.optimization, "Adam", PlainAdam)],
    "caches": [
        _uncached(common.networks.fast.window_attention, "windows_of"),
        _uncached(common.networks.scene_decoder, "position_code"),
        _uncached(common.networks.fast.upsampling, "interpolation_matrix"),
        _uncached(common.networks.fast.depth_head, "interpolation_matrix"),
        _uncached(common.networks.fast.depth_head, "shifted_matrices"),
    ],
}
TRICKS = (*FAST_FORMS, *REPLACEMENTS, MALLOC)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Use the plain form of these tricks inside the block; `malloc` changes nothing here."""
    with ExitStack() as stack:
        for name in names:
            if name in FAST_FORMS:
                stack.enter_context(plain(name))
            for owner, attribute, replacement in REPLACEMENTS.get(name, []):
                stack.enter_context(mock.patch.object(owner, attribute, replacement))
        yield
