"""Small building blocks shared by the networks, and the two formulas that all of them use.

From Figure 2 of WorDepth (Zeng et al., CVPR 2024, arXiv 2404.03635): `reparameterize`. From the
released code: the MLPs, `two_convs`, and `metric_depth`, which brings a depth map to meters.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from common.networks.fast import takes_plain

_MOST_GATHERED, _CHUNK = 2**26, 2**12  # numbers, rows


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of the given sizes with LeakyReLU (0.01) between and none after the last."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


def std_of(logvar: Tensor) -> Tensor:
    """Standard deviation of a Gaussian whose networks give the logarithm of its variance."""
    return torch.exp(logvar / 2)


def reparameterize(mean: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """z = mean + std * eps (WorDepth, Figure 2): which scene of the text's distribution it is.

    Where eps comes from is what the stages differ in: noise, or a network that sees the image.
    Gradients reach all three.

    mean, logvar: [B, C]. eps: [B, C], or [B, C, h, w] for a draw in every cell; so is the result.
    """
    shape = (*mean.shape, *(1,) * (eps.ndim - mean.ndim))
    return mean.view(shape) + std_of(logvar).view(shape) * eps


def conv3x3(fan_in: int, fan_out: int, *, groups: int = 1, replicate: bool = False) -> nn.Conv2d:
    """3x3 convolution, stride 1, padding 1 (zeros, or replicated borders)."""
    kind = _ReplicatedBorders if replicate else nn.Conv2d
    return kind(fan_in, fan_out, 3, padding=1, groups=groups)


class _ReplicatedBorders(nn.Conv2d):
    """A 3x3 convolution whose picture goes on beyond its border with the border's numbers.

    A compiled step puts the border on by hand: the compiler (PyTorch 2.11 to 2.14) takes the
    gradient of `F.pad`'s "replicate" for contiguous where it is channels_last.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _is_compiled_step():
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        else:
            x = torch.cat((x[:, :, :1], x, x[:, :, -1:]), dim=2)
            x = torch.cat((x[..., :1], x, x[..., -1:]), dim=3)
        return F.conv2d(x, weight, bias, groups=self.groups)


def metric_depth(scale_and_shift: Tensor, logit: Tensor, prior_mean: float) -> Tensor:
    """sigmoid(m_0) * (exp(logit + prior_mean) + exp(m_1)), float32: [B, 2], [B, 1, H, W] -> meters.

    From the released code. prior_mean: mean log-depth of the data set, so that a fresh network,
    whose last layer says about 0, starts from a typical depth. The scale is below 1 and the shift
    above 0, so depth stays positive whatever they are. float32 under autocast, too: an exponential
    of bf16 would be off by a per cent.
    """
    scale, shift = scale_and_shift.float()[:, :, None, None, None].unbind(1)  # [B, 1, 1, 1]
    return torch.sigmoid(scale) * (torch.exp(logit.float() + prior_mean) + torch.exp(shift))


def greatest(x: Tensor) -> Tensor:
    """Of every channel over all places: [B, C, h, w] -> [B, C].

    Places that share it share its gradient. A compiled step gives it to one of them: it computes x
    anew for the backward pass, with other roundings, and would find the greatest nowhere (0 / 0).
    """
    return x.flatten(2).max(2).values if _is_compiled_step() else x.amax((-2, -1))


def _is_compiled_step() -> bool:
    """A graph for training; exports, which ask for plain forms, are compiled too."""
    return torch.compiler.is_compiling() and not takes_plain("compiler-proof")


def known_mean(prior_mean: float | None) -> float:
    """The mean log-depth of a network's config; ValueError while it is not filled in."""
    if prior_mean is None:
        raise ValueError("prior_mean: the mean log-depth is not known; give it, as 1.54 for NYU")
    return prior_mean


def in_gpu_order(x: Tensor) -> Tensor:
    """The same numbers, on a GPU with the channels of a pixel side by side (`channels_last`).

    Convolutions and up-sampling are fastest there in this order, in which the encoder's features
    come. Every layer keeps the order of what it is given, and what is concatenated with another
    order falls back to the default, so whatever else enters a decoder goes through here.
    """
    return x.contiguous(memory_format=torch.channels_last) if _is_gpu(x) else x


def in_autocast_type(x: Tensor) -> Tensor:
    """As autocast would hand it to each convolution that reads it; without autocast as it is."""
    device = x.device.type
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))


def _is_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"


def two_convs(fan_in: int, fan_out: int) -> nn.Sequential:
    """3x3 convolution, LeakyReLU, 3x3 convolution: what every refinement is made of."""
    return nn.Sequential(conv3x3(fan_in, fan_in), nn.LeakyReLU(), conv3x3(fan_in, fan_out))


class Standardize(nn.Module):
    """(x - mean) / std per feature, with statistics of the training set; the identity until `fit`.

    Ours, for encoders whose features differ little; the published networks read them as they are.

    The statistics are buffers, so a checkpoint carries them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, features: Tensor, rows: Tensor) -> None:
        """Take mean and standard deviation of `features[rows]`; constant features keep std 1.

        features: [M, dim]. rows: int64 [N]; images may share one.
        """
        mean, std = _mean_and_std(features, rows)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _mean_and_std(features: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Of `features[rows]`, which is not made where it would be large."""
    if rows.numel() * features.shape[1] <= _MOST_GATHERED:
        gathered = features[rows].float()  # [N, dim]
        return gathered.mean(dim=0), gathered.std(dim=0, correction=0)
    shares = rows.bincount(minlength=len(features)).double() / len(rows)  # [M]
    parts = list(zip(shares.split(_CHUNK), features.split(_CHUNK), strict=True))
    mean = torch.stack([share @ part.double() for share, part in parts]).sum(0)
    squares = [share @ (part.double() - mean).square() for share, part in parts]
    return mean, torch.stack(squares).sum(0).sqrt()


class Freezable(nn.Module):
    """A network of which all, or only the batch normalization, can be frozen."""

    is_frozen = False
    has_frozen_batch_norm = False

    def freeze(self, everything: bool, batch_norm: bool) -> None:
        """everything: no gradients, always evaluation mode. batch_norm: stored statistics."""
        self.is_frozen, self.has_frozen_batch_norm = everything, batch_norm
        if everything:
            self.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Freezable":
        """What is frozen stays in evaluation mode while the parent trains."""
        super().train(mode and not self.is_frozen)
        if self.has_frozen_batch_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """Batch normalization keeps its running statistics as they are, in training mode too."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


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
