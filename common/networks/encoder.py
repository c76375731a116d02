"""What gives the decoders their image features: any network with maps at strides 4, 8, 16 and 32.

WorDepth's is a Swin-L, from the released code.

`model.encoder.name` chooses it: one of `ENCODERS`, as `swin`, the published one (`swin.py`), or
`timm:NAME`, any network of timm with features at these strides (`timm_encoder.py`).
`model.encoder.weights` says what it starts from (`encoder_weights.py`). Decoders take their channel
sizes from the encoder object alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from common.networks.base_encoder import Encoder
from common.networks.layers import trainable_parameters
from common.networks.swin import SwinConfig, SwinEncoder
from common.networks.timm_encoder import PREFIX, TimmEncoder


@dataclass(frozen=True)
class EncoderConfig(SwinConfig):
    """Which encoder, and how it learns. Swin's sizes are read for `swin` alone."""

    name: str = "swin"  # swin (published), or timm:NAME with features at strides 4, 8, 16 and 32
    lr_factor: float = 1.0  # its learning rate is so many times that of everything else
    frozen: bool = False  # keeps its weights, and stays in evaluation mode
    # `frozen` normalizes with the stored statistics in training, too (small batches); scales and
    # shifts are trained all the same.
    batch_norm: Literal["train", "frozen"] = "train"

    def __post_init__(self) -> None:
        if self.name == "swin":
            super().__post_init__()
        elif not self.is_timm and self.name not in ENCODERS:
            raise ValueError(f"name: must be {', '.join(ENCODERS)} or timm:NAME, not {self.name!r}")
        elif self.is_timm and self._has_weights_of_another():
            raise ValueError(
                f"weights: {self.weights} is of another network than {self.name}; set "
                "model.encoder.weights=pretrained, a file, or null"
            )
        if not self.lr_factor > 0:
            raise ValueError("lr_factor: must be above 0; to keep the weights set frozen")

    @property
    def is_timm(self) -> bool:
        """Whether it is a network of timm."""
        return self.name.startswith(PREFIX) and self.name != PREFIX

    def _has_weights_of_another(self) -> bool:
        weights = self.weights or ""
        return weights.startswith(PREFIX) and _architecture(weights) != _architecture(self.name)


def _architecture(name: str) -> str:
    """`timm:convnext_tiny.fb_in1k` -> convnext_tiny."""
    return name.removeprefix(PREFIX).partition(".")[0]


def _build_timm(config: EncoderConfig, image_size: tuple[int, int]) -> Encoder:
    return TimmEncoder(
        config.name.removeprefix(PREFIX),
        image_size,
        drop_path=config.drop_path,
        activation_checkpointing=config.activation_checkpointing,
    )


# What model.encoder.name may say beside timm:NAME, and what builds it for images of a size (H, W).
ENCODERS: Mapping[str, Callable[[EncoderConfig, tuple[int, int]], Encoder]] = {
    "swin": SwinEncoder,
}


def build_encoder(config: EncoderConfig, image_size: tuple[int, int]) -> Encoder:
    """The encoder that the config names, with random weights; image_size: the data set's (H, W)."""
    build = _build_timm if config.is_timm else ENCODERS[config.name]
    encoder = build(config, image_size)
    encoder.freeze(config.frozen, batch_norm=config.batch_norm == "frozen")
    return encoder


def parameter_groups(model: nn.Module, encoder: nn.Module, config: EncoderConfig) -> list[dict]:
    """The optimizer's groups of what `model` trains: one, or the encoder's apart.

    The encoder's has the key `lr_factor`, by which its learning rate is to be multiplied.
    """
    parameters = trainable_parameters(model)
    if config.lr_factor == 1:
        return [{"params": parameters}]
    inside = {id(p) for p in encoder.parameters()}
    groups: list[dict] = [
        {"params": [p for p in parameters if id(p) not in inside]},
        {"params": [p for p in parameters if id(p) in inside], "lr_factor": config.lr_factor},
    ]
    return [group for group in groups if group["params"]]
