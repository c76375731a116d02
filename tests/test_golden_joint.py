"""The joint network at full size gives the published depths, losses and gradients (golden/)."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from joint_networks import TINY_JOINT

from common.losses.depth import silog_loss, silog_valid
from common.losses.vae import channel_kl, gaussian_kl
from common.networks.encoder import EncoderConfig
from common.networks.published.names import IDENTITY, published_name
from stage3_depth.joint_model import JointConfig, JointDepth, JointOutput
from tests.golden.networks import GOLDEN, build, load, published_shapes, read_arrays
from tests.golden.recipe import image, unit_feature

pytestmark = pytest.mark.usefixtures("all_cores")
SIZE = (480, 640)
SKIPS = {"joint": "dropped", "joint-legacy": "kept"}
CASES = [(recipe, step) for recipe in SKIPS for step in ("image", "text")]
MAX_DEPTH, KL_WEIGHT = 10.0, 1e-3
GRADIENTS = json.loads((GOLDEN / "joint_gradients.json").read_text())


@dataclass(frozen=True)
class Step:
    """depth: every eighth pixel; norms: of the gradients that joint_gradients.json names."""

    depth: torch.Tensor
    loss: torch.Tensor
    norms: dict[str, float]


@pytest.fixture(scope="module")
def steps() -> dict[tuple[str, str], Step]:
    """The training step of every case, forward and backward; they share one encoder pass."""
    config = JointConfig(encoder=EncoderConfig(drop_path=0.0), prior_mean=1.54)
    network = build(lambda: JointDepth(config, SIZE)).train()
    load(network, "joint_nyu", "joint")
    features = network.encoder(image(31, (1, 3, *SIZE)))
    network.encoder.forward = lambda _: features
    return {(recipe, step): take_step(network, recipe, step) for recipe, step in CASES}


def loss_of(out: JointOutput, step: str) -> torch.Tensor:
    """SILog on random ground truth, and the step's KL term."""
    gt = np.random.RandomState(34).uniform(0.05, 11, tuple(out.depth.shape))  # noqa: NPY002
    gt_depth = torch.from_numpy(gt.astype(np.float32))
    kl = channel_kl(out.eps) if step == "image" else gaussian_kl(out.mean, out.logvar)
    return silog_loss(out.depth, gt_depth, silog_valid(gt_depth, MAX_DEPTH)) + KL_WEIGHT * kl


def take_step(network: JointDepth, recipe: str, step: str) -> Step:
    network.config = replace(network.config, skips=SKIPS[recipe])
    eps = image(33, (1, 128, 30, 40)) if step == "text" else None
    out = network(image(31, (1, 3, *SIZE)), unit_feature(32), eps)
    loss = loss_of(out, step)
    weights = {published_name(n, "joint"): p for n, p in network.named_parameters()}
    wanted = [n for n in GRADIENTS[f"{recipe}/{step} step"]["gradient_norm"] if n in weights]
    gradients = torch.autograd.grad(
        loss, [weights[n] for n in wanted], retain_graph=True, allow_unused=True
    )
    norms = [0.0 if g is None else float(g.norm()) for g in gradients]
    return Step(
        out.depth.detach()[:, :, ::8, ::8], loss.detach(), dict(zip(wanted, norms, strict=True))
    )


def part_of(name: str) -> str:
    """The parts that joint_gradients.json tells apart."""
    first, second = name.split(".")[:2]
    return first if first == "backbone" else f"{first}.{second}"


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "step"), CASES)
def test_depth_and_loss(steps, recipe, step):
    golden = read_arrays("joint_nyu.npz")
    result = steps[recipe, step]
    kind = {"image": "image", "text": "gauss"}[step]
    reference = golden[f"{kind}_legacy{list(SKIPS).index(recipe)}"]
    assert (result.depth - reference).abs().max() < 1e-4
    expected = GRADIENTS[f"{recipe}/{step} step"]["loss"]
    assert float(result.loss) == pytest.approx(expected, rel=1e-5)
    if recipe == "joint":
        assert float(result.loss) == pytest.approx(float(golden[f"loss_{step}"]), rel=1e-5)


@pytest.mark.parametrize(("recipe", "step"), CASES)
def test_gradient_norms(steps, recipe, step):
    expected = GRADIENTS[f"{recipe}/{step} step"]["gradient_norm"]
    norms = steps[recipe, step].norms
    assert set(expected) - set(norms) == {"ref_2.fw.0.weight"}  # not in this network
    for name, norm in norms.items():
        assert norm == pytest.approx(expected[name], rel=1e-3), name


@pytest.mark.parametrize(("recipe", "step"), CASES)
def test_the_same_parts_get_no_gradient(recipe, step):
    """Which parts they are does not depend on sizes, so a tiny network tells."""
    network = JointDepth(replace(TINY_JOINT, skips=SKIPS[recipe]), (64, 96))
    eps = torch.randn(2, 8, 4, 6) if step == "text" else None
    loss_of(network(torch.randn(2, 3, 64, 96), torch.randn(2, 16), eps), step).backward()
    parts: dict[str, set[bool]] = {}
    for name, weight in network.named_parameters():
        parts.setdefault(part_of(published_name(name, "joint")), set()).add(weight.grad is not None)
    expected = GRADIENTS[f"{recipe}/{step} step"]
    without = {part for part, got in parts.items() if got == {False}}
    assert without == set(expected["no_gradient"]) - {"ref_2.fw"}  # not in this network
    assert {part for part, got in parts.items() if len(got) == 2} == set(expected["partly"])


def test_kitti_weights_fit_the_network():
    network = build(lambda: JointDepth(JointConfig(prior_mean=1.54), (352, 1216)))
    own = {n: w for n, w in network.state_dict().items() if not n.endswith(tuple(IDENTITY))}
    shapes = {published_name(name, "joint"): weight.shape for name, weight in own.items()}
    published = published_shapes("joint_kitti")
    assert shapes == {name: published[name].shape for name in shapes}
