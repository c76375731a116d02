"""Attention inside shifted windows with a learned bias, as Swin has it (Liu et al. 2021).

The plain form pads a grid at the bottom and right to whole windows, rolls it by the shift, cuts it,
attends inside windows, and undoes all three. Three things are faster here, each for itself:

cells-only: padding, rolling and cutting are one look-up of cells, made once for every size, and so
is the way back. Cells alone are projected, no padding: padding is zero before the first projection
and thrown away after the last one, so its query, key and value are the projection's bias. A GPU
looks up whole rows of a table of all images' cells; a compiled step fuses that with what follows.

attention-in-blocks: `scaled_dot_product_attention` has no fast kernel on a CPU for the gradient of
a bias; it writes the scores of all windows to memory, several times. Its kernel without gradients
does the forward pass of bf16 here. The backward pass scores a few windows at a time once more, so
that the scores stay in the processor's cache. Scores, their softmax and its gradient are float32
at least, as in PyTorch's kernels; under bf16, products of them are made in the processor's bf16
units. PyTorch has a GPU kernel for all of it, which takes bias and mask as one table of dense rows.

window-kernel: in 16 bits a GPU does all of it, windows included, by `window_kernel.py`.

Legend: B images, T cells of a grid, W windows (of an image or a batch), N cells of a window, A
heads, D channels of a head, C = A * D.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from common.networks.fast import takes_plain
from common.networks.fast.windows import (
    Sides,
    Windows,
    cut_windows,
    join_windows,
    shift_mask,
    windows_of,
)

_BLOCK_BYTES = 2**21  # of scores at a time for each core: about what its cache holds


def shifted_window_attention(
    x: Tensor,
    qkv: nn.Module,
    proj: nn.Module,
    bias: Tensor,
    window: Sides,
    shift: Sides,
) -> Tensor:
    """Multi-head attention inside windows: [B, H, W, C] -> the same shape.

    qkv: C -> 3 * C, with a bias. proj: C -> C. bias: [A, N, N], a number for every two places.
    """
    if takes_plain("cells-only"):
        return shifted_windows_plainly(x, qkv, proj, bias, window, shift)
    heads = len(bias)
    windows = windows_of((x.shape[1], x.shape[2]), window, shift, x.device)
    cells = qkv(x.flatten(1, 2))  # [B, T, 3 * C]
    if attends_in_place(cells, bias):
        attend_in_place = torch.ops.langdepth.window_attention.default
        mixed = attend_in_place(cells, qkv.bias, bias, windows.place, windows.region)
        return proj(mixed).view_as(x)
    cut = to_windows(cells, qkv.bias, windows)  # type: ignore[arg-type]  # [B * W, N, 3 * C]
    mixed = attend(cut.unflatten(2, (3, heads, -1)), bias, windows.mask)
    return proj(from_windows(mixed, windows)).view_as(x)


def shifted_windows_plainly(
    x: Tensor,
    qkv: nn.Module,
    proj: nn.Module,
    bias: Tensor,
    window: Sides,
    shift: Sides,
) -> Tensor:
    """`shifted_window_attention` as it is described: pad, roll, cut, attend, and back."""
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % window[1], 0, -height % window[0]))
    size = (x.shape[1], x.shape[2])
    x = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
    cut = cut_windows(x, window).flatten(1, 2)  # [B * W, N, C]
    mask = shift_mask(size, window, shift).to(x.device) if any(shift) else None
    mixed = proj(attend(qkv(cut).unflatten(2, (3, len(bias), -1)), bias, mask))
    x = join_windows(mixed.unflatten(1, window), size)  # [B, H', W', C]
    return torch.roll(x, shift, dims=(1, 2))[:, :height, :width].contiguous()


def attends_in_place(cells: Tensor, bias: Tensor) -> bool:
    """Whether `window_kernel.py` does it: on a GPU, in 16 bits, for windows as Swin has them."""
    if cells.device.type != "cuda" or cells.dtype.itemsize != 2 or takes_plain("window-kernel"):
        return False
    return _has_kernel(cells.device, cells.dtype, cells.shape[2] // 3 // len(bias), bias.shape[1])


def _has_kernel(device: torch.device, dtype: torch.dtype, head_channels: int, area: int) -> bool:
    """Whether the kernel can be had and is right for such sizes; a compiler asks it once."""
    if not _has_triton(device):
        return False
    # Imported here: Triton comes with PyTorch for Linux and a GPU only, and takes a second.
    from common.networks.fast import window_kernel

    return window_kernel.works(device, dtype, head_channels, area)


_has_kernel._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see `kept`


@lru_cache
def _has_triton(device: torch.device) -> bool:
    """Whether PyTorch's compiler of GPU kernels is there, whole, and knows this GPU."""
    try:
        importlib.import_module("triton.language")
    except Exception:  # whatever a broken installation may raise
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def attend(qkv: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias + mask) v for every window and head.

    qkv: [W, N, 3, A, D]. bias: [A, N, N]. mask: [M, N, N], where W is a multiple of M and window w
    takes mask w mod M. Returns [W, N, A * D].
    """
    if takes_plain("attention-in-blocks"):
        return attend_plainly(qkv, bias, mask)
    if qkv.device.type == "cpu" and not torch.compiler.is_compiling():
        return _Blocks.apply(qkv, bias.contiguous(), mask)
    return attend_at_once(qkv, bias, mask)


def attend_plainly(qkv: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """`attend` as it is described: the scores of all windows exist, and are kept."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [W, A, N, D] each
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1) + bias
    if mask is not None:
        scores = (scores.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


def attend_at_once(qkv: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """`attend` by PyTorch's own kernels, all windows in one call."""
    period = 1 if mask is None else len(mask)
    bias = bias.to(qkv.dtype)
    mask = None if mask is None else mask.to(qkv.dtype)
    scores = bias if mask is None else (bias + mask[:, None]).flatten(0, 1)  # [M * A, N, N]
    scores = scores.contiguous()  # else PyTorch takes the plain form, in float32
    query, key, value = (  # [W / M, M * A, N, D]: one set of masks serves every image
        x.unflatten(0, (-1, period)).transpose(2, 3).flatten(1, 2) for x in qkv.unbind(2)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=scores)
    return mixed.unflatten(1, (period, -1)).transpose(2, 3).flatten(0, 1).flatten(2)


def to_windows(x: Tensor, filler: Tensor, windows: Windows) -> Tensor:
    """Cells [B, T, C] -> [B * W, N, C]; every place without a cell holds `filler` [C]."""
    return _ToWindows.apply(x, filler, windows).view(-1, windows.area, x.shape[2])


def from_windows(x: Tensor, windows: Windows) -> Tensor:
    """[B * W, N, C] -> cells [B, T, C]."""
    return _FromWindows.apply(x.reshape(-1, len(windows.cell_of_place), x.shape[2]), windows)


class _Blocks(torch.autograd.Function):
    """`attend`; backward a few windows at a time."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
        ctx.save_for_backward(qkv, bias, mask)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [W, A, N, D] each
        out = torch.empty_like(qkv[:, :, 0])
        added = bias.detach().to(at_least_float32(qkv)).expand(len(qkv), -1, -1, -1)
        with torch.autocast("cpu", enabled=False):
            whole = mask is None and qkv.dtype == torch.bfloat16
            for part, some_mask in [(slice(None), None)] if whole else _parts(qkv, mask):
                scores = added[part] if some_mask is None else added[part] + some_mask
                one = query[part], key[part], value[part]
                if qkv.dtype == torch.bfloat16:
                    mixed = F.scaled_dot_product_attention(*one, attn_mask=scores)
                else:  # its exponential is not exact to the last digits of float32
                    mixed = _attend_exactly(*one, scores)
                out[part] = mixed.transpose(1, 2)
        return out.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        qkv, bias, mask = ctx.saved_tensors
        wide = at_least_float32(qkv)
        grad = grad.unflatten(2, qkv.shape[-2:])
        grad_qkv = torch.empty_like(qkv)
        grad_bias = torch.zeros_like(bias, dtype=wide)
        factor = qkv.shape[-1] ** -0.5
        with _bf16_products() if qkv.dtype == torch.bfloat16 else nullcontext():
            for part, some_mask in _parts(qkv, mask):
                query, key, value = qkv[part].permute(2, 0, 3, 1, 4).to(wide).contiguous()
                scores = query @ key.transpose(-2, -1)  # [w, A, N, N]
                torch.add(bias, scores, alpha=factor, out=scores)
                weights = (scores if some_mask is None else scores.add_(some_mask)).softmax(-1)
                g = grad[part].transpose(1, 2).to(wide).contiguous()  # [w, A, N, D]
                grad_scores = torch.ops.aten._softmax_backward_data(
                    g @ value.transpose(-2, -1), weights, -1, wide
                )
                grad_bias += grad_scores.sum(0)
                into = grad_qkv[part].permute(2, 0, 3, 1, 4)
                into[0] = (grad_scores @ key).mul_(factor)
                into[1] = (grad_scores.transpose(-2, -1) @ query).mul_(factor)
                into[2] = weights.transpose(-2, -1) @ g
        return grad_qkv, grad_bias.to(bias.dtype), None


def _attend_exactly(query: Tensor, key: Tensor, value: Tensor, added: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D) + added) v: [w, A, N, D] of each, [w, A, N, N] -> [w, A, N, D]."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return scores.add_(added).softmax(dim=-1) @ value


@contextmanager
def _bf16_products() -> Iterator[None]:
    """Products of float32 by the CPU's bf16 units, if it has them; sums stay float32.

    Factors that were bf16 before lose nothing; weights of attention and their gradients are rounded
    to bf16, as any bf16 attention has them. PyTorch can be told so from 2.9 on, for all threads.
    """
    products = getattr(torch.backends.mkldnn, "matmul", None)
    if products is None:
        yield
        return
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def _parts(qkv: Tensor, mask: Tensor | None) -> Iterator[tuple[slice, Tensor | None]]:
    """Slices of the windows, each with its masks [w, 1, N, N]: whole images, or parts of one."""
    windows, cells, _, heads, _ = qkv.shape
    score_bytes = heads * cells * cells * at_least_float32(qkv).itemsize
    most = max(1, _BLOCK_BYTES * torch.get_num_threads() // score_bytes)
    if mask is not None and most >= len(mask):  # small windows: many images at a time
        most -= most % len(mask)
        mask = mask.repeat(max(1, min(most, windows) // len(mask)), 1, 1)
    period = windows if mask is None else len(mask)
    for first in range(0, windows, period):
        for start in range(0, min(period, windows - first), most):
            end = min(start + most, period, windows - first)
            some_mask = None if mask is None else mask[start:end, None]
            yield slice(first + start, first + end), some_mask


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
        of_filler = look_up(grad, windows.padding).sum((0, 1), dtype=at_least_float32(grad))
        return look_up(grad, windows.place_of_cell), of_filler.to(filler.dtype), None


class _FromWindows(torch.autograd.Function):
    """[B, W * N, C] -> [B, T, C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: Windows) -> Tensor:
        ctx.windows = windows
        return look_up(x, windows.place_of_cell)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _spread(grad, grad.new_zeros(()), ctx.windows), None


def at_least_float32(x: Tensor) -> torch.dtype:
    """The type to add many of its numbers in."""
    return torch.promote_types(x.dtype, torch.float32)


def _spread(x: Tensor, filler: Tensor, windows: Windows) -> Tensor:
    """[B, T, C] -> [B, W * N, C]."""
    out = look_up(x, windows.cell_of_place)
    if len(windows.padding) == 0:
        return out
    if torch.compiler.is_compiling():  # fused with the look-up
        return torch.where(windows.is_padding, filler.to(out.dtype), out)
    out[:, windows.padding] = filler.to(out.dtype)
    return out


def look_up(x: Tensor, places: Tensor) -> Tensor:
    """[B, T, C], [P] -> [B, P, C]."""
    if x.device.type == "cpu" or torch.compiler.is_compiling():
        return x.index_select(1, places)
    return look_up_rows(x, places)


def look_up_rows(x: Tensor, places: Tensor) -> Tensor:
    """The same in a table of all images' cells: a GPU copies whole rows, not number by number."""
    rows = rows_of(places, len(x), x.shape[1])
    return x.flatten(0, 1).index_select(0, rows).unflatten(0, (len(x), -1))


@lru_cache(maxsize=128)  # a tensor is told from others by its identity
@torch.inference_mode(False)
def rows_of(places: Tensor, images: int, length: int) -> Tensor:
    """[P] -> [B * P], where tables of `length` rows, one for each image, are put in one."""
    first = torch.arange(images, device=places.device)[:, None] * length
    return (first + places).flatten()
