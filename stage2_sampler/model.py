"""Conditional sampler: the image picks one scene of the caption's distribution.

Where it stands: the conditional sampler of WorDepth's Figure 2 (Zeng et al., CVPR 2024, arXiv
2404.03635), which predicts eps from the image. The joint network samples in every cell of a grid
(`stage3_depth/joint_model.py`); this one picks one latent for the whole image, and is from the
released code of the staged system.

Data flow: evidence [B, E] -> MLP -> eps [B, L], which takes the place of stage 1's random draw; the
frozen text-VAE turns (text feature, eps) into depth. The evidence is a CLIP image feature
(`clip`, published) or the pooled last features of an encoder that is trained here (`encoder`).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from common.config import build_config, renamed, require_at_least, to_dict
from common.networks.encoder import EncoderConfig, build_encoder
from common.networks.layers import Standardize, mlp, pad_to_stride, padded_size
from stage1_vae.model import TextVAE, TextVAEConfig, TextVAEOutput


@dataclass(frozen=True)
class SamplerConfig:
    """What it sees of the image, and its sizes."""

    # Of the image: CLIP's feature, or the mean of the last features of an encoder that is trained.
    evidence: Literal["clip", "encoder"] = renamed("clip", {"swin": "encoder"})
    image_dim: int = 1024  # numbers in a CLIP image feature; `encoder` has its own
    hidden_dims: tuple[int, ...] = (512, 256)  # hidden layers of the MLP that predicts eps
    standardize_image: bool = False  # as model.standardize_text, for CLIP's image features
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    def __post_init__(self) -> None:
        require_at_least(1, self, "image_dim", "hidden_dims")
        if self.standardize_image and self.evidence != "clip":
            raise ValueError(
                "standardize_image: only for evidence clip; an encoder has norms of its own"
            )


class ConditionalSampler(nn.Module):
    """Image evidence [B, E] -> eps [B, L], in place of the random draw of stage 1.

    From the released code. It predicts eps and not z: the words keep saying what is likely, the
    image says where in it this scene lies.
    """

    def __init__(self, config: SamplerConfig, latent_dim: int, evidence_dim: int):
        super().__init__()
        self.standardize = Standardize(evidence_dim)
        self.eps = mlp(evidence_dim, *config.hidden_dims, latent_dim)

    def forward(self, evidence: Tensor) -> Tensor:
        return self.eps(self.standardize(evidence))


class SampledVAE(nn.Module):
    """The whole of stage 2: frozen text-VAE, sampler, and an encoder if evidence is `encoder`.

    Evidence `clip` is from the released code, `encoder` is ours.
    """

    def __init__(
        self,
        config: SamplerConfig,
        vae_config: TextVAEConfig,
        image_size: tuple[int, int],
    ):
        super().__init__()
        self.config, self.image_size = config, image_size
        self.vae = TextVAE(vae_config).requires_grad_(False)
        self.encoder = None
        evidence_dim = config.image_dim
        if config.evidence == "encoder":
            self.encoder = build_encoder(config.encoder, image_size)
            self.encoder.train_one_output(-1, padded_size(image_size))
            evidence_dim = self.encoder.channels[-1]
        self.sampler = ConditionalSampler(config, vae_config.latent_dim, evidence_dim)

    def forward(
        self, image: Tensor, text_feature: Tensor, image_feature: Tensor | None = None
    ) -> TextVAEOutput:
        """image: [B, 3, H, W]; text_feature: [B, text_dim]; image_feature: [B, E] for `clip`."""
        if self.encoder is not None:
            evidence = pool_evidence(self.encoder(pad_to_stride(image))[-1])
        elif image_feature is not None:
            evidence = image_feature
        else:
            raise ValueError("evidence 'clip' needs image_feature")
        return self.vae(text_feature, self.sampler(evidence), tuple(image.shape[-2:]))

    def describe(self) -> dict[str, Any]:
        """What `load_sampled_vae` needs to rebuild this network."""
        parts = {"sampler": to_dict(self.config), "vae": to_dict(self.vae.config)}
        return {**parts, "image_size": list(self.image_size)}


def pool_evidence(last_features: Tensor) -> Tensor:
    """Mean over positions: [B, C, H/32, W/32] -> [B, C]; ours, where CLIP gives one vector."""
    return last_features.mean(dim=(-2, -1))


def load_sampled_vae(checkpoint: dict) -> SampledVAE:
    """Rebuild the network of a stage 2 checkpoint, its text-VAE included."""
    saved = checkpoint["model_config"]
    model = SampledVAE(
        build_config(SamplerConfig, saved["sampler"]),
        build_config(TextVAEConfig, saved["vae"]),
        tuple(saved["image_size"]),
    )
    model.load_state_dict(checkpoint["model"])
    return model
