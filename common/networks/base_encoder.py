"""What every image encoder is: features at strides 4, 8, 16 and 32, all or part of it frozen.

WorDepth's is a Swin-L, from the released code. `encoder.py` lists the encoders that there are.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Features = tuple[Tensor, Tensor, Tensor, Tensor]


class Encoder(nn.Module):
    """Image features at strides 4, 8, 16 and 32, for any height and width that 32 divides.

    channels: sizes of x2, x3, x4, x5; decoders take theirs from here alone.
    """

    channels: tuple[int, ...]
    is_frozen = False
    has_frozen_batch_norm = False

    def forward(self, image: Tensor) -> Features:
        """image: [B, 3, H, W] ImageNet-normalized -> x2, x3, x4, x5: [B, C_i, H/2^i, W/2^i]."""
        raise NotImplementedError

    def freeze(self, everything: bool, batch_norm: bool) -> None:
        """everything: no gradients, always evaluation mode. batch_norm: stored statistics."""
        self.is_frozen, self.has_frozen_batch_norm = everything, batch_norm
        if everything:
            self.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Encoder":
        """What is frozen stays in evaluation mode while the parent trains."""
        super().train(mode and not self.is_frozen)
        if self.has_frozen_batch_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

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
