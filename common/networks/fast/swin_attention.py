"""Attention inside windows with a learned bias, as Swin has it (Liu et al. 2021).

`scaled_dot_product_attention` has no fast kernel on a CPU for a bias that is trained: it writes the
scores of all windows to memory, several times. Here a few windows at a time are scored, so that
the scores stay in the processor's cache, and the backward pass scores them once more instead of
keeping them. Scores, their softmax and its gradient are float32 at least, as in PyTorch's kernels.

Legend: W windows, N cells of a window, A heads, D channels of a head.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.networks.fast.swin_windows import at_least_float32

_BLOCK_BYTES = 2**20  # of scores at a time for each core: about what its cache holds


def attend(qkv: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias + mask) v for every window and head.

    qkv: [W, N, 3, A, D]. bias: [A, N, N]. mask: [M, N, N], where W is a multiple of M and window w
    takes mask w mod M. Returns [W, N, A * D].
    """
    if qkv.device.type == "cpu" and not torch.compiler.is_compiling():
        return _Blocks.apply(qkv, bias.contiguous(), mask)
    return attend_at_once(qkv, bias, mask)


def attend_at_once(qkv: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """`attend` by PyTorch's own kernels, all windows in one call."""
    period = 1 if mask is None else len(mask)
    bias = bias.to(qkv.dtype)
    mask = None if mask is None else mask.to(qkv.dtype)
    scores = bias if mask is None else (bias + mask[:, None]).flatten(0, 1)  # [M * A, N, N]
    query, key, value = (  # [W / M, M * A, N, D]: one set of masks serves every image
        x.unflatten(0, (-1, period)).transpose(2, 3).flatten(1, 2) for x in qkv.unbind(2)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=scores)
    return mixed.unflatten(1, (period, -1)).transpose(2, 3).flatten(0, 1).flatten(2)


class _Blocks(torch.autograd.Function):
    """`attend`, a few windows at a time."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
        windows, cells, _, heads, dim = qkv.shape
        out = qkv.new_empty(windows, cells, heads, dim)
        with torch.autocast("cpu", enabled=False):
            for part, some_mask in _parts(qkv, mask):
                query, key, value = _split(qkv[part])
                weights = _weights(query, key, bias, some_mask).to(value.dtype)
                out[part] = (weights @ value).transpose(1, 2)
        ctx.save_for_backward(qkv, bias, mask)
        return out.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        qkv, bias, mask = ctx.saved_tensors
        grad = grad.unflatten(2, qkv.shape[-2:])
        grad_qkv = torch.empty_like(qkv)
        grad_bias = torch.zeros_like(bias, dtype=at_least_float32(bias))
        for part, some_mask in _parts(qkv, mask):
            query, key, value = _split(qkv[part])
            weights = _weights(query, key, bias, some_mask)
            g = grad[part].transpose(1, 2).contiguous()  # [w, A, N, D]
            wide = weights.dtype
            grad_scores = torch.ops.aten._softmax_backward_data(
                g.to(wide) @ value.to(wide).transpose(-2, -1), weights, -1, wide
            )
            grad_bias += grad_scores.sum(0)
            into = grad_qkv[part].permute(2, 0, 3, 1, 4)
            into[2] = weights.to(g.dtype).transpose(-2, -1) @ g
            grad_scores = grad_scores.to(key.dtype)
            into[0] = (grad_scores @ key) * query.shape[-1] ** -0.5
            into[1] = (grad_scores.transpose(-2, -1) @ query) * query.shape[-1] ** -0.5
        return grad_qkv, grad_bias.to(bias.dtype), None


def _parts(qkv: Tensor, mask: Tensor | None) -> Iterator[tuple[slice, Tensor | None]]:
    """Slices of the windows, each with its masks; a slice never crosses the end of the masks."""
    windows, cells, _, heads, _ = qkv.shape
    period = windows if mask is None else len(mask)
    score_bytes = heads * cells * cells * at_least_float32(qkv).itemsize
    most = max(1, _BLOCK_BYTES * torch.get_num_threads() // score_bytes)
    for first in range(0, windows, period):
        for start in range(0, period, most):
            end = min(start + most, period)
            some_mask = None if mask is None else mask[start:end, None]
            yield slice(first + start, first + end), some_mask


def _split(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[w, N, 3, A, D] -> three of [w, A, N, D]."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4).contiguous()
    return query, key, value


def _weights(query: Tensor, key: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """softmax over the cells attended to: [w, A, N, N], float32 at least."""
    wide = at_least_float32(query)
    scores = query.to(wide) * query.shape[-1] ** -0.5 @ key.to(wide).transpose(-2, -1)
    scores.add_(bias)
    if mask is not None:
        scores.add_(mask)
    return scores.softmax(dim=-1)
