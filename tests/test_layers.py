"""Small parts of the networks: the reparameterization, said once in the whole project."""

import numpy as np
import pytest
import torch

from common.config import REPO_ROOT
from common.networks.layers import reparameterize, std_of


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
