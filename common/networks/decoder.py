"""Decoder parts that the staged and the joint network share.

Where they stand: inside the depth decoder of WorDepth (Zeng et al., CVPR 2024); every layer here is
from the released code. Two streams run through the decoder side by side: image features x, and the
depth code d, which starts from the latent of the words (joint) or from x (staged). `Up` brings x
one scale up, `Refine` lets both read each other, `Fuse` (staged only) adds the prior's features.

Legend: x image features, d depth code, f scene features of the language prior.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import UserError
from common.networks.base_encoder import Encoder
from common.networks.encoder import EncoderConfig
from common.networks.fast.upsampling import upsample
from common.networks.layers import conv3x3, in_autocast_type, two_convs

GROUPS = 4  # of the shuffled path of `Up`


class Up(nn.Module):
    """Up-sample x2, concatenate [skip, up], then a direct and a shuffled-group path, added.

    From the released code. The shuffle deals each group channels of the skip and of what was
    up-sampled, else the grouped convolution would see only one of them. The norms keep nothing of
    an image's contrast, so that absolute values reach the depth by the direct path.
    """

    def __init__(self, skip_channels: int, up_channels: int, out_channels: int):
        super().__init__()
        both = skip_channels + up_channels
        self.direct = conv3x3(both, out_channels)
        self.mix = nn.Sequential(
            nn.ChannelShuffle(GROUPS),
            conv3x3(both, both, groups=GROUPS),
            nn.InstanceNorm2d(both),
            nn.LeakyReLU(),
            conv3x3(both, out_channels),
            nn.InstanceNorm2d(out_channels),
            nn.LeakyReLU(),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x: [B, up, h, w]; skip: [B, skip, 2h, 2w] -> [B, out, 2h, 2w]."""
        skip = in_autocast_type(skip)  # for all that read it
        both = torch.cat((skip, upsample(x, 2).to(skip.dtype)), dim=1)
        return self.direct(both) + self.mix(both)


class Refine(nn.Module):
    """cat[x, d] -> a new d, and a new x unless this is the last one (nothing reads it there).

    From the released code, which computes and stores the unread x of the last one, too.
    """

    def __init__(self, x_channels: int, code_channels: int, new_x: bool = True):
        super().__init__()
        both = x_channels + code_channels
        self.to_code = two_convs(both, code_channels)
        self.to_x = two_convs(both, x_channels) if new_x else None

    def forward(self, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """x: [B, X, h, w]; d: [B, C, h, w] -> the same shapes."""
        both = torch.cat((x, d.to(x.dtype)), dim=1)
        return (self.to_x(both) if self.to_x is not None else x), self.to_code(both)


class Fuse(nn.Conv2d):
    """1x1 convolution of cat[d, f] to the code's channels; without f, the same with f = 0.

    From the released code: where the words' scene enters the depth estimator of stage 3. f = 0 is
    the control without language: the same parameters and nothing to read.
    """

    def __init__(self, code_channels: int, scene_channels: int):
        super().__init__(code_channels + scene_channels, code_channels, 1)

    def forward(self, d: Tensor, f: Tensor | None) -> Tensor:  # type: ignore[override]
        """d: [B, C, h, w]; f: [B, F, h, w] or None -> [B, C, h, w]."""
        if f is None:
            return F.conv2d(d, self.weight[:, : d.shape[1]], self.bias)
        return super().forward(torch.cat((d, f.to(d.dtype)), dim=1))


def check_decoder_channels(channels: tuple[int, ...], encoder: EncoderConfig) -> None:
    """ValueError, as a config raises it, unless the decoder can be built with these sizes."""
    if len(channels) != 3:
        raise ValueError("decoder_channels: give three sizes, for strides 16, 8 and 4")
    from_swin = (encoder.embed_dim,) if encoder.name == "swin" else ()
    if any(size % GROUPS for size in (*channels, *from_swin)):
        raise ValueError(
            "decoder_channels: each, and encoder.embed_dim, must be divisible by 4 (groups)"
        )


def check_groups(encoder: Encoder, config: EncoderConfig) -> None:
    """UserError unless what `Up` concatenates with the encoder's features comes in four groups."""
    c2, c3, c4, c5 = encoder.channels
    if any(size % GROUPS for size in (c2, c3, c4 + c5)):
        raise UserError(
            f"model.encoder.name: {config.name} has features of {c2}, {c3}, {c4} and {c5} "
            "channels; the decoder needs the first two, and the sum of the last two, to be "
            f"divisible by {GROUPS} (groups); choose another network"
        )
