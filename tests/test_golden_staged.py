"""The staged network at full size gives the published network's numbers (golden/staged_nyu.npz)."""

from types import SimpleNamespace

import pytest
import torch
from batches import make_batch

import stage1_vae.train
import stage2_sampler.train
from common.losses.depth import silog_loss, silog_valid
from common.losses.vae import vae_totals
from common.runtime.randomness import StepRandom
from stage1_vae.config import TextLossConfig
from stage1_vae.model import TextVAE, TextVAEConfig
from stage2_sampler.model import SamplerConfig
from stage3_depth.model import EstimatorConfig, LanguageDepth
from tests.golden.networks import build, load, read_arrays
from tests.golden.recipe import image, unit_feature

pytestmark = pytest.mark.usefixtures("all_cores")
SIZE = (480, 640)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return read_arrays("staged_nyu.npz")


@pytest.fixture(scope="module")
def vae() -> TextVAE:
    network = build(lambda: TextVAE(TextVAEConfig(prior_mean=1.54)))
    load(network, "staged_stage1", "stage1")
    return network


@pytest.fixture(scope="module")
def estimator() -> LanguageDepth:
    network = build(
        lambda: LanguageDepth(
            EstimatorConfig(prior_mean=1.54), SamplerConfig(), TextVAEConfig(prior_mean=1.54), SIZE
        )
    )
    load(network.scenes, "staged_stage1", "prior")
    load(network.sampler, "staged_stage2", "stage2")
    load(network.estimator, "staged_stage3", "stage3")
    return network


def assert_close(value, reference, relative=1e-5):
    """Within `relative` of the largest reference value."""
    assert value.shape == reference.shape
    worst = (value - reference).abs().max() / reference.abs().max()
    assert worst < relative, f"off by {worst:.1e} of the largest value"


def assert_depth(depth, reference):
    assert (depth[:, :, ::8, ::8] - reference).abs().max() < 1e-4


@torch.no_grad()
def test_stage1_distribution_scene_and_depth(vae, golden):
    text, eps = unit_feature(2, 2), image(4, (2, 256))
    mean, logvar = vae.scenes.encode(text)
    assert_close(mean, golden["s1_mean"])
    assert_close(logvar, golden["s1_logvar"])
    scene = vae.scenes(text, eps, SIZE)
    for index, level in enumerate((scene.f0, *scene.levels)):
        assert_close(level[:, ::16, ::4, ::4], golden[f"s1_inter{index}"])
    assert_close(scene.dense()[:, ::16, ::16, ::16], golden["s1_inter4"])
    assert_depth(vae(text, eps, SIZE).depth, golden["s1_depth_eps4"])


@torch.no_grad()
def test_stage2_sampler_and_depth(vae, estimator, golden):
    eps = estimator.sampler(unit_feature(3, 2))
    assert_close(eps, golden["s2_eps"])
    assert_depth(vae(unit_feature(2, 2), eps, SIZE).depth, golden["s2_depth"])


@torch.no_grad()
def test_stage3_encoder_and_depth(estimator, golden, monkeypatch):
    features = estimator.estimator.encoder(image(1, (2, 3, *SIZE)))
    for index, level in enumerate(features):
        assert_close(level[:, ::48, ::6, ::6], golden[f"s3_swin{index}"])
    monkeypatch.setattr(estimator.estimator.encoder, "forward", lambda _: features)
    depth = estimator(image(1, (2, 3, *SIZE)), unit_feature(2, 2), unit_feature(3, 2))
    assert_depth(depth, golden["s3_depth"])


class Answering(torch.nn.Module):
    """A network of stage 1 or 2 that always gives the same output."""

    config = SimpleNamespace(latent_dim=4)

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, *_):
        return self.output


def test_losses(golden):
    pred, gt = golden["loss_pred"], golden["loss_gt"]
    silog = silog_loss(pred, gt, silog_valid(gt, 10.0))
    torch.testing.assert_close(silog, golden["loss_silog_085_10"], rtol=1e-6, atol=0)
    std = torch.full((3, 4), 3.0)  # above the floor: no term
    batch, rng = make_batch(golden["loss_image"], gt), StepRandom(0, 0, len(gt), 0, len(gt))
    totals = vae_totals(std, gt, 10.0)
    for stage in (stage1_vae.train, stage2_sampler.train):
        network = Answering(SimpleNamespace(depth=pred, std=std))
        terms = stage.step_fn(network, batch, rng, totals, TextLossConfig(), 10.0)
        for ours, theirs in (("total", "total"), ("l1", "l1"), ("smoothness", "smooth")):
            torch.testing.assert_close(terms[ours], golden[f"loss_vae_{theirs}"], rtol=1e-6, atol=0)
