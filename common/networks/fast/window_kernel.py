"""Attention inside shifted windows as two GPU kernels (Triton), forward and backward.

PyTorch's fused kernels take a bias as a table for every head and mask, give its gradient at a third
of the speed, and want windows cut and heads apart before, by copies. Here one program has one head
of one window: it finds the window's cells by itself, keeps keys and values, and goes over queries a
few rows at a time. All of a row's scores are there at once, so softmax and its gradient need
nothing from the forward pass. The scores' gradient is written once and added up over windows, in a
fixed order. Products of 16-bit numbers are summed in float32, and so are softmax and its gradient.

Triton comes with PyTorch for Linux and wants a C compiler; without one PyTorch's kernels stay. Its
`TRITON_INTERPRET=1` runs the kernels on a CPU, which is how `tests/test_window_kernel.py` compares
them with the plain form.

Legend: B images, T cells of a grid, W windows of an image, N cells of a window, A heads, D channels
of a head, P places without a cell in an image's windows.
"""

import warnings
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from common.networks.fast.window_attention import attend_plainly

LARGEST_WINDOW, HEAD_SIZES = 144, (16, 32)  # places, channels: Swin's; larger ones were not tried
_LOG2E = tl.constexpr(1.4426950408889634)
# Queries at a time, and warps of one program: the fastest of seven and of eight tried on an H200.
_FORWARD = {"ROWS": 16, "num_warps": 2}
_BACKWARD = {"ROWS": 16, "num_warps": 4}
# One compiled kernel does for all sizes and numbers of heads.
_for_any_size = triton.jit(do_not_specialize=["heads", "cells", "windows", "padding"])


@lru_cache
def works(device: torch.device, dtype: torch.dtype, head_channels: int, area: int) -> bool:
    """Whether both kernels are made for such sizes, compile there, and are right.

    Tried once, before a run takes them. Where they fail a warning says why.
    """
    if head_channels not in HEAD_SIZES or not 16 <= area <= LARGEST_WINDOW:
        return False
    torch.cuda.synchronize(device)  # what failed before is not the kernels' fault
    try:
        with _disable_current_modes():  # an export or a count of memory sees nothing of it
            is_right = _are_right(device, dtype, head_channels, area)
        reason = "" if is_right else "its numbers are wrong"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler may raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    if reason:
        told = f"the attention kernel does not work here, PyTorch's is taken: {reason}"
        warnings.warn(told, stacklevel=2)
    return not reason


@torch.inference_mode(False)
@torch.enable_grad()
def _are_right(device: torch.device, dtype: torch.dtype, head_channels: int, area: int) -> bool:
    """The kernels beside the plain form, of one window of two heads."""
    channels = 2 * head_channels
    numbers = (torch.arange(area * 3 * channels, device=device) % 13 / 13 - 0.5).view(area, -1)
    qkv, filler = numbers[None, :-1].to(dtype).requires_grad_(), numbers[-1].requires_grad_()
    bias = (torch.arange(2 * area**2, device=device) % 11 / 11).view(2, area, area)
    inputs = (qkv, filler, bias.requires_grad_())
    place = torch.arange(area, dtype=torch.int32, device=device)[None]
    region = torch.zeros_like(place)
    place[0, -1] = -1  # the last place has no cell
    with torch.autocast(device.type, enabled=False):
        ours = window_attention(*inputs, place, region)
        whole = torch.cat((qkv.float(), filler[None, None]), dim=1)
        expected = attend_plainly(whole.unflatten(2, (3, 2, -1)), bias)[:, :-1]
    factors = numbers[None, :-1, :channels]
    results = [
        (out, *torch.autograd.grad((out.float() * factors).sum(), inputs))
        for out in (ours, expected)
    ]
    return all(
        bool((a.float() - b.float()).norm() < 0.02 * b.float().norm())
        for a, b in zip(*results, strict=True)
    )


@torch.library.custom_op("langdepth::window_attention", mutates_args=())
def window_attention(
    qkv: Tensor, filler: Tensor, bias: Tensor, place: Tensor, region: Tensor
) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v among a window's places of one region: [B, T, A * D].

    qkv: [B, T, 3 * A * D], 16 bits. filler: [3 * A * D], query, key and value of a place without a
    cell. bias: [A, N, N]. place: int32 [W, N], the cell there, or -1 - p for the p-th place without
    one. region: int32 [W, N].
    """
    batch, cells, channels = qkv.shape
    qkv, bias = qkv.contiguous(), bias.to(qkv.dtype).contiguous()
    out = qkv.new_empty(batch, cells, channels // 3)
    pointers, sizes = (qkv, filler, bias, place, region, out), (len(bias), channels // 3)
    with torch.cuda.device_of(qkv):
        _forward[(batch * len(place) * len(bias),)](
            *pointers, *sizes, cells, len(place), **_made_for(qkv, bias), **_FORWARD
        )
    return out


@torch.library.custom_op("langdepth::window_attention_backward", mutates_args=())
def window_attention_backward(
    grad: Tensor,
    qkv: Tensor,
    filler: Tensor,
    bias: Tensor,
    place: Tensor,
    region: Tensor,
    padding: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv [B, T, 3 * A * D], filler and bias (float32); padding: P."""
    batch, cells, channels = qkv.shape
    heads, area = bias.shape[:2]
    grad, qkv, rounded = grad.contiguous(), qkv.contiguous(), bias.to(qkv.dtype).contiguous()
    grad_qkv = torch.empty_like(qkv)
    grad_padding = qkv.new_empty(batch, padding, 2, channels // 3)  # of keys and values
    grad_scores = qkv.new_empty(batch * len(place), heads, area, area)
    pointers = (grad, qkv, filler, rounded, place, region, grad_qkv, grad_padding, grad_scores)
    with torch.cuda.device_of(qkv):
        _backward[(batch * len(place) * heads,)](
            *(*pointers, heads, channels // 3, cells, len(place), padding),
            **_made_for(qkv, bias),
            **_BACKWARD,
        )
    grad_filler = filler.new_zeros(3, channels // 3, dtype=torch.float32)
    grad_filler[1:] = grad_padding.sum((0, 1), dtype=torch.float32)
    return grad_qkv, grad_filler.flatten(), grad_scores.sum(0, dtype=torch.float32)


def _made_for(qkv: Tensor, bias: Tensor) -> dict[str, int]:
    """What a kernel is compiled for. A window's keys come in two parts, each a power of two."""
    area = bias.shape[1]
    first = 1 << (area.bit_length() - 1)
    rest = max(16, 1 << (area - first - 1).bit_length()) if area > first else 0
    return {"N": area, "D": qkv.shape[2] // 3 // len(bias), "N1": max(first, 16), "N2": rest}


@window_attention.register_fake
def _(qkv, filler, bias, place, region):  # type: ignore[no-untyped-def]
    return qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3)


@window_attention_backward.register_fake
def _(grad, qkv, filler, bias, place, region, padding):  # type: ignore[no-untyped-def]
    as_float = {"dtype": torch.float32}
    return (
        qkv.new_empty(qkv.shape),
        filler.new_empty(filler.shape, **as_float),
        bias.new_empty(bias.shape, **as_float),
    )


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, grad):  # type: ignore[no-untyped-def]
    qkv, filler, bias, place, region = ctx.saved_tensors
    padding = place.numel() - qkv.shape[1]
    grads = window_attention_backward(grad, qkv, filler, bias, place, region, padding)
    return grads[0], grads[1].to(filler.dtype), grads[2].to(bias.dtype), None, None


window_attention.register_autograd(_differentiate, setup_context=_keep)


@triton.jit
def _load(cells, cell, stride, filler, d):
    """[R, D]: rows of cells, and the filler where there is no cell."""
    is_cell = (cell >= 0)[:, None]
    found = tl.load(cells + cell.to(tl.int64)[:, None] * stride + d[None, :], is_cell, other=0.0)
    return tl.where(is_cell, found, tl.load(filler + d).to(found.dtype)[None, :])


@triton.jit
def _keys_and_values(qkv, filler, place, j, C, d, N: tl.constexpr):
    """Cells [M], keys and values [M, D] of the places j."""
    cell = tl.load(place + j, j < N, other=-1)
    k = _load(qkv + C, cell, 3 * C, filler + C, d)
    return cell, k, _load(qkv + 2 * C, cell, 3 * C, filler + 2 * C, d)


@triton.jit
def _scores(q, k, factor, bias, i, j, region, row_region, N: tl.constexpr):
    """[R, M] for exp2: of the queries of places i and the keys of places j; none from N on."""
    is_place = (j < N)[None, :]
    added = tl.load(bias + i[:, None] * N + j[None, :], is_place, other=float("-inf"))
    scores = (tl.dot(q, tl.trans(k)) * factor + added.to(tl.float32)) * _LOG2E
    is_near = row_region[:, None] == tl.load(region + j, j < N, other=-1)[None, :]
    return tl.where(is_near, scores, float("-inf"))


@_for_any_size
def _forward(
    qkv, filler, bias, place, region, out, heads, C, cells, windows,
    N: tl.constexpr, D: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head, window = program % heads, program // heads % windows
    image = program // heads // windows
    factor = 1 / (D * 1.0) ** 0.5
    qkv += image.to(tl.int64) * cells * 3 * C + head * D
    out += image.to(tl.int64) * cells * C + head * D
    filler += head * D
    bias += head * N * N
    place += window * N
    region += window * N
    d, j1 = tl.arange(0, D), tl.arange(0, N1)
    cell1, k1, v1 = _keys_and_values(qkv, filler, place, j1, C, d, N)
    if N2 > 0:
        j2 = N1 + tl.arange(0, N2)
        cell2, k2, v2 = _keys_and_values(qkv, filler, place, j2, C, d, N)
    for start in range(0, N, ROWS):
        row = start + tl.arange(0, ROWS)
        i = tl.minimum(row, N - 1)  # rows beyond the window: the last one again, stored nowhere
        cell = tl.load(place + i)
        row_region = tl.load(region + i)
        q = _load(qkv, cell, 3 * C, filler, d)
        s1 = _scores(q, k1, factor, bias, i, j1, region, row_region, N)
        most = tl.max(s1, 1)
        if N2 > 0:
            s2 = _scores(q, k2, factor, bias, i, j2, region, row_region, N)
            most = tl.maximum(most, tl.max(s2, 1))
        p1 = tl.exp2(s1 - most[:, None])
        total = tl.sum(p1, 1)
        mixed = tl.dot(p1.to(v1.dtype), v1)
        if N2 > 0:
            p2 = tl.exp2(s2 - most[:, None])
            total += tl.sum(p2, 1)
            mixed += tl.dot(p2.to(v2.dtype), v2)
        mixed = (mixed / total[:, None]).to(v1.dtype)
        is_stored = ((row < N) & (cell >= 0))[:, None]
        tl.store(out + cell.to(tl.int64)[:, None] * C + d[None, :], mixed, is_stored)


@triton.jit
def _store(cells, padding, cell, j, stride, padding_stride, d, x, N: tl.constexpr):
    """Gradients of keys or values [M, D] to their cells, and those of the filler to its places."""
    x = x.to(cells.dtype.element_ty)
    is_cell = ((j < N) & (cell >= 0))[:, None]
    tl.store(cells + cell.to(tl.int64)[:, None] * stride + d[None, :], x, is_cell)
    is_padding = ((j < N) & (cell < 0))[:, None]
    tl.store(padding + (-1 - cell)[:, None] * padding_stride + d[None, :], x, is_padding)


@_for_any_size
def _backward(
    grad, qkv, filler, bias, place, region, grad_qkv, grad_padding, grad_scores,
    heads, C, cells, windows, padding,
    N: tl.constexpr, D: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head, window = program % heads, program // heads % windows
    image = program // heads // windows
    factor = 1 / (D * 1.0) ** 0.5
    first = image.to(tl.int64) * cells * 3 * C + head * D
    qkv += first
    grad_qkv += first
    grad += image.to(tl.int64) * cells * C + head * D
    grad_padding += image.to(tl.int64) * padding * 2 * C + head * D
    grad_scores += ((image * windows + window) * heads + head).to(tl.int64) * N * N
    filler += head * D
    bias += head * N * N
    place += window * N
    region += window * N
    d, j1 = tl.arange(0, D), tl.arange(0, N1)
    cell1, k1, v1 = _keys_and_values(qkv, filler, place, j1, C, d, N)
    grad_k1, grad_v1 = tl.zeros((N1, D), tl.float32), tl.zeros((N1, D), tl.float32)
    if N2 > 0:
        j2 = N1 + tl.arange(0, N2)
        cell2, k2, v2 = _keys_and_values(qkv, filler, place, j2, C, d, N)
        grad_k2, grad_v2 = tl.zeros((N2, D), tl.float32), tl.zeros((N2, D), tl.float32)
    for start in range(0, N, ROWS):
        row = start + tl.arange(0, ROWS)
        i = tl.minimum(row, N - 1)
        cell = tl.load(place + i)
        row_region = tl.load(region + i)
        is_read = ((row < N) & (cell >= 0))[:, None]  # others: a gradient of zero
        where = cell.to(tl.int64)[:, None]
        g = tl.load(grad + where * C + d[None, :], is_read, other=0.0)
        q = _load(qkv, cell, 3 * C, filler, d)
        s1 = _scores(q, k1, factor, bias, i, j1, region, row_region, N)
        most = tl.max(s1, 1)
        if N2 > 0:
            s2 = _scores(q, k2, factor, bias, i, j2, region, row_region, N)
            most = tl.maximum(most, tl.max(s2, 1))
        p1 = tl.exp2(s1 - most[:, None])
        total = tl.sum(p1, 1)
        if N2 > 0:
            p2 = tl.exp2(s2 - most[:, None])
            total += tl.sum(p2, 1)
            p2 = p2 / total[:, None]
            g2 = tl.dot(g, tl.trans(v2))
        p1 = p1 / total[:, None]
        g1 = tl.dot(g, tl.trans(v1))
        mean = tl.sum(p1 * g1, 1)
        if N2 > 0:
            mean += tl.sum(p2 * g2, 1)
            grad_v2 += tl.dot(tl.trans(p2.to(g.dtype)), g)
            g2 = (p2 * (g2 - mean[:, None])).to(q.dtype)
            grad_k2 += tl.dot(tl.trans(g2), q)
            is_score = (row < N)[:, None] & (j2 < N)[None, :]
            tl.store(grad_scores + row[:, None] * N + j2[None, :], g2, is_score)
        grad_v1 += tl.dot(tl.trans(p1.to(g.dtype)), g)
        g1 = (p1 * (g1 - mean[:, None])).to(q.dtype)
        grad_k1 += tl.dot(tl.trans(g1), q)
        is_score = (row < N)[:, None] & (j1 < N)[None, :]
        tl.store(grad_scores + row[:, None] * N + j1[None, :], g1, is_score)
        grad_q = tl.dot(g1, k1)
        if N2 > 0:
            grad_q += tl.dot(g2, k2)
        tl.store(grad_qkv + where * 3 * C + d[None, :], (grad_q * factor).to(q.dtype), is_read)
    grad_k1 *= factor
    _store(grad_qkv + C, grad_padding, cell1, j1, 3 * C, 2 * C, d, grad_k1, N)
    _store(grad_qkv + 2 * C, grad_padding + C, cell1, j1, 3 * C, 2 * C, d, grad_v1, N)
    if N2 > 0:
        grad_k2 *= factor
        _store(grad_qkv + C, grad_padding, cell2, j2, 3 * C, 2 * C, d, grad_k2, N)
        _store(grad_qkv + 2 * C, grad_padding + C, cell2, j2, 3 * C, 2 * C, d, grad_v2, N)
