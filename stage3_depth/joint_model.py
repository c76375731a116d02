"""Joint network: a text branch and an image branch share one decoder.

Where it stands: Figure 2 of WorDepth (Zeng et al., CVPR 2024, arXiv 2404.03635): text to mean and
standard deviation, reparameterization, a sampler that predicts eps from the image, one decoder,
text and image trained in turns. Layers and sizes are from the released code.

Data flow: text feature -> mean, std [B, C], the same in every cell of the grid at stride 16; code
d = mean + std * eps -> three refinements, up-sampled in between -> meters [B, 1, H, W]. In the text
step eps is noise, drawn by the caller for every cell. In the image step the image predicts eps;
evaluation uses this step. The decoder's skips are Up4's output, x3 and x2; recipes differ in them:

    dropped             joint: spatial image evidence reaches the decoder through eps alone
    kept                joint-legacy: kept in both steps (the paper's tables)
    kept_in_image_step  dropped in the text step only (the paper's text, as users quote it)

Legend: x image features, x2..x5 those of the encoder (strides 4..32), d depth code (C = 128).
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.config import build_config, filled_in, require_at_least, to_dict
from common.networks.decoder import Refine, Up, check_decoder_channels, check_groups
from common.networks.encoder import EncoderConfig, build_encoder
from common.networks.fast.depth_head import depth_head
from common.networks.fast.upsampling import upsample
from common.networks.layers import (
    Standardize,
    conv3x3,
    greatest,
    in_gpu_order,
    known_mean,
    metric_depth,
    mlp,
    pad_to_stride,
    padded_size,
    reparameterize,
    std_of,
)
from common.networks.scene_decoder import LEVEL_SCALES

Skips = tuple[Tensor, Tensor, Tensor]  # x, x3, x2 at strides 16, 8 and 4


@dataclass(frozen=True)
class JointConfig:
    """Sizes of the published network."""

    decoder_channels: tuple[int, ...] = (512, 256, 64)  # at strides 16, 8 and 4
    code_channels: int = 128  # of the code that words and eps make
    text_dim: int = 1024  # numbers in a feature of text.encoder
    hidden_dims: tuple[int, ...] = (512, 256)  # hidden layers of the text MLPs
    metric_hidden: int = 384  # hidden layer of the MLP that scales depth
    prior_mean: float | None = filled_in()  # mean log-depth; None: data.mean_log_depth
    # Features minus mean, divided by std, of the training captions: for encoders whose features
    # differ little.
    standardize_text: bool = False
    # The decoder's skips: dropped (joint), kept (joint-legacy), or dropped in the text step only.
    skips: Literal["dropped", "kept", "kept_in_image_step"] = "dropped"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    def __post_init__(self) -> None:
        require_at_least(1, self, "decoder_channels", "code_channels", "text_dim")
        require_at_least(1, self, "hidden_dims", "metric_hidden")
        check_decoder_channels(self.decoder_channels, self.encoder)


@dataclass(frozen=True)
class JointOutput:
    """depth: [B, 1, H, W] meters; mean, logvar: [B, C]; eps: [B, C, H/16, W/16].

    Gradients reach the text branch through mean and logvar in the text step only.
    """

    depth: Tensor
    mean: Tensor
    logvar: Tensor
    eps: Tensor


class TextDistribution(nn.Module):
    """Text feature [B, text_dim] -> mean, logvar [B, C] of every cell's code (Figure 2, text)."""

    def __init__(self, text_dim: int, hidden_dims: tuple[int, ...], code_channels: int):
        super().__init__()
        self.standardize = Standardize(text_dim)
        self.mean = mlp(text_dim, *hidden_dims, code_channels)
        self.logvar = mlp(text_dim, *hidden_dims, code_channels)

    def forward(self, text_feature: Tensor) -> tuple[Tensor, Tensor]:
        text = self.standardize(text_feature)
        return self.mean(text), self.logvar(text)


class CellSampler(nn.Module):
    """What the image says about every cell: cat[x, mean, std] -> eps (Figure 2, sampler).

    It is told the distribution it picks from. No activation anywhere, from the released code: eps
    is as free as a draw of a standard Gaussian, which its KL term pulls it to.
    """

    def __init__(self, x_channels: int, code_channels: int):
        super().__init__()
        self.mix = nn.Conv2d(x_channels + 2 * code_channels, x_channels, 1)
        self.eps = conv3x3(x_channels, code_channels)

    def forward(self, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """x: [B, u4, H/16, W/16]; mean, std: [B, C] -> [B, C, H/16, W/16]."""
        cells = [t[:, :, None, None].expand(-1, -1, *x.shape[-2:]) for t in (mean, std)]
        return self.eps(self.mix(torch.cat((x, *cells), dim=1)))


class JointDepth(nn.Module):
    """The joint network: text step with noise, image step without; both decode with one decoder.

    Figure 2, both branches; sizes and skips from the released code.
    """

    def __init__(self, config: JointConfig, image_size: tuple[int, int]):
        super().__init__()
        self.config, self.image_size = config, image_size
        self.prior_mean = known_mean(config.prior_mean)
        self.encoder = build_encoder(config.encoder, image_size)
        check_groups(self.encoder, config.encoder)
        c2, c3, c4, c5 = self.encoder.channels
        u4, u3, u2 = config.decoder_channels
        code = config.code_channels
        self.text = TextDistribution(config.text_dim, config.hidden_dims, code)
        self.metric = mlp(c5, config.metric_hidden, 2)
        self.up4, self.up3, self.up2 = Up(c4, c5, u4), Up(c3, u4, u3), Up(c2, u3, u2)
        self.sampler = CellSampler(u4, code)
        self.refine4, self.refine3 = Refine(u4, code), Refine(u3, code)
        self.refine2 = Refine(u2, code, new_x=False)
        self.depth_conv = conv3x3(code, 1)

    def forward(
        self, image: Tensor, text_feature: Tensor, eps: Tensor | None = None
    ) -> JointOutput:
        """One step: with noise `eps` the text step, without it the image step.

        image: [B, 3, H, W]; a text step without skips reads its size only. text_feature:
        [B, text_dim]. eps: [B, C, H/16, W/16]. A size that the stride of 32 does not divide is
        padded here, which eps must fit, and cropped at the end.
        """
        height, width = image.shape[-2:]
        image = pad_to_stride(image)
        mean, logvar = self.text(text_feature)
        if eps is None:  # detached: what the image needs must not change what the words mean
            output = self.image_step(image, mean.detach(), logvar.detach())
        else:
            self.check_noise(eps, image)
            output = self.text_step(image, mean, logvar, eps)
        return replace(output, depth=output.depth[..., :height, :width])

    def image_step(self, image: Tensor, mean: Tensor, logvar: Tensor) -> JointOutput:
        """The image chooses eps and scales the depth; shapes as in `forward`, mean [B, C]."""
        skips, x5 = self.see(image)
        eps = self.sampler(skips[0], mean, std_of(logvar))
        if self.config.skips == "dropped":
            skips = self.no_skips(image)
        logit = self.decode(reparameterize(mean, logvar, eps), skips)
        metric = self.metric(greatest(x5))
        return JointOutput(metric_depth(metric, logit, self.prior_mean), mean, logvar, eps)

    def text_step(self, image: Tensor, mean: Tensor, logvar: Tensor, eps: Tensor) -> JointOutput:
        """A scene drawn from the words' distribution; no metric head, as there is no image."""
        kept = self.config.skips == "kept"
        skips = self.see(image)[0] if kept else self.no_skips(image)
        logit = self.decode(reparameterize(mean, logvar, eps), skips)
        depth = torch.exp(logit.float() + self.prior_mean)
        return JointOutput(depth, mean, logvar, eps)

    def see(self, image: Tensor) -> tuple[Skips, Tensor]:
        """The skips (x, x3, x2), and x5 for the metric head."""
        x2, x3, x4, x5 = self.encoder(image)
        return (self.up4(x5, x4), x3, x2), x5

    def no_skips(self, image: Tensor) -> Skips:
        """Zeros in place of x, x3 and x2; of the image only the size matters."""
        c2, c3 = self.encoder.channels[:2]
        channels = (self.config.decoder_channels[0], c3, c2)
        batch, _, height, width = image.shape
        x, x3, x2 = (
            in_gpu_order(image.new_zeros(batch, c, height // s, width // s))
            for c, s in zip(channels, LEVEL_SCALES, strict=True)
        )
        return x, x3, x2

    def decode(self, d: Tensor, skips: Skips) -> Tensor:
        """d: [B, C, H/16, W/16] -> log-depth relative to the prior mean, [B, 1, H, W]."""
        x, x3, x2 = skips
        x, d4 = self.refine4(x, in_gpu_order(d))
        x = self.up3(x, x3)  # [B, u3, H/8, W/8]
        x, d3 = self.refine3(x, upsample(d4, 2))
        x = self.up2(x, x2)  # [B, u2, H/4, W/4]
        _, d2 = self.refine2(x, upsample(d3, 2))
        return depth_head(self.depth_conv, (d4, d3, d2), LEVEL_SCALES)

    def noise_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Of an image's eps in the text step: one value per code channel and cell; size: (H, W)."""
        height, width = padded_size(size)
        return self.config.code_channels, height // 16, width // 16

    def check_noise(self, eps: Tensor, image: Tensor) -> None:
        """Raise ValueError unless eps is as `noise_shape` says; image: padded."""
        wanted = (len(image), *self.noise_shape((image.shape[-2], image.shape[-1])))
        if tuple(eps.shape) != wanted:
            raise ValueError(f"eps must be {wanted}, got {tuple(eps.shape)}")

    def describe(self) -> dict[str, Any]:
        """What `load_joint` needs to rebuild this network."""
        return {"joint": to_dict(self.config), "image_size": list(self.image_size)}


def load_joint(checkpoint: dict) -> JointDepth:
    """Rebuild the network of a joint or joint-legacy checkpoint."""
    saved = checkpoint["model_config"]
    model = JointDepth(build_config(JointConfig, saved["joint"]), tuple(saved["image_size"]))
    model.load_state_dict(checkpoint["model"])
    return model
