"""Random weights that are the same on every machine, because a checkpoint may only name their seed.

Torch's normal draws differ in the last bit between processors; a scaled 24-bit fraction does not.
Ours, for networks that need no download.
"""

import numpy as np
import torch
from torch import nn


@torch.no_grad()
def fill_with_random(module: nn.Module, std: float, seed: int) -> None:
    """Draw matrices (and larger tensors) uniformly with mean 0 and `std`; biases become 0.

    Other vectors, the scales of norms, stay as they are: 1.
    """
    rng = np.random.default_rng(seed)
    width = np.float32(std * np.sqrt(12))
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            draws = rng.random(tuple(parameter.shape), dtype=np.float32) - np.float32(0.5)
            parameter.copy_(torch.from_numpy(draws * width))
        elif name.endswith("bias"):
            parameter.zero_()
