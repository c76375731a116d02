"""Vision encoder: a timm vision transformer turns the image into a grid of patch tokens.

image [B, 3, H, W] -> resized to `image_size` -> ViT -> the class token dropped -> [B, T, C].

An image of another size than the data set's (KITTI's full crop beside the random crop of training)
is resized by the same factors, so that a token covers the same area and the grid keeps its aspect.

LLM-MDE's: ViT-B/16 with LoRA. Ours: sizes that keep the aspect (published: 224x224), the
normalization its weights were trained with, a ViT that is trained as a whole, and which token is
dropped (the released code: the last patch).
"""

import difflib
from dataclasses import dataclass, replace
from typing import Any, Literal

import timm
import torch
from timm.models import load_checkpoint
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from common.config import require_at_least
from common.config_values import resolve_path
from common.errors import UserError
from common.images.transforms import IMAGENET_MEAN, IMAGENET_STD
from common.networks.normalization import from_imagenet, reading_of, require_known_reading
from common.runtime.hub import load_from_hub
from common.runtime.torchscript import is_archive, read_archive
from llm_mde.frozen import portable_path
from llm_mde.image_tokens import HeightWidth, fit_grid, resize, size_of
from llm_mde.lora import add_lora
from llm_mde.random_weights import fill_with_random

INIT_STD = 0.02  # of timm's vision transformers
OWN = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}  # random weights read images as they come


@dataclass(frozen=True)
class VisionConfig:
    """Which vision transformer, with which weights, and what of it is trained.

    Where `model.encoder` is given, that one takes its place, and only image_size is read.
    """

    name: str = "vit_base_patch16_224"  # of timm
    weights: str | None = "pretrained"  # downloaded by timm; or a file; None: random, from the seed
    train: Literal["lora", "full"] = "lora"  # frozen, with adapters; or all of it is trained
    lora_rank: int = 160  # of the adapters; 0: none
    lora_alpha: int = 320  # their scale is lora_alpha / lora_rank
    # Height and width that the encoder sees, rounded to whole patches (model.encoder: to multiples
    # of 32); images of another size than the data set's get more or fewer tokens in proportion.
    image_size: tuple[int, ...] = (192, 256)
    embed_dim: int | None = None  # width of a network with random weights; None: as named
    depth: int | None = None  # its layers
    num_heads: int | None = None  # its heads of attention
    patch_size: int | None = None  # pixels on a side of its patches

    def __post_init__(self) -> None:
        require_at_least(0, self, "lora_rank", "lora_alpha")
        require_at_least(1, self, "image_size", "embed_dim", "depth", "num_heads", "patch_size")
        if len(self.image_size) != 2:
            raise ValueError("image_size: give height and width")
        if self.weights is not None and self.sizes():
            raise ValueError(f"{next(iter(self.sizes()))}: only with weights: null")
        if self.embed_dim and self.num_heads and self.embed_dim % self.num_heads:
            raise ValueError(
                f"num_heads: {self.num_heads} does not divide embed_dim {self.embed_dim}"
            )

    def portable(self) -> "VisionConfig":
        """The same from any current folder: a weights file is named by its place."""
        if self.weights in (None, "pretrained"):
            return self
        path = resolve_path(str(self.weights), typed_by_hand=True)
        return replace(self, weights=portable_path(path))

    def sizes(self) -> dict[str, int]:
        """The sizes that differ from the named network's."""
        names = ("embed_dim", "depth", "num_heads", "patch_size")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class VisionEncoder(nn.Module):
    """Image -> patch tokens; see the module's docstring. data_size: (H, W) of the data set."""

    scale: Tensor
    shift: Tensor

    def __init__(self, config: VisionConfig, body: VisionTransformer, data_size: HeightWidth):
        super().__init__()
        self.config, self.body, self.data_size = config, body, data_size
        self.dim = body.embed_dim
        self.max_tokens: int | None = None
        if config.train == "lora":
            add_lora(body, ["qkv"], config.lora_rank, config.lora_alpha)
        scale, shift = from_imagenet(OWN if config.weights is None else body.pretrained_cfg)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def train(self, mode: bool = True) -> "VisionEncoder":
        """A frozen network has no dropout, also while its adapters train."""
        super().train(mode)
        self.body.train(mode and self.config.train == "full")
        return self

    @property
    def named_parts(self) -> dict[str, nn.Module]:
        """A checkpoint names the pretrained network, whose frozen weights it does not hold."""
        return {"vision": self.body}

    def grid_size(self, size: HeightWidth) -> HeightWidth:
        """Rows and columns of patches for an image of `size`: see `fit_grid`."""
        patch = self.body.patch_embed.patch_size
        return fit_grid(size, self.data_size, self.config.image_size, patch, self.max_tokens)

    def forward(self, image: Tensor) -> Tensor:
        """image: [B, 3, H, W], ImageNet-normalized -> [B, T, C], row by row of the token grid."""
        grid = self.grid_size(size_of(image))
        rows, columns = self.body.patch_embed.patch_size
        image = resize(image, (grid[0] * rows, grid[1] * columns))
        tokens = self.body.forward_features(image * self.scale + self.shift)
        return tokens[:, self.body.num_prefix_tokens :]  # [B, T, C]


def build_vision_body(
    config: VisionConfig, seed: int, pretrained: bool = True
) -> VisionTransformer:
    """The named network with the configured weights; without `pretrained` they come later."""
    if config.weights is None:
        body = create_vit(config)
        if config.train == "lora":
            fill_with_random(body, INIT_STD, seed)
        return body
    if not pretrained:
        return create_vit(config)
    is_file = config.weights != "pretrained"
    return load_from_hub(
        f"vision weights of {config.name}",
        "on a machine without network name a file in model.vision.weights, or null for random ones",
        lambda: _from_file(config) if is_file else create_vit(config, pretrained=True),
        is_local=is_file,
    )


def _from_file(config: VisionConfig) -> VisionTransformer:
    path = resolve_path(str(config.weights), typed_by_hand=True)
    if not path.is_file():
        raise UserError(f"model.vision.weights: no file {path}; name one, or pretrained")
    body = create_vit(config)
    if is_archive(path):
        found = checkpoint_filter_fn(read_archive(path), body)
        loaded = body.load_state_dict(found, strict=False)
    else:
        loaded = load_checkpoint(
            body,
            str(path),
            strict=False,
            filter_fn=checkpoint_filter_fn,
            weights_only=True,  # older versions of timm run pickled code else
        )
    missing = loaded.missing_keys if loaded else []  # None: of a .npz file, which has to be whole
    if missing:  # they would stay random
        raise UserError(
            f"model.vision.weights: {path} lacks {len(missing)} weights of {config.name}, first "
            f"{missing[0]}; it is of another network"
        )
    return body


def check_vision_weights(config: VisionConfig) -> str | None:
    """Which weights the vision transformer starts from, and how they read images, for the log.

    A `UserError` where a file does not say that; None: random weights.
    """
    if config.weights is None:
        return None
    if config.weights != "pretrained":
        path = resolve_path(config.weights, typed_by_hand=True)
        require_known_reading(config.name, path, "model.vision.name")
    reading = reading_of(config.name)
    line = f"vision starts from {config.weights}: images with {reading}"
    if reading.quick_gelu and "quickgelu" not in config.name:
        line += f", but the network has GELU; {config.name.replace('_clip_', '_clip_quickgelu_')}"
        line += " is the one they were trained in"
    return line


def vision_width(config: VisionConfig) -> int:
    """Width of the tokens, before any weight is made."""
    with torch.device("meta"):
        return create_vit(config).embed_dim


def create_vit(config: VisionConfig, **options: Any) -> VisionTransformer:
    """timm's network without a classifier. Pretrained position codes keep the size they have."""
    name = config.name.partition(".")[0]
    if name not in timm.list_models():
        near = difflib.get_close_matches(name, timm.list_models("vit_*"), n=3, cutoff=0.0)
        raise UserError(
            f"model.vision.name: timm has no model {config.name}; nearest: {', '.join(near)}"
        )
    sizes: dict[str, Any] = config.sizes()
    if config.weights is None:
        sizes["img_size"] = config.image_size
    try:
        body = timm.create_model(
            config.name, num_classes=0, dynamic_img_size=True, **sizes, **options
        )
    except (AssertionError, TypeError) as error:
        raise UserError(
            f"model.vision: cannot build {config.name} with {config.sizes()}: {error}; name a "
            "plain vision transformer (vit_*), with embed_dim divisible by num_heads"
        ) from error
    if not isinstance(body, VisionTransformer):
        raise UserError(f"model.vision.name: {config.name} is no plain vision transformer (vit_*)")
    if 0 in body.patch_embed.grid_size:
        raise UserError(
            f"model.vision.image_size: {config.image_size} is smaller than a patch "
            f"{body.patch_embed.patch_size}"
        )
    return body
