"""The plain form of each thing that makes a training step fast, to be put in its place.

    with without("folded-head"):
        ...  # networks built and trained here use the plain head

For measuring one trick at a time (`train_step.py --without NAME`) and for the tests, which train
with and without each and compare values and gradients. The product has no such switches.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import common.networks.scene_decoder
import common.networks.swin
import common.networks.upsampling
import stage1_vae.model
import stage3_depth.joint_model
import stage3_depth.model
from common.networks.fast.swin_windows import Windows, from_windows, to_windows
from common.networks.layers import FastLinear
from common.networks.swin import CellAttention

MALLOC = "malloc"  # set when a process starts, so `train_step.py` sees to it


def plain_head(
    conv: nn.Conv2d,
    maps: tuple[Tensor, ...],
    scales: tuple[int, ...],
    mix: nn.Conv2d | None = None,
) -> Tensor:
    """What `folded_conv3x3` replaces: every channel at full resolution, in float32 too."""
    with torch.autocast(maps[0].device.type, enabled=False):
        full = common.networks.upsampling.sum_upsampled(tuple(m.float() for m in maps), scales)
        return conv(full if mix is None else F.conv2d(full, mix.weight, mix.bias))


def plain_upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """What the matrix products of `upsample_to` replace on a CPU."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def plain_attention(qkv: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """What `attend` replaces: the scores of all windows exist, and are kept."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1) + bias
    if mask is not None:
        scores = scores + mask.repeat(len(qkv) // len(mask), 1, 1)[:, None]
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


def padded_attention(module: CellAttention, x: Tensor, windows: Windows) -> Tensor:
    """What `CellAttention` replaces: padding is projected like cells, and thrown away later."""
    zero = x.new_zeros(x.shape[2])
    qkv = module.qkv(to_windows(x, zero, windows)).unflatten(2, (3, module.num_heads, -1))
    mixed = common.networks.swin.attend(qkv, module._bias(), windows.mask)
    return from_windows(module.proj(mixed), windows)


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
    "folded-head": [
        (module, "folded_conv3x3", plain_head)
        for module in (stage1_vae.model, stage3_depth.model, stage3_depth.joint_model)
    ],
    "matrix-upsampling": [
        (module, "upsample_to", plain_upsample)
        for module in (common.networks.upsampling, common.networks.scene_decoder)
    ],
    "fused-adam": [(torch.optim, "Adam", PlainAdam)],
    "attention-in-blocks": [(common.networks.swin, "attend", plain_attention)],
    "cells-only": [(CellAttention, "forward", padded_attention)],
    "fast-linear": [(FastLinear, "forward", nn.Linear.forward)],
    "caches": [
        _uncached(common.networks.swin, "windows_of"),
        _uncached(common.networks.scene_decoder, "position_code"),
        _uncached(common.networks.upsampling, "interpolation_matrix"),
        _uncached(common.networks.upsampling, "shifted_matrices"),
    ],
}
TRICKS = (*REPLACEMENTS, MALLOC)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Use the plain form of these tricks inside the block; `malloc` changes nothing here."""
    with ExitStack() as stack:
        for name in names:
            for owner, attribute, plain in REPLACEMENTS.get(name, []):
                stack.enter_context(mock.patch.object(owner, attribute, plain))
        yield
