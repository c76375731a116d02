"""From a grid of cells to shifted windows and back (Swin: Liu et al. 2021).

A grid is padded at the bottom and right to whole windows, rolled by the shift, and cut. All three
are one look-up of cells here, made once for every size, and so is the way back.

Legend: B images, T cells of a grid, W windows of an image, N cells of a window.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import window_partition
from torch import Tensor
from torch.autograd.function import once_differentiable

_APART = -100.0  # added to the scores of two cells that only the roll made neighbours


@dataclass(frozen=True, eq=False)
class Windows:
    """Where the cells of a grid stand in its windows."""

    area: int  # N
    cell: Tensor  # [W * N], for each place in a window the cell there; 0 for padding
    place: Tensor  # [T], for each cell its place
    padding: Tensor  # [P], the places without a cell
    mask: Tensor | None  # [W, N, N], 0 or -100; None without a shift


@lru_cache(maxsize=32)
def windows_of(
    grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], device: torch.device
) -> Windows:
    """The windows of a grid (height, width), shifted by `shift` cells."""
    number = torch.arange(1, grid[0] * grid[1] + 1).view(1, *grid, 1)  # 0 is padding
    padded = F.pad(number, (0, 0, 0, -grid[1] % window[1], 0, -grid[0] % window[0]))
    size = (padded.shape[1], padded.shape[2])
    rolled = torch.roll(padded, (-shift[0], -shift[1]), dims=(1, 2))
    cell = window_partition(rolled, window).flatten() - 1
    (is_cell,) = torch.where(cell >= 0)
    (padding,) = torch.where(cell < 0)
    place = torch.empty(grid[0] * grid[1], dtype=torch.long)
    place[cell[is_cell]] = is_cell
    mask = shift_mask(size, window, shift).to(device) if any(shift) else None
    area = window[0] * window[1]
    return Windows(area, cell.clamp(min=0).to(device), place.to(device), padding.to(device), mask)


def shift_mask(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """[W, N, N] for a padded grid: 0 where two cells were neighbours before the roll, else -100."""
    region = torch.zeros(1, *size, 1)
    slices = [
        (slice(0, -w), slice(-w, -s), slice(-s, None)) for w, s in zip(window, shift, strict=True)
    ]
    for index, (rows, columns) in enumerate((r, c) for r in slices[0] for c in slices[1]):
        region[:, rows, columns] = index
    label = window_partition(region, window).flatten(1)  # [W, N]
    different = label[:, None, :] != label[:, :, None]
    return different.float() * _APART


def to_windows(x: Tensor, filler: Tensor, windows: Windows) -> Tensor:
    """Cells [B, T, C] -> [B * W, N, C]; every place without a cell holds `filler` [C]."""
    return _ToWindows.apply(x, filler, windows).view(-1, windows.area, x.shape[2])


def from_windows(x: Tensor, windows: Windows) -> Tensor:
    """[B * W, N, C] -> cells [B, T, C]."""
    return _FromWindows.apply(x.reshape(-1, len(windows.cell), x.shape[2]), windows)


class _ToWindows(torch.autograd.Function):
    """[B, T, C] -> [B, W * N, C]. The way back is a look-up too, which autograd cannot know."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filler: Tensor, windows: Windows) -> Tensor:
        ctx.windows = windows
        ctx.save_for_backward(filler)
        return _spread(x, filler, windows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        windows: Windows = ctx.windows
        (filler,) = ctx.saved_tensors
        of_filler = grad.index_select(1, windows.padding).sum((0, 1), dtype=torch.float32)
        return grad.index_select(1, windows.place), of_filler.to(filler.dtype), None


class _FromWindows(torch.autograd.Function):
    """[B, W * N, C] -> [B, T, C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: Windows) -> Tensor:
        ctx.windows = windows
        return x.index_select(1, windows.place)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _spread(grad, grad.new_zeros(()), ctx.windows), None


def _spread(x: Tensor, filler: Tensor, windows: Windows) -> Tensor:
    """[B, T, C] -> [B, W * N, C]."""
    out = x.index_select(1, windows.cell)
    if len(windows.padding):
        out[:, windows.padding] = filler.to(out.dtype)
    return out
