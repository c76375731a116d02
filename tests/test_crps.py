"""The proper score that stage 1 can be trained with: values, parts of a batch, what it leads to."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from batches import make_batch

from common.losses.crps import crps_of_draws, crps_terms, crps_totals, log_scale
from common.networks.layers import std_of
from common.runtime.randomness import StepRandom
from stage1_vae.config import TextLossConfig
from stage1_vae.model import TextVAE, TextVAEConfig, TextVAEOutput
from stage1_vae.train import step_fn, totals_fn

CRPS = TextLossConfig(score="crps", num_draws=3)
TINY = TextVAEConfig(16, (16,), 8, 8, 8, prior_mean=1.0)
SIZE = (32, 32)


def draws_and_truth(seed=0, num_draws=3, batch=4, size=(5, 6)):
    """Draws [K, B, 1, H, W], mean scene, ground truth with holes, one image without any, image."""
    rng = np.random.default_rng(seed)
    gt = rng.uniform(0.5, 8, (batch, 1, *size)) * (rng.random((batch, 1, *size)) < 0.7)
    gt[1] = 0
    draws = rng.uniform(0.5, 8, (num_draws, batch, 1, *size))
    mean, image = rng.uniform(0.5, 8, gt.shape), rng.normal(size=(batch, 3, *size))
    return [torch.from_numpy(x.astype(np.float32)) for x in (draws, mean, gt, image)]


def plain_crps(draws, y):
    pairs = [abs(a - b) for i, a in enumerate(draws) for b in draws[:i]]
    return np.mean([abs(x - y) for x in draws]) - np.mean(pairs) / 2


def test_terms_equal_a_plain_rendering():
    draws, mean, gt, image = draws_and_truth()
    valid = gt > 0
    terms = crps_terms(draws, mean, gt, image, valid, {})
    logs, log_gt = np.log(draws.numpy()), np.log(gt.numpy().clip(1e-3))
    where = np.argwhere(valid.numpy())
    pixels = [plain_crps(logs[(slice(None), *map(int, at))], log_gt[tuple(at)]) for at in where]
    assert terms.pixels.item() == pytest.approx(np.mean(pixels), rel=1e-5)
    scales = []
    for b in (0, 2, 3):
        keep = valid[b].numpy()
        middle = (keep.sum() - 1) // 2  # the lower median
        drawn = [np.sort(log[b][keep])[middle] for log in logs]
        scales.append(plain_crps(drawn, np.sort(log_gt[b][keep])[middle]))
    assert terms.scale.item() == pytest.approx(np.mean(scales), rel=1e-5)
    error = np.abs(np.log(mean.numpy()) - log_gt)[valid.numpy()]
    assert terms.mean_scene.item() == pytest.approx(error.mean(), rel=1e-5)


@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 2, 3, 4), (0, 4)])
def test_parts_add_up_to_the_whole(cuts):
    draws, mean, gt, image = draws_and_truth(1)
    valid = gt > 0
    whole = crps_terms(draws, mean, gt, image, valid, {})
    slices = [slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    counts = [crps_totals(valid[part]) for part in slices]
    totals = {name: sum(count[name] for count in counts) for name in counts[0]}
    parts = [crps_terms(draws[:, p], mean[p], gt[p], image[p], valid[p], totals) for p in slices]
    for name, value in vars(whole).items():
        total = sum(getattr(part, name) for part in parts)
        assert total.item() == pytest.approx(value.item(), rel=1e-5), name


def test_a_batch_without_ground_truth_gives_a_differentiable_zero():
    draws, mean, gt, image = draws_and_truth()
    draws.requires_grad_()
    terms = crps_terms(draws, mean, gt * 0, image, gt < 0, {})
    (terms.pixels + terms.scale + terms.mean_scene).backward()
    assert terms.pixels.item() == terms.scale.item() == terms.mean_scene.item() == 0
    assert draws.grad.abs().max() == 0


def test_nothing_leaks_from_unmeasured_pixels():
    draws, mean, gt, image = draws_and_truth()
    valid = gt > 0
    draws.requires_grad_()
    before = crps_terms(draws, mean, gt, image, valid, {})
    (before.pixels + before.scale).backward()
    outside = ~valid.expand(draws.shape)
    assert draws.grad[outside].abs().max() == 0
    changed = torch.where(outside, 5.0, draws.detach())
    after = crps_terms(changed, mean, gt, image, valid, {})
    assert (after.pixels.item(), after.scale.item()) == (before.pixels.item(), before.scale.item())


def test_one_draw_and_other_shapes_are_refused():
    for shape in ((1, 4), (3, 5)):
        with pytest.raises(ValueError, match="draws must be"):
            crps_of_draws(torch.zeros(shape), torch.zeros(4))


def test_scale_of_an_image_without_measurements_is_zero():
    depth = torch.arange(8.0).view(2, 1, 2, 2)
    valid = torch.tensor([True, False]).view(2, 1, 1, 1).expand(depth.shape)
    assert log_scale(depth, valid).tolist() == [1.0, 0.0]


def test_the_score_is_least_for_the_spread_that_the_truth_has():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(200_000, generator=generator)
    draws = torch.randn(2, 200_000, generator=generator)
    scores = {
        s: crps_of_draws(s * draws, truth).mean().item() for s in (0.0, 0.5, 0.8, 1.0, 1.25, 2)
    }
    assert min(scores, key=scores.get) == 1.0
    assert scores[1.0] == pytest.approx(np.pi**-0.5, rel=0.02)  # of a standard Gaussian


def room_batch(rows, seed, size=SIZE):
    """Captions that say nothing, of rooms whose log scale is N(1, 0.4^2); one depth each."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(1, 0.4, rows)).astype(np.float32)
    gt = torch.from_numpy(scale)[:, None, None, None].expand(-1, 1, *size)
    return make_batch(torch.zeros(rows, 3, *size), gt, torch.ones(rows, 16))


class OneCaption(torch.nn.Module):
    """Flat scenes of one caption: ln depth = mean + std * eps, with two numbers to learn."""

    config = TINY

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(()))
        self.logvar = torch.nn.Parameter(torch.zeros(()))

    def forward(self, text_feature, eps, size):
        depth = (self.mean + std_of(self.logvar) * eps[:, :1]).exp()[:, :, None, None]
        return TextVAEOutput(depth.expand(-1, 1, *size), self.mean, self.logvar.expand(len(eps), 1))


def test_training_learns_how_far_apart_the_rooms_of_one_caption_are():
    """The published loss with no floor, on the same rooms, learns to ignore the noise."""
    learned = {}
    for loss in (CRPS, TextLossConfig(std_floor=0.0)):
        network = OneCaption()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
        for step in range(150):
            rng = StepRandom(0, step, 64, 0, 64)
            batch = room_batch(64, step, (4, 4))
            step_fn(network, batch, rng, {}, loss, 100.0)["total"].backward()
            optimizer.step()
            optimizer.zero_grad()
        learned[loss.score] = std_of(network.logvar).item()
        assert network.mean.item() == pytest.approx(1.0, abs=0.1)
    assert learned["crps"] == pytest.approx(0.4, abs=0.06)
    assert learned["l1"] < 0.15


def test_step_of_parts_equals_the_whole():
    """Two processes with half of the batch each take the step of one with all of it."""
    torch.manual_seed(0)
    network, batch = TextVAE(TINY), room_batch(4, 0)
    whole = step_fn(network, batch, StepRandom(0, 0, 4, 0, 4), {}, CRPS, 100.0)
    parts, totals = [], {}
    halves = [batch_rows(batch, rows) for rows in (slice(0, 1), slice(1, 4))]
    rngs = [StepRandom(0, 0, 4, 0, 1), StepRandom(0, 0, 4, 1, 3)]
    counts = [totals_fn(network, b, r, CRPS, 100.0) for b, r in zip(halves, rngs, strict=True)]
    totals = {name: sum(count[name] for count in counts) for name in counts[0]}
    parts = [step_fn(network, b, r, totals, CRPS, 100.0) for b, r in zip(halves, rngs, strict=True)]
    for name, value in whole.items():
        assert sum(part[name] for part in parts).item() == pytest.approx(value.item(), rel=1e-4)


def batch_rows(batch, rows):
    return make_batch(
        batch.image[rows], batch.gt_depth[rows], text_feature=batch.text_feature[rows]
    )


def test_defaults_are_the_published_loss():
    assert asdict(TextLossConfig()) == {
        "smoothness_weight": 0.01, "std_floor": 2.0, "score": "l1", "num_draws": 2
    }  # fmt: skip
