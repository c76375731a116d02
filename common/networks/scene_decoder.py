"""Scene decoder: one latent vector becomes a pyramid of scene features.

Where it stands: the decoder of the text-VAE in Figure 2 of WorDepth (Zeng et al., CVPR 2024); its
layers are from the released code of the staged system. The joint network has no such grid: there
the latent is one vector for every cell (`stage3_depth/joint_model.py`).

Data flow: z -> 4x4 -> 8x8 -> H/32 x W/32 -> H/16 (f0) -> f1 (H/16), f2 (H/8), f3 (H/4).
Legend: L latent size (256), C code size (128). f4, the full-resolution sum of f1..f3, is only built
when asked for (`SceneFeatures.dense`): depth heads work on the levels, see `fast/depth_head.py`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.fast import kept
from common.networks.fast.depth_head import sum_upsampled
from common.networks.fast.upsampling import upsample, upsample_to
from common.networks.layers import check_divisible, conv3x3, in_gpu_order, two_convs

LEVEL_SCALES = (16, 8, 4)  # how much smaller f1, f2, f3 are than the image


@dataclass(frozen=True)
class SceneFeatures:
    """f0: [B, L, H/16, W/16]; levels f1, f2, f3: [B, C, ...] at strides 16, 8 and 4."""

    f0: Tensor
    levels: tuple[Tensor, Tensor, Tensor]

    def dense(self) -> Tensor:
        """f4: [B, C, H, W], the sum of the three up-sampled levels."""
        return sum_upsampled(self.levels, LEVEL_SCALES)


class SceneDecoder(nn.Module):
    """z [B, L] -> `SceneFeatures` for any height and width divisible by 32.

    A vector knows no places, so it is spread over a grid that grows in three steps ("smooth grid"),
    and each step adds a code of row and column before it convolves: without it all cells would stay
    alike, but for the borders. From the released code.
    """

    def __init__(self, latent_dim: int, code_channels: int):
        super().__init__()
        self.latent_dim, self.code_channels = latent_dim, code_channels
        self.grid = nn.ModuleList(conv3x3(latent_dim, latent_dim, replicate=True) for _ in range(3))
        self.refine4 = two_convs(latent_dim, code_channels)
        self.refine3 = two_convs(code_channels, code_channels)
        self.refine2 = two_convs(code_channels, code_channels)
        self.activation = nn.LeakyReLU()

    def forward(self, z: Tensor, size: tuple[int, int]) -> SceneFeatures:
        check_divisible(size)
        x = z[:, :, None, None].expand(-1, -1, 4, 4)  # [B, L, 4, 4], up-sampled from one cell
        x = self.place(0, x)
        x = self.place(1, upsample(x, 2))
        coarse = (size[0] // 32, size[1] // 32)  # [B, L, H/32, W/32]: here the image's aspect comes
        x = self.place(2, F.interpolate(x, coarse, mode="bilinear", align_corners=False))
        x = in_gpu_order(x)
        f0 = upsample_to(x, (size[0] // 16, size[1] // 16))  # [B, L, H/16, W/16]
        f1 = self.refine4(f0)  # [B, C, H/16, W/16]
        f2 = self.refine3(upsample(f1, 2))  # [B, C, H/8, W/8]
        f3 = self.refine2(upsample(f2, 2))  # [B, C, H/4, W/4]
        return SceneFeatures(f0, (f1, f2, f3))

    def place(self, index: int, x: Tensor) -> Tensor:
        """Add the position code, then convolution `index` of the grid and LeakyReLU."""
        height, width = x.shape[-2:]
        code = position_code(self.latent_dim, height, width, x.device).to(x.dtype)
        return self.activation(self.grid[index](x + code))


@kept(64)
def position_code(
    channels: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Tensor:
    """[1, C, H, W] sine code: the first half of the channels encodes the column, the rest the row.

    Within a half, channel 2k is sin(p w_k) and 2k+1 is cos(p w_k), w_k = 10000^(-2k / (C/2)).
    """
    half = channels // 2
    frequency = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(0, half, 2) / half)

    def encode(count: int) -> Tensor:
        angle = torch.arange(count)[None, :] * frequency[:, None]
        return torch.stack((angle.sin(), angle.cos()), dim=1).flatten(0, 1)  # [C/2, count]

    columns = encode(width)[:, None, :].expand(half, height, width)
    rows = encode(height)[:, :, None].expand(half, height, width)
    return torch.cat((columns, rows))[None].to(device)
