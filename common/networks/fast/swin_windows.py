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

_APART = -100.0  # added to the scores of two cells that only the roll made neighbors


@dataclass(frozen=True, eq=False)
class Windows:
    """Where the cells of a grid stand in its windows."""

    area: int  # N
    cell_of_place: Tensor  # [W * N], 0 for padding
    place_of_cell: Tensor  # [T]
    padding: Tensor  # [P], the places without a cell
    mask: Tensor | None  # [W, N, N], 0 or -100; None without a shift


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must do for training too
def windows_of(
    grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], device: torch.device
) -> Windows:
    """The windows of a grid (height, width), shifted by `shift` cells."""
    number = torch.arange(1, grid[0] * grid[1] + 1).view(1, *grid, 1)  # 0 is padding
    padded = F.pad(number, (0, 0, 0, -grid[1] % window[1], 0, -grid[0] % window[0]))
    size = (padded.shape[1], padded.shape[2])
    rolled = torch.roll(padded, (-shift[0], -shift[1]), dims=(1, 2))
    cell = window_partition(rolled, window).flatten() - 1
    order = cell.argsort(stable=True)  # padding is -1 and comes first
    num_padding = len(cell) - grid[0] * grid[1]
    mask = shift_mask(size, window, shift).to(device) if any(shift) else None
    area = window[0] * window[1]
    cell, order = cell.clamp(min=0).to(device), order.to(device)
    return Windows(area, cell, order[num_padding:], order[:num_padding], mask)


def shift_mask(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """[W, N, N] for a padded grid: 0 where two cells were neighbors before the roll, else -100."""
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
    return _FromWindows.apply(x.reshape(-1, len(windows.cell_of_place), x.shape[2]), windows)


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
        of_filler = grad.index_select(1, windows.padding).sum((0, 1), dtype=at_least_float32(grad))
        return grad.index_select(1, windows.place_of_cell), of_filler.to(filler.dtype), None


class _FromWindows(torch.autograd.Function):
    """[B, W * N, C] -> [B, T, C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: Windows) -> Tensor:
        ctx.windows = windows
        return x.index_select(1, windows.place_of_cell)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _spread(grad, grad.new_zeros(()), ctx.windows), None


def at_least_float32(x: Tensor) -> torch.dtype:
    """The type to add many of its numbers in."""
    return torch.promote_types(x.dtype, torch.float32)


def _spread(x: Tensor, filler: Tensor, windows: Windows) -> Tensor:
    """[B, T, C] -> [B, W * N, C]."""
    out = x.index_select(1, windows.cell_of_place)
    if len(windows.padding):
        out[:, windows.padding] = filler.to(out.dtype)
    return out
