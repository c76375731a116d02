"""The published numbers on the GPU, and each fast form beside its plain one there.

References are those of tests/golden: depths of the published networks with weights that are
functions of their names. Float32 is taken without TF32.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.bench import Bench, products_in
from benchmarks.gpu.recipes import LLM_MDE, RECIPES, batch_of, network_of, step_of
from common.config import REPO_ROOT
from common.networks.encoder import EncoderConfig
from common.networks.fast import plain
from common.networks.fast.window_attention import attends_in_place
from common.networks.swin_parts import ShiftedAttention
from common.runtime.precision import autocast
from common.runtime.randomness import StepRandom
from stage1_vae.model import TextVAE, TextVAEConfig
from stage2_sampler.model import SamplerConfig
from stage3_depth.joint_model import JointConfig, JointDepth
from stage3_depth.model import EstimatorConfig, LanguageDepth

SIZE = (480, 640)
CLOSE = {"fp32": 1e-3, "bf16": 2e-2}  # meters; of bf16 the share of the reference, on average


def check_golden(bench: Bench) -> None:
    """Depths of stage 1, stage 3 and both joint steps in float32 and bf16."""
    cases = CASES[:1] if bench.is_tiny else CASES  # Swin-L takes a CPU half a minute
    for name, case in cases:
        try:
            predict, reference = case(bench.device)
        except Exception as error:
            bench.attempt(f"golden {name}", partial(_raise, error))
            continue
        for precision in ("fp32", "bf16"):
            action = partial(compare, predict, reference, precision, bench.device)
            bench.attempt(f"golden {name}", action, precision=precision)
        del predict
        bench.free()


@torch.no_grad()
def compare(
    predict: Callable[[], Tensor], reference: Tensor, precision: str, device: torch.device
) -> dict[str, Any]:
    """Differences at every eighth pixel, in meters and as a share."""
    with products_in(device, tf32=False), autocast(precision, device):
        depth = predict().float().cpu()[:, :, ::8, ::8]
    difference = (depth - reference).abs()
    found = {
        "largest_m": difference.max().item(),
        "mean_share": (difference / reference).mean().item(),
        "largest_share": (difference / reference).max().item(),
    }
    measured = found["largest_m"] if precision == "fp32" else found["mean_share"]
    return {**found, "ok": measured < CLOSE[precision]}


Case = Callable[[torch.device], tuple[Callable[[], Tensor], Tensor]]


def stage1(device: torch.device) -> tuple[Callable[[], Tensor], Tensor]:
    """Stage 1 with noise."""
    golden = Golden()
    network = golden.network(lambda: TextVAE(TextVAEConfig(prior_mean=1.54)))
    golden.load(network, "staged_stage1", "stage1")
    text, eps = golden.unit_feature(2, 2).to(device), golden.image(4, (2, 256)).to(device)
    network.to(device)
    return lambda: network(text, eps, SIZE).depth, golden.array("staged", "s1_depth_eps4")


def stage3(device: torch.device) -> tuple[Callable[[], Tensor], Tensor]:
    """Stage 3 with stages 1 and 2 in it."""
    golden = Golden()
    network = golden.network(
        lambda: LanguageDepth(
            EstimatorConfig(prior_mean=1.54), SamplerConfig(), TextVAEConfig(prior_mean=1.54), SIZE
        )
    )
    golden.load(network.scenes, "staged_stage1", "prior")
    golden.load(network.sampler, "staged_stage2", "stage2")
    golden.load(network.estimator, "staged_stage3", "stage3")
    network.to(device)
    inputs = golden.image(1, (2, 3, *SIZE)), golden.unit_feature(2, 2), golden.unit_feature(3, 2)
    inputs = tuple(x.to(device) for x in inputs)
    return lambda: network(*inputs), golden.array("staged", "s3_depth")


def joint(step: str, device: torch.device) -> tuple[Callable[[], Tensor], Tensor]:
    """The joint network; step: `image` or `gauss` (text)."""
    golden = Golden()
    config = JointConfig(encoder=EncoderConfig(drop_path=0.0), prior_mean=1.54)
    network = golden.network(lambda: JointDepth(config, SIZE))
    golden.load(network, "joint_nyu", "joint")
    network.to(device)
    image, text = golden.image(31, (1, 3, *SIZE)).to(device), golden.unit_feature(32).to(device)
    eps = golden.image(33, (1, 128, 30, 40)).to(device) if step == "gauss" else None
    return lambda: network(image, text, eps).depth, golden.array("joint", f"{step}_legacy0")


CASES: tuple[tuple[str, Case], ...] = (
    ("stage1", stage1),
    ("stage3", stage3),
    ("joint-image", partial(joint, "image")),
    ("joint-text", partial(joint, "gauss")),
)


class Golden:
    """tests/golden: its arrays, and what builds and loads its networks."""

    def __init__(self) -> None:
        if (folder := str(REPO_ROOT / "tests")) not in sys.path:
            sys.path.append(folder)  # a folder of data and how they were made, not a package
        from golden import networks, recipe

        self.load, self.network = networks.load, networks.build
        self.image, self.unit_feature = recipe.image, recipe.unit_feature
        self.read_arrays = networks.read_arrays

    def array(self, system: str, name: str) -> Tensor:
        """A reference of the staged or the joint system."""
        return self.read_arrays(f"{system}_nyu.npz")[name]


def check_twins(bench: Bench) -> None:
    """One step of every recipe with the fast and with the plain forms, float32 without TF32."""
    for what in RECIPES:
        if what != LLM_MDE:
            bench.attempt(f"fast and plain {what}", partial(compare_twins, what, bench))


def compare_twins(what: str, bench: Bench) -> dict[str, Any]:
    """Loss and gradients, each relative to the largest."""
    network = network_of(what, bench)
    batch = batch_of(what, 1, bench).to(bench.device)
    with products_in(bench.device, tf32=False):
        loss, gradients = loss_and_gradients(what, network, batch)
        with plain():
            plain_loss, plain_gradients = loss_and_gradients(what, network, batch)
    scale = max(g.abs().max().item() for g in plain_gradients)
    worst = max((a - b).abs().max().item() for a, b in zip(gradients, plain_gradients, strict=True))
    loss_share = abs(loss - plain_loss) / abs(plain_loss)
    found = {"loss_share": loss_share, "gradient_share": worst / scale}
    return {**found, "ok": max(found.values()) < 1e-3}


def check_attention(bench: Bench) -> None:
    """Window attention in bf16 as it is taken there, and by PyTorch's kernels, beside float32."""
    for shift in (0, 6):
        for form, names in (("ours", ()), ("PyTorch's", ("window-kernel",))):
            action = partial(compare_attention, shift, names, bench.device)
            bench.attempt("attention in bf16", action, form=form, shift=shift)


def compare_attention(shift: int, plain_names: tuple[str, ...], device: torch.device) -> dict:
    """Distances of output and gradients from those of float32, as shares of their norms."""
    torch.manual_seed(0)
    attention = ShiftedAttention(128, 4, 12, shift).to(device)  # 12x12 windows, heads of 32
    x = torch.randn(2, 20, 31, 128, device=device, requires_grad=True)
    factors, inputs = torch.randn_like(x), (x, *attention.parameters())
    results = []
    for precision in ("fp32", "bf16"):
        taken = plain(*plain_names) if plain_names else nullcontext()
        with products_in(device, tf32=False), autocast(precision, device), taken:
            out = attention(x)
        grads = torch.autograd.grad((out.float() * factors).sum(), inputs)
        results.append((out.detach().float(), *grads))
    shares = [((b - a).norm() / a.norm()).item() for a, b in zip(*results, strict=True)]
    cells = torch.empty(2, 620, 384, dtype=torch.bfloat16, device=device)
    with plain(*plain_names) if plain_names else nullcontext():
        is_ours = attends_in_place(cells, torch.empty(4, 144, 144))
    found = {"output_share": shares[0], "gradient_share": max(shares[1:]), "is_ours": is_ours}
    is_as_told = is_ours == (device.type == "cuda" and not plain_names)
    return {**found, "ok": max(shares) < 0.02 and is_as_told}


def loss_and_gradients(what: str, network: nn.Module, batch: Any) -> tuple[float, list[Tensor]]:
    """Of one step with the same random numbers each time."""
    rng = StepRandom(0, 0, 1, 0, 1)
    rng.seed_modules()
    network.zero_grad()
    loss = step_of(what)(network, batch, rng, {})["total"]
    loss.backward()
    return loss.item(), [p.grad for p in network.parameters() if p.grad is not None]


def _raise(error: Exception) -> dict[str, Any]:
    raise error
