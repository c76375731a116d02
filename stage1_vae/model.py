"""Text-VAE: a caption's feature becomes a distribution of scenes, a latent becomes depth in meters.

Where it stands: the text-VAE of WorDepth's Figure 2 (Zeng et al., CVPR 2024, arXiv 2404.03635),
trained by itself, as the released code of the staged system does. The paper's idea: words do not
say which scene it is, but which scenes it may be, so they become a mean and a standard deviation.

Data flow: text feature [B, 1024] -> mean, logvar [B, L] -> z = mean + eps * std -> scene decoder
-> f0..f3 -> depth head -> meters [B, 1, H, W]. The noise eps is an argument: the model draws
nothing, so that a training step, an evaluation (eps = 0) and stage 2 (eps from the image) are one.

Legend: L latent size (256), C code size (128).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.config import build_config, filled_in, require_at_least, to_dict
from common.networks.fast.depth_head import depth_head
from common.networks.layers import (
    Standardize,
    conv3x3,
    known_mean,
    metric_depth,
    mlp,
    padded_size,
    reparameterize,
    std_of,
)
from common.networks.scene_decoder import LEVEL_SCALES, SceneDecoder, SceneFeatures


@dataclass(frozen=True)
class TextVAEConfig:
    """Sizes of the published network."""

    text_dim: int = 1024  # numbers in a feature of text.encoder
    hidden_dims: tuple[int, ...] = (512, 256)  # hidden layers of the text MLPs
    latent_dim: int = 256  # numbers in a scene, a multiple of 4
    code_channels: int = 128  # of the scene decoder's maps
    metric_hidden: int = 64  # hidden layer of the MLP that scales depth
    prior_mean: float | None = filled_in()  # mean log-depth; None: data.mean_log_depth
    # Features minus mean, divided by std, of the training captions: for encoders whose features
    # differ little.
    standardize_text: bool = False

    def __post_init__(self) -> None:
        require_at_least(1, self, "text_dim", "hidden_dims", "latent_dim")
        require_at_least(1, self, "code_channels", "metric_hidden")
        if self.latent_dim % 4:
            raise ValueError(f"latent_dim: {self.latent_dim} is not divisible by 4 (position code)")


@dataclass(frozen=True)
class TextVAEOutput:
    """depth: [B, 1, H, W] meters; mean, logvar: [B, L]."""

    depth: Tensor
    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        return std_of(self.logvar)


class SceneDistribution(nn.Module):
    """Caption feature -> Gaussian over scenes -> scene features; what later stages reuse.

    Figure 2 of the paper: text encoder, reparameterization. Two MLPs of equal sizes and no shared
    layer, from the released code.
    """

    def __init__(self, config: TextVAEConfig):
        super().__init__()
        sizes = (config.text_dim, *config.hidden_dims, config.latent_dim)
        self.standardize = Standardize(config.text_dim)
        self.mean = mlp(*sizes)
        self.logvar = mlp(*sizes)
        self.decoder = SceneDecoder(config.latent_dim, config.code_channels)

    def encode(self, text_feature: Tensor) -> tuple[Tensor, Tensor]:
        """text_feature: [B, text_dim] -> mean, logvar: [B, L]."""
        text = self.standardize(text_feature)
        return self.mean(text), self.logvar(text)

    @torch.no_grad()
    def widen(self, factor: float) -> None:
        """Multiply every standard deviation: a number in the last bias of logvar says it all."""
        self.logvar[-1].bias += 2 * math.log(factor)

    def forward(self, text_feature: Tensor, eps: Tensor, size: tuple[int, int]) -> SceneFeatures:
        """The scene at mean + eps * std; eps: [B, L]."""
        mean, logvar = self.encode(text_feature)
        return self.decoder(reparameterize(mean, logvar, eps), size)


class TextVAE(nn.Module):
    """The whole of stage 1: distribution of scenes and a depth head of its own.

    The head is from the released code: a 3x3 convolution for the shape of the scene, and an MLP of
    z for its metric scale and shift. Stage 3 has another and does not read this one.
    """

    def __init__(self, config: TextVAEConfig):
        super().__init__()
        self.config, self.prior_mean = config, known_mean(config.prior_mean)
        self.scenes = SceneDistribution(config)
        self.metric = mlp(config.latent_dim, config.metric_hidden, 2)
        self.depth_conv = conv3x3(config.code_channels, 1)

    def forward(self, text_feature: Tensor, eps: Tensor, size: tuple[int, int]) -> TextVAEOutput:
        """text_feature: [B, text_dim], eps: [B, L] (zeros: the mean scene), size: (H, W)."""
        mean, logvar = self.scenes.encode(text_feature)
        z = reparameterize(mean, logvar, eps)
        # padded_size: the decoder's strides need whole steps; what is beyond the image is cut off
        levels = self.scenes.decoder(z, padded_size(size)).levels
        logit = depth_head(self.depth_conv, levels, LEVEL_SCALES)  # [B, 1, H', W']
        depth = metric_depth(self.metric(z), logit, self.prior_mean)
        return TextVAEOutput(depth[..., : size[0], : size[1]], mean, logvar)

    def describe(self) -> dict[str, Any]:
        """What `load_text_vae` needs to rebuild this network."""
        return to_dict(self.config)


def load_text_vae(checkpoint: dict) -> TextVAE:
    """Rebuild the text-VAE of a stage 1 checkpoint (see `common/runtime/checkpoints.py`)."""
    model = TextVAE(build_config(TextVAEConfig, checkpoint["model_config"]))
    model.load_state_dict(checkpoint["model"])
    return model
