"""Networks and made-up batches for `train_step`: the published sizes, Swin-T, and a tiny one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from common.data.batch import Batch
from common.losses.depth import DepthLossConfig
from common.networks.encoder import EncoderConfig
from stage1_vae.config import TextLossConfig
from stage1_vae.model import TextVAE, TextVAEConfig
from stage1_vae.train import step_fn as stage1_step
from stage2_sampler.model import SamplerConfig
from stage3_depth.config import JointLossConfig
from stage3_depth.joint_model import JointConfig, JointDepth
from stage3_depth.model import EstimatorConfig, LanguageDepth
from stage3_depth.train import step_fn as stage3_step
from stage3_depth.train_joint import step_fn as joint_step

WHAT = ("stage1", "stage3", "joint-image", "joint-text")
MAX_DEPTH = 10.0


@dataclass(frozen=True)
class NetworkSizes:
    """How large a network is; the rest of it is as published."""

    encoder: EncoderConfig
    vae: TextVAEConfig
    decoder_channels: tuple[int, ...] = (512, 256, 64)


TINY_VAE = TextVAEConfig(
    hidden_dims=(32, 16),
    latent_dim=16,
    code_channels=8,
    metric_hidden=8,
    text_dim=64,
    prior_mean=1.54,
)
NETWORKS = {
    "published": NetworkSizes(EncoderConfig(), TextVAEConfig(prior_mean=1.54)),  # Swin-L
    "swin-t": NetworkSizes(
        EncoderConfig(96, (2, 2, 6, 2), (3, 6, 12, 24), 7), TextVAEConfig(prior_mean=1.54)
    ),
    "tiny": NetworkSizes(
        EncoderConfig(8, (1, 2, 2, 1), (1, 2, 2, 4), 4, drop_path=0), TINY_VAE, (16, 8, 8)
    ),
}


def make_network(what: str, sizes: NetworkSizes, image_size: tuple[int, int]) -> nn.Module:
    """The network of a stage with random weights: an untrained one costs the same."""
    if what == "stage1":
        return TextVAE(sizes.vae)
    if what == "stage3":
        config = EstimatorConfig(
            encoder=sizes.encoder, decoder_channels=sizes.decoder_channels, prior_mean=1.54
        )
        sampler = SamplerConfig(image_dim=sizes.vae.text_dim)
        return LanguageDepth(config, sampler, sizes.vae, image_size)
    joint = JointConfig(
        encoder=sizes.encoder,
        decoder_channels=sizes.decoder_channels,
        code_channels=sizes.vae.code_channels,
        text_dim=sizes.vae.text_dim,
        prior_mean=1.54,
    )
    return JointDepth(joint, image_size)


def make_step(what: str) -> Callable:
    """The stage's own `step_fn`; the coin of the joint recipe always falls the same way."""
    if what == "stage1":
        return partial(stage1_step, loss=TextLossConfig(), max_depth=MAX_DEPTH)
    if what == "stage3":
        return partial(stage3_step, loss=DepthLossConfig(), max_depth=MAX_DEPTH)
    coin = 1.0 if what == "joint-text" else 0.0
    return partial(
        joint_step, loss=JointLossConfig(text_step_probability=coin), max_depth=MAX_DEPTH
    )


def make_batch(
    count: int, size: tuple[int, int], sizes: NetworkSizes, device: torch.device
) -> Batch:
    """Images, features and depths with three in ten pixels unmeasured, on the device."""
    g = torch.Generator().manual_seed(0)
    gt_depth = 0.5 + 9 * torch.rand(count, 1, *size, generator=g)
    gt_depth[torch.rand(gt_depth.shape, generator=g) < 0.3] = 0
    batch = Batch(
        image=torch.randn(count, 3, *size, generator=g),
        gt_depth=gt_depth,
        text_feature=torch.randn(count, sizes.vae.text_dim, generator=g),
        image_feature=torch.randn(count, sizes.vae.text_dim, generator=g),
        caption=[""] * count,
        key=[f"{position}.jpg" for position in range(count)],
        position=torch.arange(count),
    )
    return batch.to(device)
