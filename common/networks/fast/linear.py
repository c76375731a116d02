"""A linear layer that takes the faster of PyTorch's two float32 libraries on a CPU.

`nn.Linear` asks MKL, which uses half of what a processor that is not Intel's can do; a 1x1
convolution is the same product by oneDNN. Numbers agree to rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.fast import takes_plain


def linear_plainly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b: [..., C] -> [..., C']."""
    return F.linear(x, weight, bias)


def linear_as_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same as a 1x1 convolution of a picture of one row: [..., C] -> [..., C']."""
    pixels = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)  # [1, C, 1, pixels]
    y = F.conv2d(pixels, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class FastLinear(nn.Module):
    """Takes over the parameters of a linear layer, under the same names."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., C] -> [..., C']."""
        is_fp32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        gains = x.device.type == "cpu" and is_fp32 and x.numel() and _MKL_IS_SLOW
        if not gains or takes_plain("fast-linear"):
            return linear_plainly(x, self.weight, self.bias)
        return linear_as_convolution(x, self.weight, self.bias)


def use_fast_linears(module: nn.Module) -> None:
    """Put a `FastLinear` in the place of every linear layer inside, whatever its depth."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, FastLinear(child))
        else:
            use_fast_linears(child)


def mkl_is_slow() -> bool:
    """Whether this processor has wide registers that MKL leaves unused: it is not Intel's."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_f")) and "Intel" not in able.get("cpu_name", "")


_MKL_IS_SLOW = mkl_is_slow()
