"""Small building blocks shared by the networks."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.runtime.processor import processor_features


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of the given sizes with LeakyReLU (0.01) between and none after the last."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


class FastLinear(nn.Linear):
    """`nn.Linear` that takes the faster of PyTorch's two float32 libraries on a CPU.

    `nn.Linear` asks MKL, which uses half of what a processor that is not Intel's can do; a 1x1
    convolution is the same product by oneDNN. Numbers agree to rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., C] -> [..., C']."""
        is_fp32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if x.device.type != "cpu" or not is_fp32 or not x.numel() or not _MKL_IS_SLOW:
            return super().forward(x)
        pixels = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)  # [1, C, 1, pixels]
        y = F.conv2d(pixels, self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)


def mkl_is_slow() -> bool:
    """Whether this processor has wide registers that MKL leaves unused: it is not Intel's."""
    features = processor_features()
    return "avx512f" in features and "GenuineIntel" not in features


_MKL_IS_SLOW = mkl_is_slow()


def conv3x3(fan_in: int, fan_out: int, *, groups: int = 1, replicate: bool = False) -> nn.Conv2d:
    """3x3 convolution, stride 1, padding 1 (zeros, or replicated borders)."""
    mode: Literal["replicate", "zeros"] = "replicate" if replicate else "zeros"
    return nn.Conv2d(fan_in, fan_out, 3, padding=1, groups=groups, padding_mode=mode)


def metric_depth(scale_and_shift: Tensor, logit: Tensor, prior_mean: float) -> Tensor:
    """sigmoid(m_0) * (exp(logit + prior_mean) + exp(m_1)), float32: [B, 2], [B, 1, H, W] -> meters.

    `prior_mean` is the mean log-depth of the data set (SPEC: 1.54 for NYU, 2.54 for KITTI).
    """
    scale, shift = scale_and_shift.float()[:, :, None, None, None].unbind(1)  # [B, 1, 1, 1]
    return torch.sigmoid(scale) * (torch.exp(logit.float() + prior_mean) + torch.exp(shift))


class Standardize(nn.Module):
    """(x - mean) / std per feature, with statistics of the training set; the identity until `fit`.

    The statistics are buffers, so a checkpoint carries them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, features: Tensor) -> None:
        """Take mean and standard deviation of `features` [N, dim]; constant features keep std 1."""
        std = features.std(dim=0, correction=0)
        self.mean.copy_(features.mean(dim=0))
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def trainable_parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """Every parameter of the modules that asks for a gradient, each once."""
    unique = {id(p): p for m in modules for p in m.parameters() if p.requires_grad}
    return list(unique.values())


def padded_size(size: Sequence[int], stride: int = 32) -> tuple[int, int]:
    """Height and width, rounded up to multiples of the network's stride."""
    return -(-size[0] // stride) * stride, -(-size[1] // stride) * stride


def pad_to_stride(image: Tensor, stride: int = 32) -> Tensor:
    """Repeat the last row and column until height and width are multiples of `stride`.

    image: [B, C, H, W]. A network pads its input so and crops its output to H, W again.
    """
    height, width = image.shape[-2:]
    bottom, right = padded_size((height, width), stride)
    if (bottom, right) == (height, width):
        return image
    return F.pad(image, (0, right - width, 0, bottom - height), mode="replicate")


def check_divisible(size: Sequence[int], divisor: int = 32) -> None:
    """Raise ValueError unless height and width are multiples of the network's stride."""
    if any(s % divisor for s in size):
        raise ValueError(f"height and width must be divisible by {divisor}, got {tuple(size)}")
