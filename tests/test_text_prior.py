"""Depth from words alone: scenes of a caption's distribution, as functions of words and seed."""

from dataclasses import replace

import pytest
import torch
from joint_networks import TINY_JOINT

from common.errors import UserError
from common.networks.encoder import EncoderConfig
from common.programs.text_prior import sample_depths
from llm_mde.stage import STAGE as LLM_MDE
from stage1_vae.model import TextVAE, TextVAEConfig
from stage1_vae.stage import STAGE as STAGE1
from stage2_sampler.model import SampledVAE, SamplerConfig
from stage2_sampler.stage import STAGE as STAGE2
from stage3_depth.joint_model import JointDepth
from stage3_depth.stage import JOINT, JOINT_LEGACY, STAGED

SIZE = (40, 70)  # neither is a multiple of 32
VAE = TextVAEConfig(16, (16,), 16, 8, 8, prior_mean=0.5)


def text_vae():
    torch.manual_seed(0)
    return TextVAE(VAE).eval()


def sampled_vae(vae):
    encoder = EncoderConfig(
        embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4), window_size=2, drop_path=0.0
    )
    model = SampledVAE(SamplerConfig("encoder", 32, (16,), encoder=encoder), VAE, (64, 96)).eval()
    model.vae.load_state_dict(vae.state_dict())
    return model


def joint(**changes):
    torch.manual_seed(0)
    return JointDepth(replace(TINY_JOINT, **changes), (64, 96)).eval()


CASES = {"stage1": (STAGE1, text_vae), "joint": (JOINT, joint)}


@pytest.fixture(params=list(CASES))
def prior(request):
    stage, build = CASES[request.param]
    return stage.text_prior(build())


def test_a_scene_is_a_function_of_words_and_its_own_seed(prior):
    words = torch.randn(prior.text_dim, generator=torch.Generator().manual_seed(1))
    seeds = [(3, number) for number in range(20)]  # more than are decoded at a time
    depth = sample_depths(prior, words, SIZE, seeds)
    assert depth.shape == (20, 1, *SIZE) and depth.dtype == torch.float32
    assert (depth > 0).all() and not depth.requires_grad
    assert (depth[1:] != depth[:1]).flatten(1).any(1).all()
    again = sample_depths(prior, words, SIZE, [seeds[7], seeds[19]])
    torch.testing.assert_close(again, depth[[7, 19]], rtol=1e-5, atol=1e-6)
    other = sample_depths(prior, words + 1, SIZE, seeds[:1])
    assert not torch.allclose(other, depth[:1])


def test_noise_is_standard_normal_and_zero_is_the_mean_scene():
    model, kept = text_vae(), []
    own = STAGE1.text_prior(model)
    blind = replace(own, decode=lambda text, eps, size: kept.append(eps) or eps[:, None, None, :1])
    sample_depths(blind, torch.zeros(16), SIZE, [(0, number) for number in range(4000)])
    eps = torch.cat(kept)
    torch.testing.assert_close(eps.mean(0), torch.zeros(16), rtol=0, atol=0.08)
    torch.testing.assert_close(eps.T.cov(), torch.eye(16), rtol=0, atol=0.09)
    words, none = torch.randn(2, 16), torch.zeros(2, 16)
    assert torch.equal(own.decode(words, none, SIZE), model(words, none, SIZE).depth)


def test_stage_2_has_the_distribution_of_stage_1():
    vae, words, seeds = text_vae(), torch.randn(16), [(0, 0), (0, 1)]
    own = sample_depths(STAGE2.text_prior(sampled_vae(vae)), words, SIZE, seeds)
    assert torch.equal(own, sample_depths(STAGE1.text_prior(vae), words, SIZE, seeds))


def test_who_has_no_distribution_of_words_alone():
    assert LLM_MDE.text_prior is None and STAGED.text_prior is None
    JOINT_LEGACY.text_prior(joint(skips="kept_in_image_step"))
    with pytest.raises(UserError, match="model.skips=kept: the text step .* reads the picture"):
        JOINT_LEGACY.text_prior(joint(skips="kept"))
