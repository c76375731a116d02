"""Depth from words alone: scenes drawn from the distribution that a caption describes.

prior = stage.text_prior(model)
depth = sample_depths(prior, text_feature, (96, 128), seeds=[(0, n) for n in range(64)])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_AT_A_TIME = 16  # scenes


@dataclass(frozen=True)
class TextPrior:
    """What a network makes of words without a picture.

    text_dim: length of the text features. noise_shape: (H, W) -> shape of the eps that chooses one
    scene. decode: (text_feature [B, D], eps [B, *noise_shape], (H, W)) -> depth [B, 1, H, W] in
    meters; eps = 0 is the mean scene, and eps ~ N(0, 1) draws one.
    """

    text_dim: int
    noise_shape: Callable[[tuple[int, int]], tuple[int, ...]]
    decode: Callable[[Tensor, Tensor, tuple[int, int]], Tensor]


@torch.no_grad()
def sample_depths(
    prior: TextPrior,
    text_feature: Tensor,
    size: tuple[int, int],
    seeds: Sequence[Sequence[int]],
) -> Tensor:
    """Draw one scene for each of `seeds`: depth [N, 1, H, W] in meters, float32, on the CPU.

    text_feature: [D], on the network's device. size: (H, W). A scene is a function of the words and
    its own seed, whatever the others are.
    """
    noise = torch.stack([_noise(seed, prior.noise_shape(size)) for seed in seeds])
    parts = [
        prior.decode(text_feature.expand(len(eps), -1), eps.to(text_feature.device), size)
        for eps in noise.split(_AT_A_TIME)
    ]
    return torch.cat([part.float().cpu() for part in parts])


def _noise(seed: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    number = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))
