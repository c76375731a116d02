"""Swin Transformer encoder (Liu et al. 2021) with the published depth networks' padding.

Where it stands: the image encoder of WorDepth (Zeng et al., CVPR 2024). Which Swin it is (Swin-L, a
norm on each output, an absolute position embedding) is from the released code.

Data flow: image [B, 3, H, W] -> patches at stride 4 -> four stages -> x2, x3, x4, x5 with embed_dim
times 1, 2, 4, 8 channels at strides 4, 8, 16, 32, each through a LayerNorm of its own. Any H and W
will do: zeros are added at the bottom and right, of the image for whole patches and of a grid for
whole pairs, so sizes are rounded up at every stride.

Two things differ from timm, so that published weights give published numbers: windows are padded
first and rolled then (timm: the other way round), and the window keeps its size where the grid is
smaller (`always_partition`). An absolute position embedding is added after the patch embedding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from common.config import require_at_least
from common.networks.base_encoder import Encoder, Features
from common.networks.fast.linear import use_fast_linears
from common.networks.swin_parts import SwinBody


@dataclass(frozen=True)
class SwinConfig:
    """Swin-L by default."""

    embed_dim: int = 192  # channels at stride 4; they double with every stage
    depths: tuple[int, ...] = (2, 2, 18, 2)  # blocks of the four stages
    num_heads: tuple[int, ...] = (6, 12, 24, 48)  # of attention, in each stage
    window_size: int = 12  # cells on a side of an attention window
    drop_path: float = 0.2  # stochastic depth of the last block, linear over depth, in training
    absolute_position: bool = True  # a learned position embedding at stride 4
    activation_checkpointing: bool = False  # less memory for one more forward pass of the encoder
    # What to start from: pretrained, timm:NAME, a file (also file:PATH, package:NAME/PATH), or a
    # checkpoint of this project or of the authors; None: random.
    weights: str | None = None

    def __post_init__(self) -> None:
        require_at_least(1, self, "embed_dim", "depths", "num_heads", "window_size")
        if len(self.depths) != 4 or len(self.num_heads) != 4:
            raise ValueError("depths: Swin has four stages, so give four depths and four num_heads")
        if any(self.embed_dim * 2**i % heads for i, heads in enumerate(self.num_heads)):
            raise ValueError("num_heads: each must divide its stage's channels embed_dim * 2^i")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path: must be in [0, 1), not {self.drop_path}")


class SwinEncoder(Encoder):
    """Image features at strides 4, 8, 16 and 32; `channels` tells their sizes."""

    def __init__(self, config: SwinConfig, image_size: tuple[int, int]):
        super().__init__()
        self.config = config
        self.channels = tuple(config.embed_dim * 2**i for i in range(4))
        self.body = SwinBody(
            config.embed_dim,
            config.depths,
            config.num_heads,
            config.window_size,
            config.drop_path,
        )
        use_fast_linears(self.body)
        # stages add up their blocks' outputs without a last norm, as the next one begins with one
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)
        self.position: nn.Parameter | None = None
        if config.absolute_position:
            grid = (-(-image_size[0] // 4), -(-image_size[1] // 4))
            self.position = nn.Parameter(torch.zeros(1, config.embed_dim, *grid))
            nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, image: Tensor) -> Features:
        """image: [B, 3, H, W] ImageNet-normalized -> x2, x3, x4, x5."""
        image = F.pad(image, (0, -image.shape[-1] % 4, 0, -image.shape[-2] % 4))
        x = self.body.patch_embed(image)  # [B, H/4, W/4, C]
        if self.position is not None:
            x = x + self._position_for(x.shape[1:3])
        features = []
        for stage, norm in zip(self.body.layers, self.norms, strict=True):
            x = stage.downsample(x)  # type: ignore[operator]
            for block in stage.blocks:  # type: ignore[union-attr]
                x = self._run_block(block, x)
            features.append(norm(x).permute(0, 3, 1, 2))  # [B, C_i, H_i, W_i]
        x2, x3, x4, x5 = features
        return x2, x3, x4, x5

    def _position_for(self, grid: torch.Size) -> Tensor:
        assert self.position is not None
        position: Tensor = self.position
        if position.shape[-2:] != grid:
            position = F.interpolate(position, size=tuple(grid), mode="bicubic")
        return position.permute(0, 2, 3, 1)  # [1, H/4, W/4, C]

    def _run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.config.activation_checkpointing and self.training:
            return checkpoint(block, x, use_reentrant=False)
        return block(x)
