"""Any network of timm with features at strides 4, 8, 16 and 32, convolutional or hierarchical.

Data flow: image, ImageNet-normalized -> the network's own normalization -> timm's `features_only`
-> x2, x3, x4, x5 as [B, C, H, W].
"""

import copy
import difflib
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.networks.base_encoder import Encoder, Features
from common.networks.layers import padded_size
from common.networks.normalization import from_imagenet
from common.networks.timm_door import timm

KEY = "model.encoder.name"
PREFIX = "timm:"
STRIDES = (4, 8, 16, 32)


class TimmEncoder(Encoder):
    """Image features at strides 4, 8, 16 and 32; `channels` tells their sizes.

    drop_path: stochastic depth, where the network has it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        drop_path: float = 0.0,
        activation_checkpointing: bool = False,
    ):
        super().__init__()
        self.name, self.image_size = name, image_size
        body: Any = create_body(name, image_size, drop_path)  # with what timm adds to a module
        self.body: nn.Module = body
        self.outputs = _outputs(name, body.feature_info.reduction())
        channels = body.feature_info.channels()
        self.channels = tuple(int(channels[index]) for index in self.outputs)
        self.channels_last = getattr(body, "output_fmt", "NCHW") == "NHWC"
        if activation_checkpointing:
            _checkpoint_activations(name, body)
        scale, shift = from_imagenet(body.pretrained_cfg)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.only_size: torch.Size | None = None
        _check_shapes(self, _blank(image_size))
        if not _reads(self, (image_size[0] + 32, image_size[1] + 64)):
            self.only_size = _blank(image_size).shape[-2:]

    def forward(self, image: Tensor) -> Features:
        """image: [B, 3, H, W] ImageNet-normalized -> x2, x3, x4, x5."""
        if self.only_size is not None and image.shape[-2:] != self.only_size:
            raise UserError(
                f"{KEY}: timm:{self.name} was made for images of {_size(self.only_size)} and "
                f"cannot read {_size(image.shape[-2:])}"
            )
        features = self.body(image * self.scale + self.shift)
        x2, x3, x4, x5 = (features[index] for index in self.outputs)
        if self.channels_last:
            x2, x3, x4, x5 = (x.permute(0, 3, 1, 2) for x in (x2, x3, x4, x5))  # [B, C, H, W]
        return x2, x3, x4, x5


def create_body(
    name: str, image_size: tuple[int, int], drop_path: float = 0.0, pretrained: bool = False
) -> nn.Module:
    """timm's network without a classifier, for this image size where its layers depend on one.

    Constructors differ in what they know: the most that one takes is what it gets.
    """
    if not timm().is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm().list_models(), n=1, cutoff=0)
        raise UserError(f"{KEY}: timm has no network {name}; nearest: {near[0]}")
    sizes: list[dict[str, Any]] = [
        {"img_size": image_size, "strict_img_size": False, "always_partition": True},
        {"img_size": image_size, "strict_img_size": False},
        {"img_size": image_size},
        {},
    ]
    drops: list[dict[str, Any]] = [{"drop_path_rate": drop_path}, {}]
    for size, drop in product(sizes, drops):
        try:
            return timm().create_model(name, pretrained, features_only=True, **size, **drop)
        except (TypeError, AssertionError, RuntimeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__  # of the plainest try
    raise UserError(
        f"{KEY}: timm:{name} gives no features for images of {image_size[0]}x{image_size[1]}: "
        f"{reason}"
    )


def _outputs(name: str, strides: list[int]) -> tuple[int, ...]:
    """Which of the network's features are at strides 4, 8, 16 and 32 (the deepest of each)."""
    if not set(STRIDES) <= set(strides):
        found = ", ".join(str(stride) for stride in dict.fromkeys(strides))
        raise UserError(
            f"{KEY}: timm:{name} has features at strides {found} alone; the decoder needs 4, 8, 16 "
            "and 32: choose a convolutional or hierarchical network, no plain vision transformer"
        )
    return tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)


def _checkpoint_activations(name: str, body: nn.Module) -> None:
    if not hasattr(body, "set_grad_checkpointing"):
        raise UserError(
            f"model.encoder.activation_checkpointing: timm:{name} cannot do it; set it to false"
        )
    body.set_grad_checkpointing(True)  # type: ignore[operator]


def _check_shapes(encoder: TimmEncoder, image: Tensor) -> None:
    """UserError unless the features of this image stand at strides 4, 8, 16 and 32."""
    height, width = image.shape[-2:]
    try:
        features = _shadow(encoder)(image)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{KEY}: timm:{encoder.name} cannot read images of {height}x{width}: {reason}"
        ) from error
    wanted = [(c, height // s, width // s) for c, s in zip(encoder.channels, STRIDES, strict=True)]
    found = [tuple(x.shape[1:]) for x in features]
    if found != wanted:
        raise UserError(
            f"{KEY}: timm:{encoder.name} makes features of {found} from an image of "
            f"{height}x{width}, not at strides 4, 8, 16 and 32"
        )


def _reads(encoder: TimmEncoder, image_size: tuple[int, int]) -> bool:
    """Whether the network takes images of this size."""
    try:
        _check_shapes(encoder, _blank(image_size))
    except UserError:
        return False
    return True


def _shadow(encoder: TimmEncoder) -> TimmEncoder:
    """The same network of meta tensors, which have shapes and no numbers."""
    return copy.deepcopy(encoder).to("meta").eval()


def _blank(image_size: tuple[int, int]) -> Tensor:
    """A meta image [1, 3, H, W] of whole strides."""
    return torch.zeros(1, 3, *padded_size(image_size), device="meta")


def _size(size: torch.Size) -> str:
    return "x".join(str(side) for side in size)
