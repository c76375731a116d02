"""Where the cells of a grid stand in its shifted windows; made once for every size.

Masked scores are minus infinity here and -100 in the plain form, as published: the weight of such
a pair is 0 instead of e^-100, a subnormal number, and Intel processors take a hundred times longer
for sums and products of these.

Legend: T cells of a grid, W windows of an image, N cells of a window.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from common.networks.fast import kept

Sides = tuple[int, int]
_APART = -100.0  # added to the scores of two cells that only the roll made neighbors


@dataclass(frozen=True, eq=False)
class Windows:
    """Where the cells of a grid stand in its windows."""

    area: int  # N
    cell_of_place: Tensor  # [W * N], 0 for padding
    place_of_cell: Tensor  # [T]
    padding: Tensor  # [P], the places without a cell
    is_padding: Tensor  # [W * N, 1], bool
    mask: Tensor | None  # [W, N, N], 0 or -inf; None without a shift
    place: Tensor  # int32 [W, N]: the cell there, or -1 - p for the p-th of `padding`
    region: Tensor  # int32 [W, N]: only cells of one region attend to each other, as `mask` says


@kept(32)
def windows_of(
    grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], device: torch.device
) -> Windows:
    """The windows of a grid (height, width), shifted by `shift` cells."""
    number = torch.arange(1, grid[0] * grid[1] + 1).view(1, *grid, 1)  # 0 is padding
    padded = F.pad(number, (0, 0, 0, -grid[1] % window[1], 0, -grid[0] % window[0]))
    size = (padded.shape[1], padded.shape[2])
    rolled = torch.roll(padded, (-shift[0], -shift[1]), dims=(1, 2))
    cell = cut_windows(rolled, window).flatten() - 1
    order = cell.argsort(stable=True)  # padding is -1 and comes first
    num_padding = len(cell) - grid[0] * grid[1]
    area = window[0] * window[1]
    place = cell.int()
    place[order[:num_padding]] = -1 - torch.arange(num_padding, dtype=torch.int32)
    mask, region = None, torch.zeros_like(place)
    if any(shift):
        apart = shift_mask(size, window, shift) < 0
        mask = torch.zeros(apart.shape).masked_fill(apart, -torch.inf).to(device)
        region = regions(size, window, shift)
    is_padding, cell = (cell < 0)[:, None].to(device), cell.clamp(min=0).to(device)
    order = order.to(device)
    tables = (table.view(-1, area).to(device) for table in (place, region))
    return Windows(area, cell, order[num_padding:], order[:num_padding], is_padding, mask, *tables)


def cut_windows(x: Tensor, window: Sides) -> Tensor:
    """[B, H, W, C], of whole windows -> [B * H/h * W/w, h, w, C]."""
    x = x.unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))  # [B, H/h, h, W/w, w, C]
    return x.transpose(2, 3).flatten(0, 2)


def join_windows(windows: Tensor, size: Sides) -> Tensor:
    """Undo `cut_windows` of a grid of this size."""
    height, width = windows.shape[1:3]
    x = windows.unflatten(0, (-1, size[0] // height, size[1] // width))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def regions(size: Sides, window: Sides, shift: Sides) -> Tensor:
    """int32 [W, N] for a padded grid: two cells have one number if the roll left them neighbors."""
    region = torch.zeros(1, *size, 1, dtype=torch.int32)
    slices = [
        (slice(0, -w), slice(-w, -s), slice(-s, None)) for w, s in zip(window, shift, strict=True)
    ]
    for index, (rows, columns) in enumerate((r, c) for r in slices[0] for c in slices[1]):
        region[:, rows, columns] = index
    return cut_windows(region, window).flatten(1)


def shift_mask(size: Sides, window: Sides, shift: Sides) -> Tensor:
    """[W, N, N] for a padded grid: 0 where two cells were neighbors before the roll, else -100."""
    region = regions(size, window, shift)
    return (region[:, None, :] != region[:, :, None]).float() * _APART
