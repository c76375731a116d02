"""Networks take any height and width: padded inside to the stride of 32, cropped outside."""

import numpy as np
import pytest
import torch

from common.networks.encoder import EncoderConfig
from stage1_vae.model import TextVAE, TextVAEConfig
from stage2_sampler.model import SampledVAE, SamplerConfig
from stage3_depth.joint_model import JointConfig, JointDepth
from stage3_depth.model import EstimatorConfig, LanguageDepth

ENCODER = EncoderConfig(8, (1, 2, 1, 1), (1, 2, 2, 4), window_size=2)
VAE = TextVAEConfig(
    text_dim=16, hidden_dims=(16,), latent_dim=16, code_channels=8, metric_hidden=8, prior_mean=1.54
)
SIZES = [(61, 90), (33, 100), (64, 65), (31, 7)]
TEXT = torch.randn(2, 16, generator=torch.Generator().manual_seed(5))


def padded(image):
    """The same pictures with the last row and column repeated up to the next multiple of 32."""
    bottom, right = (-size % 32 for size in image.shape[-2:])
    edge = ((0, 0), (0, 0), (0, bottom), (0, right))
    return torch.from_numpy(np.pad(image.numpy(), edge, mode="edge"))


def predictors():
    """Name -> function from images [2, 3, H, W] to depths [2, 1, H, W]."""
    torch.manual_seed(0)
    vae = TextVAE(VAE).eval()
    evidence = SamplerConfig(evidence="encoder", hidden_dims=(16,), encoder=ENCODER)
    sampled = SampledVAE(evidence, VAE, (64, 96)).eval()
    estimator = EstimatorConfig(
        decoder_channels=(16, 8, 8), metric_hidden=8, encoder=ENCODER, prior_mean=1.54
    )
    language = LanguageDepth(estimator, evidence, VAE, (64, 96)).eval()
    joint = JointDepth(
        JointConfig(
            (16, 8, 8),
            8,
            16,
            (16,),
            metric_hidden=8,
            skips="kept",
            encoder=ENCODER,
            prior_mean=1.54,
        ),
        (64, 96),
    ).eval()

    def text_step(image):
        height, width = padded(image).shape[-2:]
        eps = torch.ones(2, 8, height // 16, width // 16)
        return joint(image, TEXT, eps).depth

    return {
        "stage 1": lambda image: vae(TEXT, torch.zeros(2, 16), tuple(image.shape[-2:])).depth,
        "stage 2": lambda image: sampled(image, TEXT).depth,
        "stage 3": lambda image: language(image, TEXT),
        "joint, image step": lambda image: joint(image, TEXT).depth,
        "joint, text step": text_step,
    }


PREDICTORS = predictors()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PREDICTORS)
@torch.no_grad()
def test_padded_inside_and_cropped_outside(name, size):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    depth = PREDICTORS[name](image)
    assert depth.shape == (2, 1, *size)
    whole = PREDICTORS[name](padded(image))
    assert torch.equal(depth, whole[..., : size[0], : size[1]])
    assert depth.isfinite().all()
