"""Bilinear up-sampling, position codes, and a depth head that never works at full resolution.

The last layers of every depth network here are linear: feature maps at strides 16, 8 and 4 are
up-sampled and added, mixed by 1x1 convolutions, and reduced by one 3x3 convolution to one channel.
A 1x1 convolution commutes with up-sampling, and a 3x3 convolution to one channel is nine 1x1
projections ("taps"), each shifted by one pixel and added. `folded_conv3x3` therefore projects to
nine channels where the maps are small. Up-sampling and shifting are linear along rows and along
columns, so two matrix products bring all nine to full resolution at once, added up already: same
numbers, a fraction of the work, and one map of full size instead of hundreds.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def upsample(x: Tensor, scale: int) -> Tensor:
    """Enlarge by a whole factor, bilinear, `align_corners=True`: [B, C, H, W] -> [B, C, sH, sW]."""
    return upsample_to(x, (x.shape[-2] * scale, x.shape[-1] * scale))


def upsample_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with `align_corners=True` to (height, width).

    On a CPU two small matrix products (columns, then rows) give the same numbers, and a backward
    pass that is several times faster than the built-in one.
    """
    if x.device.type != "cpu":
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
    with torch.autocast("cpu", enabled=False):
        rows = interpolation_matrix(x.shape[-2], size[0]).to(x.dtype)
        columns = interpolation_matrix(x.shape[-1], size[1]).to(x.dtype)
        return rows @ (x @ columns.T)


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def shifted_matrices(source: int, target: int, device: torch.device) -> Tensor:
    """[target, 3 * source]: `interpolation_matrix` one step later, in place, and one step earlier.

    What a kernel of size 3 reads at -1, 0 and 1 from an output; zero outside.
    """
    matrix = interpolation_matrix(source, target)
    later, earlier = (F.pad(matrix, (0, 0, *pad)) for pad in ((1, -1), (-1, 1)))
    return torch.cat((later, matrix, earlier), dim=1).to(device)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def interpolation_matrix(source: int, target: int) -> Tensor:
    """[target, source] weights of one-dimensional linear interpolation, `align_corners=True`."""
    position = torch.linspace(0, source - 1 if target > 1 else 0, target, dtype=torch.float64)
    lower = position.floor().long().clamp(max=max(source - 2, 0))
    weight = (position - lower)[:, None].float()
    matrix = torch.zeros(target, source)
    matrix.scatter_(1, lower[:, None], 1 - weight)
    return matrix.scatter_add_(1, (lower[:, None] + 1).clamp(max=source - 1), weight)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def position_code(
    channels: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Tensor:
    """[1, C, H, W] sine code: the first half of the channels encodes the column, the rest the row.

    Within a half, channel 2k is sin(p w_k) and 2k+1 is cos(p w_k), w_k = 10000^(-2k / (C/2)).
    """
    half = channels // 2
    frequency = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(0, half, 2) / half)

    def encode(count: int) -> Tensor:
        angle = torch.arange(count)[None, :] * frequency[:, None]
        return torch.stack((angle.sin(), angle.cos()), dim=1).flatten(0, 1)  # [C/2, count]

    columns = encode(width)[:, None, :].expand(half, height, width)
    rows = encode(height)[:, :, None].expand(half, height, width)
    return torch.cat((columns, rows))[None].to(device)


def sum_upsampled(maps: tuple[Tensor, ...], scales: tuple[int, ...]) -> Tensor:
    """Up-sample each map by its factor and add: the plain form, [B, C, H, W] at full resolution."""
    return torch.stack([upsample(m, s) for m, s in zip(maps, scales, strict=True)]).sum(0)


def folded_conv3x3(
    conv: nn.Conv2d,
    maps: tuple[Tensor, ...],
    scales: tuple[int, ...],
    mix: nn.Conv2d | None = None,
) -> Tensor:
    """`conv(mix(sum_upsampled(maps, scales)))` without a full-resolution feature map, in float32.

    conv: 3x3, C -> 1, zero padding 1. mix: optional 1x1, C' -> C, applied before it.
    maps: [B, C', H/s, W/s] for each s in `scales`. Returns [B, 1, H, W].
    """
    height, width = maps[0].shape[-2] * scales[0], maps[0].shape[-1] * scales[0]
    with torch.autocast(maps[0].device.type, enabled=False):
        taps = conv.weight.float()[0].flatten(1).T  # [9, C]
        full = _bias(conv).float()[:, None, None]
        if mix is not None:
            constant = (taps @ _bias(mix).float())[None, :, None, None]  # [1, 9, 1, 1]
            full = full + upsample_taps(constant, (height, width))
            taps = taps @ mix.weight.float()[:, :, 0, 0]
        for level in maps:
            projected = F.conv2d(level.float(), taps[:, :, None, None])  # [B, 9, H/s, W/s]
            full = full + upsample_taps(projected, (height, width))
        return full


def upsample_taps(taps: Tensor, size: tuple[int, int]) -> Tensor:
    """Up-sample the nine taps of a 3x3 kernel, shift each to its place and add: [B, 1, H, W].

    taps: [B, 9, h, w]. Tap 3i + j at (y + i - 1, x + j - 1) of the up-sampled map belongs to
    output (y, x); outside the map taps are zero.
    """
    rows = shifted_matrices(taps.shape[2], size[0], taps.device)  # [H, 3h]
    columns = shifted_matrices(taps.shape[3], size[1], taps.device)  # [W, 3w]
    x = taps.unflatten(1, (3, 3)).transpose(2, 3).flatten(3)  # [B, 3, h, 3w]
    x = (x @ columns.T).flatten(1, 2)  # [B, 3h, W]
    return (rows @ x)[:, None]


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
