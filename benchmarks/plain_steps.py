"""The published training step in plain float32 eager PyTorch: what `train_step` compares with.

Networks and losses are those of `tests/golden/plain_networks.py`, which shares no code with this
project; weights are a network's own, under their published names.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.networks import MAX_DEPTH, NetworkSizes
from common.data.batch import Batch
from common.networks.published.names import IDENTITY, Kind, published_name
from common.runtime.randomness import StepRandom
from tests.golden import plain_networks as plain

PRIOR_MEAN = 1.54
LossFn = Callable[[Batch, StepRandom], Tensor]


def time_plain(
    what: str, network: nn.Module, batch: Batch, sizes: NetworkSizes, rounds: int, steps: int
) -> list[float]:
    """Seconds of a step, one mean over `steps` of them for each round."""
    device = batch.image.device
    with device:  # its constants are made where the default device is
        step = plain_step(what, network, batch, sizes)
        times = []
        for number in range(rounds):
            start = time.perf_counter()
            for inner in range(steps):
                step(number * steps + inner)
            synchronize(device)
            times.append((time.perf_counter() - start) / steps)
    return times


def plain_step(
    what: str, network: nn.Module, batch: Batch, sizes: NetworkSizes
) -> Callable[[int], None]:
    """One step as published: zero_grad, loss, backward, clip at 1, PyTorch's Adam."""
    loss_of, parameters = plain_loss(what, network, sizes)
    optimizer = torch.optim.Adam(parameters, lr=1e-5)
    count = len(batch)

    def step(number: int) -> None:
        optimizer.zero_grad()
        loss_of(batch, StepRandom(0, number, count, 0, count)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def plain_loss(what: str, network: nn.Module, sizes: NetworkSizes) -> tuple[LossFn, list[Tensor]]:
    """The loss as a function of batch and noise, and what is trained."""
    if what == "stage1":
        w = published_weights(network, "stage1")
        return partial(_stage1, w, sizes), list(w.values())
    if what == "stage3":
        parts = (network.scenes, network.sampler, network.estimator)
        kinds: tuple[Kind, ...] = ("prior", "stage2", "stage3")
        ws = [published_weights(part, kind) for part, kind in zip(parts, kinds, strict=True)]
        return partial(_stage3, *ws, sizes), [weight for w in ws for weight in w.values()]
    w = published_weights(network, "joint")
    return partial(_joint, w, sizes, what == "joint-text"), list(w.values())


def published_weights(network: nn.Module, kind: Kind) -> plain.Weights:
    """The network's own weights under their published names."""
    return {
        published_name(name, kind): weight.detach().requires_grad_()
        for name, weight in network.state_dict().items()
        if not name.endswith(tuple(IDENTITY))
    }


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, if it is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _stage1(w: plain.Weights, sizes: NetworkSizes, batch: Batch, rng: StepRandom) -> Tensor:
    eps = _noise(rng, batch, sizes.vae.latent_dim)
    size = batch.size
    depth, std = plain.text_vae(batch.text_feature, eps, w, size, PRIOR_MEAN)
    return plain.vae_loss(depth, std, batch.gt_depth, batch.image, MAX_DEPTH)


def _stage3(
    prior: plain.Weights,
    sampler: plain.Weights,
    w: plain.Weights,
    sizes: NetworkSizes,
    batch: Batch,
    rng: StepRandom,
) -> Tensor:
    """Without stage 1's own depth, which the published code computes too."""
    eps = plain.mlp(batch.image_feature, sampler, "eps_net")
    text = batch.text_feature
    std = torch.exp(plain.mlp(text, prior, "deviation") / 2)
    size = batch.size
    levels = plain.scene(plain.mlp(text, prior, "mean") + eps * std, prior, size)
    features = plain.swin(batch.image, w, *_encoder(sizes))
    depth = plain.depth_estimator(features, levels, w, PRIOR_MEAN)
    return plain.silog(depth, batch.gt_depth, MAX_DEPTH)


def _joint(
    w: plain.Weights, sizes: NetworkSizes, text_step: bool, batch: Batch, rng: StepRandom
) -> Tensor:
    height, width = batch.size
    cells = (sizes.vae.code_channels, height // 16, width // 16)
    eps = _noise(rng, batch, *cells) if text_step else None
    depth, mean, logvar, eps = plain.joint(
        batch.image, batch.text_feature, eps, w, _encoder(sizes), PRIOR_MEAN, False
    )
    kl = plain.text_kl(mean, logvar) if text_step else plain.image_kl(eps)
    return plain.silog(depth, batch.gt_depth, MAX_DEPTH) + 1e-3 * kl


def _noise(rng: StepRandom, batch: Batch, *shape: int) -> Tensor:
    """Drawn on the CPU, whatever the default device is."""
    with torch.device("cpu"):
        return rng.normal(*shape, device=batch.image.device)


def _encoder(sizes: NetworkSizes) -> tuple[tuple[int, ...], int]:
    return sizes.encoder.num_heads, sizes.encoder.window_size
