"""What every image encoder is: features at strides 4, 8, 16 and 32, all or part of it frozen.

WorDepth's is a Swin-L, from the released code. `encoder.py` lists the encoders that there are.
"""

import copy

import torch
from torch import Tensor

from common.networks.layers import Freezable

Features = tuple[Tensor, Tensor, Tensor, Tensor]


class Encoder(Freezable):
    """Image features at strides 4, 8, 16 and 32, for any height and width that 32 divides.

    channels: sizes of x2, x3, x4, x5; decoders take theirs from here alone.
    """

    channels: tuple[int, ...]

    def forward(self, image: Tensor) -> Features:
        """image: [B, 3, H, W] ImageNet-normalized -> x2, x3, x4, x5: [B, C_i, H/2^i, W/2^i]."""
        raise NotImplementedError

    @torch.inference_mode(False)
    @torch.enable_grad()
    def train_one_output(self, index: int, image_size: tuple[int, int]) -> None:
        """Only this output will be read: what does not lead to it is not trained.

        Found on a copy of meta tensors, which have shapes and no numbers. image_size: (H, W), which
        32 divides.
        """
        shadow = copy.deepcopy(self).to("meta").eval().requires_grad_()
        shadow(torch.zeros(1, 3, *image_size, device="meta"))[index].sum().backward()
        for own, its in zip(self.parameters(), shadow.parameters(), strict=True):
            if its.grad is None:
                own.requires_grad_(False)
