"""Small parts of the networks: the reparameterization, said once in the whole project."""

from functools import partial

import numpy as np
import pytest
import torch
from joint_networks import TINY_JOINT

from benchmarks.networks import NETWORKS, make_network
from common.config import REPO_ROOT
from common.networks import layers
from common.networks.decoder import Refine
from common.networks.fast import plain
from common.networks.layers import reparameterize, std_of
from stage3_depth.joint_model import JointDepth


@pytest.mark.parametrize("cells", [(), (3, 4)])
def test_reparameterization(cells):
    rng = np.random.default_rng(0)
    mean, logvar, eps = (rng.normal(size=s) for s in ((2, 5), (2, 5), (2, 5, *cells)))
    expected = np.empty_like(eps)
    for i in range(2):
        for c in range(5):
            expected[i, c] = mean[i, c] + np.sqrt(np.exp(logvar[i, c])) * eps[i, c]
    tensors = [torch.from_numpy(x).requires_grad_() for x in (mean, logvar, eps)]
    z = reparameterize(*tensors)
    np.testing.assert_allclose(z.detach().numpy(), expected)
    z.sum().backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in tensors)
    np.testing.assert_allclose(std_of(tensors[1]).detach().numpy() ** 2, np.exp(logvar))


def test_half_the_logarithm_of_the_variance_is_taken_in_one_place():
    folders = ("common", "stage1_vae", "stage2_sampler", "stage3_depth", "llm_mde")
    files = [path for folder in folders for path in (REPO_ROOT / folder).rglob("*.py")]
    found = [
        path.name
        for path in files
        if path.parent.name != "published" and "logvar / 2" in path.read_text(encoding="utf-8")
    ]
    assert found == ["layers.py"]


SIZE = (64, 96)


def run_stage3():
    torch.manual_seed(0)
    network = make_network("stage3", NETWORKS["tiny"], SIZE)
    image, text = torch.randn(2, 3, *SIZE), torch.randn(2, 64)
    return network, network(image, text, torch.randn(2, 64))


def run_joint(is_text_step):
    torch.manual_seed(0)
    network = JointDepth(TINY_JOINT, SIZE)
    image, text = torch.randn(2, 3, *SIZE), torch.randn(2, 16)
    noise = torch.randn(2, 8, 4, 6) if is_text_step else None
    return network, network(image, text, noise).depth


@pytest.mark.parametrize(
    "run", [run_stage3, partial(run_joint, True), partial(run_joint, False)],
    ids=["stage3", "joint-text", "joint-image"],
)  # fmt: skip
def test_the_order_of_a_gpu_changes_no_numbers_and_reaches_the_whole_decoder(run, monkeypatch):
    """Where one map in another order is concatenated, all that follows would fall back."""
    results, orders = [], []
    forward = Refine.forward

    def spy(module, *maps):
        orders.append([m.is_contiguous(memory_format=torch.channels_last) for m in maps])
        return forward(module, *maps)

    monkeypatch.setattr(Refine, "forward", spy)
    for is_gpu in (False, True):
        monkeypatch.setattr(layers, "_is_gpu", lambda x, answer=is_gpu: answer)
        with plain("matrix-upsampling"):  # a GPU takes PyTorch's, which keeps the order
            network, depth = run()
        depth.log().sum().backward()
        grads = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        results.append((depth.detach(), torch.cat(grads)))
    assert orders[3:] == [[True, True]] * 3
    (depth, grad), (same_depth, same_grad) = results
    torch.testing.assert_close(same_depth, depth, rtol=1e-4, atol=1e-5)
    assert (same_grad - grad).norm() < 1e-4 * grad.norm()
