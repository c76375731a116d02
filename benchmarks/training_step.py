"""Time and memory of a training step against a plain rendering of the published step.

  python benchmarks/training_step.py                        # stage 1, stage 3, joint; full size
  python benchmarks/training_step.py --what stage1 --size 96 128 --rounds 5

Each line is a process of its own, one after the other: `plain` is `tests/golden/plain_networks.py`
in float32 with PyTorch's Adam, as the published code trains; `fp32` and `bf16` are this project's
`fit`. Seconds are the median over steps of forward, backward and update, the first left out; data
are made up and loading is not part of it. Full size is Swin-L at 480x640 and needs 12 GB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from common.distributed import Processes
from common.engine import TrainConfig, adam, fit, memory_gb
from common.layers import trainable_parameters
from common.published import IDENTITY, Kind, published_name
from common.randomness import StepRandom
from common.run import machine
from common.swin import SwinConfig
from common.vae_loss import VAELossConfig
from stage1_vae.model import TextVAE, TextVAEConfig
from stage1_vae.train import step_fn as stage1_step
from stage2_sampler.model import SamplerConfig
from stage3_depth.config import JointLossConfig
from stage3_depth.joint_model import JointConfig, JointDepth
from stage3_depth.model import EstimatorConfig, LanguageDepth
from stage3_depth.train import step_fn as stage3_step
from stage3_depth.train_joint import step_fn as joint_step
from tests.golden import plain_networks as plain

WHAT = ("stage1", "stage3", "joint-image", "joint-text")
BATCH = {"stage1": 4, "stage3": 1, "joint-image": 1, "joint-text": 1}
ENCODER = SwinConfig()  # Swin-L
VAE = TextVAEConfig()
MAX_DEPTH = 10.0
Batch = dict[str, Any]


def main() -> None:
    """Run every variant in a process of its own and print one table for each network."""
    arguments = _parse()
    if arguments.variant:
        print(json.dumps(measure(arguments.what[0], arguments.variant, arguments)))
        return
    print(f"{machine()}, torch {torch.__version__}, {arguments.threads} threads")
    for what in arguments.what:
        rows = {variant: _in_a_process(what, variant, arguments) for variant in arguments.variants}
        print(f"{what}, {arguments.size[0]}x{arguments.size[1]}, batch {BATCH[what]}")
        for variant, row in rows.items():
            first = next(iter(rows.values()))
            faster = first["seconds"] / row["seconds"]
            memory = row["memory_gb"] / first["memory_gb"]
            print(
                f"  {variant:6}{row['seconds']:9.3f} s/image{row['memory_gb']:7.2f} GB"
                f"{faster:7.1f}x faster{memory:6.2f} of the memory"
            )


def measure(what: str, variant: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds per image and peak memory of this process."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    batch, size = make_batch(BATCH[what], tuple(arguments.size)), tuple(arguments.size)
    network = make_network(what, size)
    if variant == "plain":
        times = time_plain(what, network, batch, arguments.rounds)
    else:
        times = time_fit(what, network, batch, variant, arguments.rounds)
    seconds = statistics.median(times[1:]) / BATCH[what]
    return {"seconds": seconds, "memory_gb": memory_gb(torch.device("cpu"))}


def make_batch(count: int, size: tuple[int, int]) -> Batch:
    """Pictures, features and depths with three in ten pixels unmeasured."""
    gt_depth = 0.5 + 9 * torch.rand(count, 1, *size)
    gt_depth[torch.rand(gt_depth.shape) < 0.3] = 0
    return {
        "image": torch.randn(count, 3, *size),
        "gt_depth": gt_depth,
        "text_feature": torch.randn(count, 1024),
        "image_feature": torch.randn(count, 1024),
        "position": torch.arange(count),
    }


def make_network(what: str, size: tuple[int, int]) -> nn.Module:
    """The published sizes; an untrained encoder costs the same."""
    if what == "stage1":
        return TextVAE(VAE)
    if what == "stage3":
        return LanguageDepth(EstimatorConfig(encoder=ENCODER), SamplerConfig(), VAE, size)
    return JointDepth(JointConfig(encoder=ENCODER), size)


def time_fit(
    what: str, network: nn.Module, batch: Batch, precision: Any, rounds: int
) -> list[float]:
    """Seconds of each step of this project's training loop."""
    coin = 1.0 if what == "joint-text" else 0.0
    joint = partial(joint_step, loss=JointLossConfig(text_step_probability=coin))
    steps: dict[str, Callable] = {
        "stage1": partial(stage1_step, loss=VAELossConfig()),
        "stage3": partial(stage3_step, silog_lambda=0.85),
    }
    config = TrainConfig(
        batch_size=BATCH[what], max_steps=rounds + 1, precision=precision, log_every=1
    )
    times: list[float] = []
    fit(
        model=network.train(), step_fn=partial(steps.get(what, joint), max_depth=MAX_DEPTH),
        micro_batches=iter([batch] * (rounds + 1)), config=config, total_steps=rounds + 1,
        optimizer=adam(trainable_parameters(network), config), start_step=0, seed=0,
        who=Processes(0, 1, torch.device("cpu")), evaluate=lambda step: None,
        evaluate_every=rounds + 2, save=lambda step: None,
        log=lambda step, values: times.append(values["step_seconds"]),
    )  # fmt: skip
    return times


def time_plain(what: str, network: nn.Module, batch: Batch, rounds: int) -> list[float]:
    """Seconds of each plain step."""
    loss_of, parameters = plain_loss(what, network)
    optimizer = torch.optim.Adam(parameters, lr=1e-5)
    times = []
    for step in range(rounds + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss_of(batch, StepRandom(0, step, BATCH[what], 0, BATCH[what])).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return times


def plain_loss(
    what: str, network: nn.Module
) -> tuple[Callable[[Batch, StepRandom], Tensor], list[Tensor]]:
    """The loss as a function of batch and noise, and what is trained."""
    if what == "stage1":
        w = published_weights(network, "stage1")
        return partial(plain_stage1, w), list(w.values())
    if what == "stage3":
        parts = (network.scenes, network.sampler, network.estimator)
        kinds: tuple[Kind, ...] = ("prior", "stage2", "stage3")
        ws = [published_weights(part, kind) for part, kind in zip(parts, kinds, strict=True)]
        return partial(plain_stage3, *ws), [weight for w in ws for weight in w.values()]
    w = published_weights(network, "joint")
    return partial(plain_joint, w, what == "joint-text"), list(w.values())


def published_weights(network: nn.Module, kind: Kind) -> plain.Weights:
    """The network's own weights under their published names."""
    return {
        published_name(name, kind): weight.detach().requires_grad_()
        for name, weight in network.state_dict().items()
        if not name.endswith(tuple(IDENTITY))
    }


def plain_stage1(w: plain.Weights, batch: Batch, rng: StepRandom) -> Tensor:
    """Stage 1's loss."""
    eps = rng.normal(VAE.latent_dim, device=torch.device("cpu"))
    size = tuple(batch["image"].shape[-2:])
    depth, std = plain.text_vae(batch["text_feature"], eps, w, size, VAE.prior_mean)
    return plain.vae_loss(depth, std, batch["gt_depth"], batch["image"], MAX_DEPTH)


def plain_stage3(
    prior: plain.Weights, sampler: plain.Weights, w: plain.Weights, batch: Batch, rng: StepRandom
) -> Tensor:
    """Stage 3's loss; stage 1's own depth, which the published code computes too, is left out."""
    eps = plain.mlp(batch["image_feature"], sampler, "eps_net")
    text = batch["text_feature"]
    std = torch.exp(plain.mlp(text, prior, "deviation") / 2)
    size = tuple(batch["image"].shape[-2:])
    levels = plain.scene(plain.mlp(text, prior, "mean") + eps * std, prior, size)
    features = plain.swin(batch["image"], w, ENCODER.num_heads, ENCODER.window_size)
    depth = plain.depth_estimator(features, levels, w, 1.54)
    return plain.silog(depth, batch["gt_depth"], MAX_DEPTH)


def plain_joint(w: plain.Weights, text_step: bool, batch: Batch, rng: StepRandom) -> Tensor:
    """The joint network's loss."""
    height, width = batch["image"].shape[-2:]
    eps = rng.normal(128, height // 16, width // 16, device=torch.device("cpu"))
    encoder = (ENCODER.num_heads, ENCODER.window_size)
    depth, mean, logvar, eps = plain.joint(
        batch["image"], batch["text_feature"], eps if text_step else None, w, encoder, 1.54, False
    )
    kl = plain.text_kl(mean, logvar) if text_step else plain.image_kl(eps)
    return plain.silog(depth, batch["gt_depth"], MAX_DEPTH) + 1e-3 * kl


def _in_a_process(what: str, variant: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [
        sys.executable, __file__, "--what", what, "--variant", variant, "--size",
        *map(str, arguments.size), "--rounds", str(arguments.rounds),
        "--threads", str(arguments.threads),
    ]  # fmt: skip
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(result.stdout)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--what", nargs="+", choices=WHAT, default=["stage1", "stage3", "joint-image"])
    add(
        "--variants",
        nargs="+",
        choices=("plain", "fp32", "bf16"),
        default=["plain", "fp32", "bf16"],
    )
    add("--size", nargs=2, type=int, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    add("--rounds", type=int, default=3, help="timed steps (default 3)")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--variant", help=argparse.SUPPRESS)  # measure this one, in this process
    return parser.parse_args()


if __name__ == "__main__":
    main()
