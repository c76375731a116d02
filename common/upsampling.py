"""Bilinear up-sampling, position codes, and a depth head that never works at full resolution.

The last layers of every depth network here are linear: feature maps at strides 16, 8 and 4 are
up-sampled and added, mixed by 1x1 convolutions, and reduced by one 3x3 convolution to one channel.
A 1x1 convolution commutes with up-sampling, and a 3x3 convolution to one channel is nine 1x1
projections ("taps"), each shifted by one pixel and added. `folded_conv3x3` therefore projects to
nine channels where the maps are small and up-samples those: same numbers, a fraction of the work.
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


@lru_cache(maxsize=256)
def interpolation_matrix(source: int, target: int) -> Tensor:
    """[target, source] weights of one-dimensional linear interpolation, `align_corners=True`."""
    position = torch.linspace(0, source - 1 if target > 1 else 0, target, dtype=torch.float64)
    lower = position.floor().long().clamp(max=max(source - 2, 0))
    weight = (position - lower)[:, None].float()
    matrix = torch.zeros(target, source)
    matrix.scatter_(1, lower[:, None], 1 - weight)
    return matrix.scatter_add_(1, (lower[:, None] + 1).clamp(max=source - 1), weight)


@lru_cache(maxsize=64)
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
    with torch.autocast(maps[0].device.type, enabled=False):
        taps = conv.weight.float()[0].flatten(1).T  # [9, C]
        bias = taps.new_zeros(9)
        if mix is not None:
            bias = taps @ _bias(mix).float()
            taps = taps @ mix.weight.float()[:, :, 0, 0]
        kernel = taps[:, :, None, None]
        projected = tuple(F.conv2d(m.float(), kernel) for m in maps)  # [B, 9, H/s, W/s]
        full = sum_upsampled(projected, scales) + bias[:, None, None]
        return add_shifted(full) + _bias(conv).float()[:, None, None]


def add_shifted(taps: Tensor) -> Tensor:
    """Sum the nine taps of a 3x3 kernel, each shifted to its place: [B, 9, H, W] -> [B, 1, H, W].

    Tap 3i + j at (y + i - 1, x + j - 1) belongs to output (y, x); outside the map taps are zero.
    """
    height, width = taps.shape[-2:]
    wide = F.pad(taps.unflatten(1, (3, 3)), (1, 1))  # [B, 3, 3, H, W + 2]
    left, middle, right = (wide[:, :, j, :, j : j + width] for j in range(3))
    tall = F.pad(left + middle + right, (0, 0, 1, 1))  # [B, 3, H + 2, W]
    upper, centre, lower = (tall[:, i, i : i + height] for i in range(3))
    return (upper + centre + lower)[:, None]


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
