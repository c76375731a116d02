"""Depth estimator: image encoder and refining decoder, guided by the scene the words describe.

Where it stands: the third stage of the staged system, from the released code of WorDepth (Zeng et
al., CVPR 2024, arXiv 2404.03635). Text-VAE and sampler are those of the paper's Figure 2; that the
image features stay in the decoder beside the words' scene, and how both are fused, is the code's.

Data flow: image -> x2..x5 (strides 4..32) -> decoder, where the code d is fused with the prior's
scene features f0..f4 at every scale -> depth in meters [B, 1, H, W]. The prior is the text-VAE of
stage 1 driven by stage 2's sampler; gradients reach both.

Legend: x image features, d depth code (C = 128 channels), f scene features of the prior.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.config import build_config, filled_in, require_at_least, to_dict
from common.networks.decoder import Fuse, Refine, Up, check_decoder_channels, check_groups
from common.networks.encoder import EncoderConfig, build_encoder
from common.networks.fast.depth_head import depth_head
from common.networks.fast.upsampling import upsample
from common.networks.layers import (
    conv3x3,
    greatest,
    known_mean,
    metric_depth,
    mlp,
    pad_to_stride,
)
from common.networks.scene_decoder import LEVEL_SCALES, SceneFeatures
from stage1_vae.model import SceneDistribution, TextVAEConfig
from stage2_sampler.model import ConditionalSampler, SampledVAE, SamplerConfig, pool_evidence


@dataclass(frozen=True)
class EstimatorConfig:
    """Decoder sizes of the published network."""

    decoder_channels: tuple[int, ...] = (512, 256, 64)  # at strides 16, 8 and 4
    metric_hidden: int = 384  # hidden layer of the MLP that scales depth
    prior_mean: float | None = filled_in()  # mean log-depth; None: data.mean_log_depth
    # None: stage 2's where that is its evidence, else the published Swin-L.
    encoder: EncoderConfig | None = filled_in()

    def __post_init__(self) -> None:
        require_at_least(1, self, "decoder_channels", "metric_hidden")
        check_decoder_channels(self.decoder_channels, self.encoder or EncoderConfig())


class DepthEstimator(nn.Module):
    """Image features x2..x5 and scene features (or None) -> metric depth.

    All of it is from the released code: the names there are `vlayer` (here `first_code`), `ref_k`
    (`refine`k), `fuse_k` and `mlayer` (`metric`).
    """

    def __init__(
        self,
        config: EstimatorConfig,
        latent_dim: int,
        code_channels: int,
        image_size: tuple[int, int],
    ):
        super().__init__()
        self.prior_mean = known_mean(config.prior_mean)
        encoder_config = config.encoder or EncoderConfig()
        self.encoder = build_encoder(encoder_config, image_size)
        check_groups(self.encoder, encoder_config)
        c2, c3, c4, c5 = self.encoder.channels
        u4, u3, u2 = config.decoder_channels
        code = code_channels
        self.metric = mlp(c5, config.metric_hidden, 2)
        self.up4, self.up3, self.up2 = Up(c4, c5, u4), Up(c3, u4, u3), Up(c2, u3, u2)
        self.first_code = nn.Sequential(
            nn.Conv2d(u4, u4 // 2, 1),
            nn.LeakyReLU(),
            nn.Conv2d(u4 // 2, 16, 1),
            nn.Sigmoid(),
            nn.Conv2d(16, code, 1),
            nn.LeakyReLU(),
            conv3x3(code, code),
        )
        self.refine4, self.refine3 = Refine(u4, code), Refine(u3, code)
        self.refine2 = Refine(u2, code, new_x=False)
        self.fuse0 = Fuse(code, latent_dim)
        self.fuse1, self.fuse2, self.fuse3 = (Fuse(code, code) for _ in range(3))
        self.fuse4 = Fuse(code, code)
        self.depth_conv = conv3x3(code, 1)

    def forward(self, features: tuple[Tensor, ...], scene: SceneFeatures | None) -> Tensor:
        """features: x2..x5 of the encoder. Returns depth [B, 1, H, W] in meters, float32."""
        x2, x3, x4, x5 = features
        f0, f1, f2, f3 = (scene.f0, *scene.levels) if scene else (None,) * 4
        metric = self.metric(greatest(x5))  # [B, 2]: scale and shift of the whole image
        x = self.up4(x5, x4)  # [B, u4, H/16, W/16]
        d = self.fuse0(self.first_code(x), f0)  # [B, C, H/16, W/16]
        x, d4 = self.refine4(x, d)
        d4 = self.fuse1(d4, f1)
        x = self.up3(x, x3)  # [B, u3, H/8, W/8]
        x, d3 = self.refine3(x, upsample(d4, 2))
        d3 = self.fuse2(d3, f2)
        x = self.up2(x, x2)  # [B, u2, H/4, W/4]
        x, d2 = self.refine2(x, upsample(d3, 2))
        d2 = self.fuse3(d2, f3)
        return metric_depth(metric, self.depth_logit((d4, d3, d2), scene), self.prior_mean)

    def depth_logit(self, codes: tuple[Tensor, ...], scene: SceneFeatures | None) -> Tensor:
        """conv3x3(F4(sum of up-sampled codes, f4)): [B, 1, H, W].

        F4 reads cat[d, f4], both of them sums of up-sampled maps of the same three scales, so the
        maps can be concatenated where they are small.
        """
        zero = torch.zeros_like
        levels = scene.levels if scene else tuple(zero(d) for d in codes)
        both = tuple(
            torch.cat((d.float(), f.float()), dim=1) for d, f in zip(codes, levels, strict=True)
        )
        return depth_head(self.depth_conv, both, LEVEL_SCALES, mix=self.fuse4)


class LanguageDepth(nn.Module):
    """The whole of stage 3: prior (stages 1 and 2) and estimator, trained together.

    From the released code, which trains all three with the estimator's loss. Ours is the control:
    `language="none"` is the same network without the prior's features.
    With evidence `encoder` the sampler reads the estimator's encoder, which starts from stage 2's.
    """

    def __init__(
        self,
        config: EstimatorConfig,
        sampler_config: SamplerConfig,
        vae_config: TextVAEConfig,
        image_size: tuple[int, int],
        language: Literal["caption", "none"] = "caption",
    ):
        super().__init__()
        self.configs = {"estimator": config, "sampler": sampler_config, "vae": vae_config}
        self.image_size, self.language = image_size, language
        self.evidence = sampler_config.evidence
        self.text_dim, self.image_dim = vae_config.text_dim, sampler_config.image_dim
        self.latent_dim = vae_config.latent_dim
        self.estimator = DepthEstimator(
            config, vae_config.latent_dim, vae_config.code_channels, image_size
        )
        own = self.evidence == "encoder"
        evidence_dim = self.estimator.encoder.channels[-1] if own else sampler_config.image_dim
        self.scenes = SceneDistribution(vae_config)
        self.sampler = ConditionalSampler(sampler_config, vae_config.latent_dim, evidence_dim)
        if language == "none":
            self.scenes.requires_grad_(False)
            self.sampler.requires_grad_(False)

    def take_prior(self, stage2: SampledVAE) -> None:
        """Start from stage 2's weights; its encoder, if any, starts the estimator's."""
        self.scenes.load_state_dict(stage2.vae.scenes.state_dict())
        self.sampler.load_state_dict(stage2.sampler.state_dict())
        if stage2.encoder is not None:
            self.estimator.encoder.load_state_dict(stage2.encoder.state_dict())

    def describe(self) -> dict[str, Any]:
        """What `load_language_depth` needs to rebuild this network."""
        parts = {name: to_dict(config) for name, config in self.configs.items()}
        return {**parts, "image_size": list(self.image_size), "language": self.language}

    def forward(
        self,
        image: Tensor,
        text_feature: Tensor | None,
        image_feature: Tensor | None = None,
        eps: Tensor | None = None,
    ) -> Tensor:
        """image: [B, 3, H, W] -> depth [B, 1, H, W], meters.

        eps: [B, L] picks the scene; None: the image does, through the sampler. A size that the
        stride of 32 does not divide is padded here and cropped at the end.
        """
        height, width = image.shape[-2:]
        image = pad_to_stride(image)
        features = self.estimator.encoder(image)
        scene = None
        if self.language == "caption":
            if eps is None:
                eps = self.pick_scene(features[-1], image_feature)
            if text_feature is None:
                raise ValueError("the prior needs text_feature")
            scene = self.scenes(text_feature, eps, tuple(image.shape[-2:]))
        return self.estimator(features, scene)[..., :height, :width]

    def pick_scene(self, last_features: Tensor, image_feature: Tensor | None) -> Tensor:
        """What the sampler makes of the image: eps [B, L]."""
        evidence = pool_evidence(last_features) if self.evidence == "encoder" else image_feature
        if evidence is None:
            raise ValueError("evidence 'clip' needs image_feature")
        return self.sampler(evidence)


def load_language_depth(checkpoint: dict) -> LanguageDepth:
    """Rebuild the network of a stage 3 checkpoint, prior included."""
    saved = checkpoint["model_config"]
    model = LanguageDepth(
        build_config(EstimatorConfig, saved["estimator"]),
        build_config(SamplerConfig, saved["sampler"]),
        build_config(TextVAEConfig, saved["vae"]),
        tuple(saved["image_size"]),
        saved["language"],
    )
    model.load_state_dict(checkpoint["model"])
    return model
