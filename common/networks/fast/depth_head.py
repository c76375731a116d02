"""From feature maps at strides 16, 8 and 4 to one channel at full resolution.

The last layers of every depth network here are linear (from the released code): the maps are
up-sampled and added, mixed by a 1x1 convolution, and reduced by a 3x3 convolution to one channel.
The plain form does just that, with hundreds of channels at full resolution.

A 1x1 convolution commutes with up-sampling, and a 3x3 convolution to one channel is nine 1x1
projections ("taps"), each shifted by one pixel and added. The folded form therefore projects to
nine channels where the maps are small. Up-sampling and shifting are linear along rows and along
columns, so two matrix products bring all nine to full resolution at once, added up already: same
numbers, a fraction of the work, and one map of full size instead of hundreds.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.fast import kept, takes_plain
from common.networks.fast.upsampling import interpolation_matrix, upsample, upsample_plainly

Maps = tuple[Tensor, ...]


def depth_head(
    conv: nn.Conv2d, maps: Maps, scales: tuple[int, ...], mix: nn.Conv2d | None = None
) -> Tensor:
    """conv3x3(mix(sum of up-sampled maps)), in float32 under autocast, too: [B, 1, H, W].

    conv: 3x3, C -> 1, zero padding 1. mix: optional 1x1, C' -> C, applied before it.
    maps: [B, C', H/s, W/s] for each s in `scales`.
    """
    form = plain_head if takes_plain("folded-head") else folded_head
    return form(conv, maps, scales, mix)


def plain_head(
    conv: nn.Conv2d, maps: Maps, scales: tuple[int, ...], mix: nn.Conv2d | None = None
) -> Tensor:
    """`depth_head` as the networks are described: every channel at full resolution."""
    with torch.autocast(maps[0].device.type, enabled=False):
        full = sum_upsampled(tuple(m.float() for m in maps), scales)  # [B, C', H, W]
        return conv(full if mix is None else F.conv2d(full, mix.weight, mix.bias))


def sum_upsampled(maps: Maps, scales: tuple[int, ...]) -> Tensor:
    """Up-sample each map by its factor and add: [B, C, H, W] at full resolution."""
    return torch.stack([upsample(m, s) for m, s in zip(maps, scales, strict=True)]).sum(0)


def folded_head(
    conv: nn.Conv2d, maps: Maps, scales: tuple[int, ...], mix: nn.Conv2d | None = None
) -> Tensor:
    """`depth_head` without a feature map of full resolution; see the module's docstring."""
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
    if takes_plain("matrix-upsampling"):
        return upsample_taps_plainly(taps, size)
    rows = shifted_matrices(taps.shape[2], size[0], taps.device)  # [H, 3h]
    columns = shifted_matrices(taps.shape[3], size[1], taps.device)  # [W, 3w]
    x = taps.unflatten(1, (3, 3)).transpose(2, 3).flatten(3)  # [B, 3, h, 3w]
    x = (x @ columns.T).flatten(1, 2)  # [B, 3h, W]
    return (rows @ x)[:, None]


def upsample_taps_plainly(taps: Tensor, size: tuple[int, int]) -> Tensor:
    """`upsample_taps` as it is described, with nine maps of full resolution."""
    full = F.pad(upsample_plainly(taps, size), (1, 1, 1, 1))  # [B, 9, H + 2, W + 2]
    places = [(tap, *divmod(tap, 3)) for tap in range(9)]
    shifted = [full[:, tap, y : y + size[0], x : x + size[1]] for tap, y, x in places]
    return torch.stack(shifted).sum(0)[:, None]


@kept(128)
def shifted_matrices(source: int, target: int, device: torch.device) -> Tensor:
    """[target, 3 * source]: `interpolation_matrix` one step later, in place, and one step earlier.

    What a kernel of size 3 reads at -1, 0 and 1 from an output; zero outside.
    """
    matrix = interpolation_matrix(source, target)
    later, earlier = (F.pad(matrix, (0, 0, *pad)) for pad in ((1, -1), (-1, 1)))
    return torch.cat((later, matrix, earlier), dim=1).to(device)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
