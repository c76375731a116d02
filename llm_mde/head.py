"""Adaptation head: tokens go back to their grid, grow by convolutions that see the image, and
become depth in meters.

tokens [B, T, D] -> grid [B, D, h, w] -> 1x1 convolution -> stages of: up-sample x2, concatenate the
resized RGB image, 3x3 convolution, BatchNorm, LeakyReLU -> one channel, up-sampled to the image's
size -> max_depth * sigmoid.

LLM-MDE's adaptation head: up-sampling with the image concatenated, BatchNorm, LeakyReLU. The factor
max_depth is ours: the released code's depth lies in [0, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.config import require_at_least
from common.networks.fast.upsampling import upsample, upsample_to
from common.networks.layers import conv3x3


@dataclass(frozen=True)
class HeadConfig:
    """From tokens to depth."""

    channels: tuple[int, ...] = (256, 128, 64, 32)  # on the token grid, after each doubling of it

    def __post_init__(self) -> None:
        require_at_least(1, self, "channels")
        if not self.channels:
            raise ValueError("channels: give one size at least")


class UpStage(nn.Module):
    """Up-sample x2, concatenate the image, convolve."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = conv3x3(in_channels + 3, out_channels)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """x: [B, C, h, w]; image: [B, 3, H, W] -> [B, C', 2h, 2w]."""
        x = upsample(x, 2)
        rgb = F.interpolate(image, size=x.shape[-2:], mode="area").to(x.dtype)
        return F.leaky_relu(self.norm(self.conv(torch.cat((x, rgb), dim=1))))


class AdaptationHead(nn.Module):
    """Token grid and image -> metric depth, bounded by `max_depth` (meters)."""

    def __init__(self, config: HeadConfig, token_dim: int, max_depth: float):
        super().__init__()
        self.max_depth = max_depth
        self.project = nn.Conv2d(token_dim, config.channels[0], 1)
        sizes = zip(config.channels[:-1], config.channels[1:], strict=True)
        self.stages = nn.ModuleList(UpStage(fan_in, fan_out) for fan_in, fan_out in sizes)
        self.depth_conv = conv3x3(config.channels[-1], 1)

    def forward(self, tokens: Tensor, grid: tuple[int, int], image: Tensor) -> Tensor:
        """tokens: [B, T, D]; grid: rows, columns -> depth [B, 1, H, W], meters, float32."""
        x = tokens.transpose(1, 2).unflatten(-1, grid)  # [B, D, h, w]
        x = self.project(x)
        for stage in self.stages:
            x = stage(x, image)
        size = (image.shape[-2], image.shape[-1])
        logit = upsample_to(self.depth_conv(x).float(), size)  # [B, 1, H, W]
        return self.max_depth * torch.sigmoid(logit)
