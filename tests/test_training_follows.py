"""Five training steps follow a plain rendering of the published step, within 1e-4 relative.

This project's side is the real thing: `fit` with each stage's `step_fn`. The other side takes the
same start weights under their published names, the same batches and the same noise through
`common/networks/published/plain.py`, and updates with PyTorch's Adam, gradient clipping at 1 and
the polynomial schedule. Stochastic depth is off, its random numbers being nobody's standard.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from batches import make_batch
from torch import Tensor, nn

import stage1_vae.train
import stage3_depth.train
import stage3_depth.train_joint
from common.data.batch import Batch
from common.engine.loop import Hooks, Plan, Task, fit
from common.engine.optimization import adam
from common.engine.train_config import TrainConfig
from common.losses.depth import DepthLossConfig
from common.networks.encoder import EncoderConfig
from common.networks.layers import trainable_parameters
from common.networks.published import plain
from common.networks.published.names import IDENTITY, Kind, published_name
from common.networks.published.plain import Weights
from common.runtime.processes import Processes
from common.runtime.randomness import StepRandom
from stage1_vae.config import TextLossConfig
from stage1_vae.model import TextVAE, TextVAEConfig
from stage2_sampler.model import SamplerConfig
from stage3_depth.config import JointLossConfig
from stage3_depth.joint_model import JointConfig, JointDepth
from stage3_depth.model import EstimatorConfig, LanguageDepth

STEPS, SIZE, BATCH, SEED, MAX_DEPTH = 5, (64, 96), 2, 3, 10.0
HEADS, WINDOW = (1, 2, 2, 4), 4
ENCODER = EncoderConfig(
    8, (1, 2, 2, 1), HEADS, WINDOW, drop_path=0.0
)  # 4 does not divide 2x3 cells
VAE = TextVAEConfig(
    text_dim=12,
    hidden_dims=(16, 8),
    latent_dim=8,
    code_channels=8,
    metric_hidden=8,
    prior_mean=1.54,
)
# Constants that softmax or instance norm takes out again: their gradients are rounding errors.
NO_EFFECT = (".qkv.bias", ".mix.1.bias", ".mix.4.bias")
LR, FINAL_LR = 1e-3, 1e-4  # larger than published, so that five steps lead somewhere


def batches() -> list[Batch]:
    """Pictures, features and depths with holes and with some values beyond the range."""
    g = torch.Generator().manual_seed(1)
    made = []
    for _ in range(STEPS):
        gt = 0.05 + 11 * torch.rand(BATCH, 1, *SIZE, generator=g)
        gt[torch.rand(gt.shape, generator=g) < 0.3] = 0
        made.append(
            make_batch(
                image=torch.randn(BATCH, 3, *SIZE, generator=g),
                gt_depth=gt,
                text_feature=torch.randn(BATCH, 12, generator=g),
                image_feature=torch.randn(BATCH, 12, generator=g),
            )
        )
    return made


def noise(step: int) -> StepRandom:
    return StepRandom(SEED, step, BATCH, 0, BATCH)


def shake(network: nn.Module) -> None:
    """Position tables and embeddings start too small to matter in five steps."""
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "position" in name:
                weight.copy_(0.5 * torch.randn(weight.shape, generator=g))


def published_weights(network: nn.Module, kind: Kind) -> Weights:
    """A copy of the weights under their published names, ready to be trained."""
    return {
        published_name(name, kind): weight.detach().clone().requires_grad_()
        for name, weight in network.state_dict().items()
        if not name.endswith(tuple(IDENTITY))
    }


def losses_of_this_project(
    network: nn.Module, step_fn: Callable, weight_decay: float = 0.0
) -> list[float]:
    config = TrainConfig(
        batch_size=BATCH,
        max_steps=STEPS,
        lr=LR,
        final_lr=FINAL_LR,
        clip_norm=1.0,
        weight_decay=weight_decay,
        precision="fp32",
        log_every=1,
        schedule="polynomial",
    )
    losses: list[float] = []
    fit(
        network.train(),
        Task(step_fn),
        iter(batches()),
        adam(trainable_parameters(network), config),
        Plan(config, SEED, start_step=0, total_steps=STEPS, evaluate_every=100),
        Hooks(
            log=lambda step, values: losses.append(values["loss/total"]),
            evaluate=lambda step: None,
            save=lambda step: None,
        ),
        Processes(0, 1, torch.device("cpu")),
    )
    return losses


def losses_of_plain_steps(
    loss_of: Callable[[int, Batch], Tensor], weights: list[Weights], weight_decay: float = 0.0
) -> list[float]:
    parameters = [weight for part in weights for weight in part.values()]
    optimizer = torch.optim.Adam(parameters, lr=LR, weight_decay=weight_decay)
    losses = []
    for step, batch in enumerate(batches()):
        optimizer.zero_grad()
        loss = loss_of(step, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = (LR - FINAL_LR) * (1 - step / STEPS) ** 0.9 + FINAL_LR
        optimizer.step()
        losses.append(loss.item())
    return losses


def assert_follows(ours: list[float], plain_losses: list[float]) -> None:
    assert len(ours) == STEPS
    assert ours == pytest.approx(plain_losses, rel=1e-4)


def assert_same_weights(network: nn.Module, trained: Weights, kind: Kind) -> None:
    """Where training led to, too; an update moves a weight by about the learning rate."""
    for name, weight in network.named_parameters():
        if name.endswith(NO_EFFECT):
            continue
        theirs = trained[published_name(name, kind)]
        torch.testing.assert_close(weight, theirs, rtol=1e-3, atol=0.05 * LR, msg=name)


def test_stage1():
    torch.manual_seed(0)
    network = TextVAE(VAE)
    w = published_weights(network, "stage1")
    step_fn = partial(stage1_vae.train.step_fn, loss=TextLossConfig(), max_depth=MAX_DEPTH)

    def loss_of(step: int, batch: Batch) -> Tensor:
        eps = noise(step).normal(VAE.latent_dim, device=torch.device("cpu"))
        depth, std = plain.text_vae(batch.text_feature, eps, w, SIZE, VAE.prior_mean)
        return plain.vae_loss(depth, std, batch.gt_depth, batch.image, MAX_DEPTH)

    assert_follows(losses_of_this_project(network, step_fn), losses_of_plain_steps(loss_of, [w]))
    assert_same_weights(network, w, "stage1")


def test_staged_stage3():
    torch.manual_seed(0)
    config = EstimatorConfig(
        decoder_channels=(16, 8, 8), metric_hidden=8, encoder=ENCODER, prior_mean=1.54
    )
    sampler = SamplerConfig(image_dim=12, hidden_dims=(16, 8))
    network = LanguageDepth(config, sampler, VAE, SIZE)
    shake(network)
    parts = {"prior": network.scenes, "stage2": network.sampler, "stage3": network.estimator}
    w = {kind: published_weights(part, kind) for kind, part in parts.items()}
    step_fn = partial(stage3_depth.train.step_fn, loss=DepthLossConfig(0.85), max_depth=MAX_DEPTH)

    def loss_of(step: int, batch: Batch) -> Tensor:
        eps = plain.mlp(batch.image_feature, w["stage2"], "eps_net")
        prior, text = w["prior"], batch.text_feature
        std = torch.exp(plain.mlp(text, prior, "deviation") / 2)
        levels = plain.scene(plain.mlp(text, prior, "mean") + eps * std, prior, SIZE)
        features = plain.swin(batch.image, w["stage3"], HEADS, WINDOW)
        depth = plain.depth_estimator(features, levels, w["stage3"], config.prior_mean)
        return plain.silog(depth, batch.gt_depth, MAX_DEPTH)

    ours = losses_of_this_project(network, step_fn, weight_decay=1e-3)
    assert_follows(ours, losses_of_plain_steps(loss_of, list(w.values()), weight_decay=1e-3))
    for kind, part in parts.items():
        assert_same_weights(part, w[kind], kind)


@pytest.mark.parametrize("skips", ["dropped", "kept"])
def test_joint(skips):
    torch.manual_seed(0)
    config = JointConfig(
        (16, 8, 8), 8, 12, (16, 8), metric_hidden=8, skips=skips, encoder=ENCODER, prior_mean=1.54
    )
    network = JointDepth(config, SIZE)
    shake(network)
    w = published_weights(network, "joint")
    loss = JointLossConfig(text_step_probability=0.5)
    coins = [noise(step).coin(0.5) for step in range(STEPS)]
    assert 0 < sum(coins) < STEPS  # both kinds of step
    step_fn = partial(stage3_depth.train_joint.step_fn, loss=loss, max_depth=MAX_DEPTH)

    def loss_of(step: int, batch: Batch) -> Tensor:
        eps = None
        if coins[step]:
            eps = noise(step).normal(8, SIZE[0] // 16, SIZE[1] // 16, device=torch.device("cpu"))
        depth, mean, logvar, eps = plain.joint(
            batch.image,
            batch.text_feature,
            eps,
            w,
            (HEADS, WINDOW),
            config.prior_mean,
            legacy=skips == "kept",
        )
        kl = plain.text_kl(mean, logvar) if coins[step] else plain.image_kl(eps)
        return plain.silog(depth, batch.gt_depth, MAX_DEPTH) + 1e-3 * kl

    assert_follows(losses_of_this_project(network, step_fn), losses_of_plain_steps(loss_of, [w]))
    assert_same_weights(network, w, "joint")
