"""The parts of a Swin Transformer under timm's names (Liu et al. 2021, Figures 2 and 3).

Data flow: image [B, 3, H, W] -> `PatchEmbedding` at stride 4 -> four `SwinStage`s, each of which
but the first halves the grid and doubles the channels (`PatchMerging`) before its `WindowBlock`s.
Random weights are drawn as timm draws them, in timm's order. What differs from timm, so that
published weights give published numbers, is the attention: see `ShiftedAttention`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.fast.window_attention import shifted_window_attention

PATCH = 4  # pixels on a side
MLP_RATIO = 4
_STD = 0.02  # of random weights


class SwinBody(nn.Module):
    """patch_embed and layers, without the last norm and the classifier; nothing is run here."""

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window: int,
        drop_path: float,
    ):
        """drop_path: stochastic depth of the last block, linear over depth."""
        super().__init__()
        self.patch_embed = PatchEmbedding(embed_dim)
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").split(list(depths))
        self.layers = nn.Sequential(
            *(
                SwinStage(embed_dim * 2**i, num_heads[i], window, rates[i].tolist(), merges=i > 0)
                for i in range(len(depths))
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                draw(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class PatchEmbedding(nn.Module):
    """A linear layer and a norm for each patch of 4x4 pixels."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, PATCH, PATCH)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, image: Tensor) -> Tensor:
        """image: [B, 3, H, W] -> [B, H/4, W/4, C]."""
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class SwinStage(nn.Module):
    """Blocks whose windows are shifted by half a window in every second one."""

    def __init__(self, dim: int, heads: int, window: int, drop_paths: list[float], merges: bool):
        """dim: channels of the blocks. merges: the input has half as many, at half the stride."""
        super().__init__()
        self.downsample = PatchMerging(dim // 2) if merges else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                WindowBlock(dim, heads, window, window // 2 if i % 2 else 0, rate)
                for i, rate in enumerate(drop_paths)
            )
        )


class PatchMerging(nn.Module):
    """Four neighbors become one cell of twice the channels; zeros are added for whole pairs."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, H, W, C] -> [B, H/2, W/2, 2 C], rounded up."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # [B, H/2, 2, W/2, 2, C]
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)  # [B, H/2, W/2, 4 C]
        return self.reduction(self.norm(x))


class WindowBlock(nn.Module):
    """Attention inside windows, then an MLP for each cell (Liu et al., Figure 3b)."""

    def __init__(self, dim: int, heads: int, window: int, shift: int, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ShiftedAttention(dim, heads, window, shift)
        self.drop_path1 = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.drop_path2 = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, H, W, C] -> the same shape."""
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        cells = x.flatten(1, 2)  # [B, H * W, C]
        cells = cells + self.drop_path2(self.mlp(self.norm2(cells)))
        return cells.view_as(x)


class ShiftedAttention(nn.Module):
    """Attention inside windows, in the published order: pad (bottom, right), roll, attend, back.

    timm rolls first, and makes the window smaller where the grid is.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int, window: int, shift: int):
        super().__init__()
        self.window_size, self.shift_size = (window, window), (shift, shift)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        index = relative_position_index(window)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        draw(self.relative_position_bias_table)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, H, W, C] -> the same shape."""
        bias = look_up_bias(self.relative_position_bias_table, self.relative_position_index)
        return shifted_window_attention(
            x, self.qkv, self.proj, bias, self.window_size, self.shift_size
        )


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., C] -> the same shape."""
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training an image skips the branch now and then."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, ...] -> the same shape and, on average, values."""
        if not self.training:
            return x
        kept = x.new_empty(len(x), *(1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * kept.div_(1 - self.rate)


@torch.no_grad()
def draw(weight: Tensor) -> None:
    """Fill with a normal distribution of mean 0 and std 0.02.

    By the inverse of its cumulative function, as timm does: a seed gives the network it always gave
    (versions of torch differ in how `trunc_normal_` draws).
    """
    weight.uniform_(-1, 1).erfinv_().mul_(_STD * 2**0.5).clamp_(-2, 2)


def look_up_bias(table: Tensor, index: Tensor) -> Tensor:
    """Numbers of a table for every two places: [R, A], int64 [N, N] -> [A, N, N].

    `index_select` adds up the table's gradient six times faster on a CPU. On a GPU it does so in no
    fixed order, so indexing stays there.
    """
    if table.device.type != "cpu":
        return table[index].permute(2, 0, 1)
    return table.T.index_select(1, index.flatten()).unflatten(1, index.shape)


def relative_position_index(window: int) -> Tensor:
    """int64 [N, N], N cells of a window: which row of the bias table two cells have."""
    row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    row, column = row.flatten(), column.flatten()
    down, right = row[:, None] - row[None], column[:, None] - column[None]
    return (down + window - 1) * (2 * window - 1) + right + window - 1
