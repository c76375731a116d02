"""Losses against independent numpy renderings, the reference numbers, and parts of a batch."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from common.losses.depth import (
    edge_aware_smoothness,
    masked_l1,
    silog_loss,
    silog_valid,
    smoothness_counts,
)
from common.losses.vae import channel_kl, channel_sums, gaussian_kl, std_floor

GOLDEN = Path(__file__).parent / "golden" / "losses.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def depth_batch(seed: int, batch: int = 4, height: int = 9, width: int = 11):
    """(pred, gt, image, valid), where images have very different numbers of valid pixels."""
    rng = np.random.default_rng(seed)
    gt = rng.uniform(0.05, 11, (batch, 1, height, width))
    pred = gt * np.exp(rng.normal(0, 0.3, gt.shape))
    pred[:, :, 0] = gt[:, :, 0] * (1 + 5e-4)  # below SILog's threshold
    keep = rng.random(gt.shape) < np.linspace(0.2, 1, batch)[:, None, None, None]
    image = rng.normal(0, 1, (batch, 3, height, width))
    tensors = [torch.from_numpy(x.astype(np.float32)) for x in (pred, gt * keep, image)]
    return *tensors, (tensors[1] > 1e-3) & (tensors[1] < 10)


def numpy_silog(pred, gt, max_depth, lam):
    total = 0.0
    for p, g in zip(pred.astype(np.float64), gt.astype(np.float64), strict=True):
        keep = (g > 0.1) & (g < max_depth)
        e = np.log(p[keep]) - np.log(g[keep])
        e = e[np.abs(e) > 1e-3]
        n = keep.sum()
        if n:
            total += (np.sum(e**2) / n - lam * (np.sum(e) / n) ** 2) * n / keep.size
    return total


def numpy_smoothness(pred, image, mask):
    sums, counts = [0.0, 0.0], [0, 0]
    for b, _, i, j in zip(*np.nonzero(mask), strict=True):
        for axis, (i2, j2) in enumerate([(i, j + 1), (i + 1, j)]):
            if i2 < pred.shape[2] and j2 < pred.shape[3]:
                edge = np.mean(np.abs(image[b, :, i2, j2] - image[b, :, i, j]))
                sums[axis] += abs(pred[b, 0, i2, j2] - pred[b, 0, i, j]) * math.exp(-edge)
                counts[axis] += 1
    return sum(s / n for s, n in zip(sums, counts, strict=True) if n)


def test_reference_losses(golden):
    pred, gt, image = (golden[f"loss_{name}"] for name in ("pred", "gt", "image"))
    valid = (gt > 1e-3) & (gt < 10)
    l1 = masked_l1(pred, gt, valid)
    smooth = edge_aware_smoothness(pred, image, ~valid)
    silog = silog_loss(pred, gt, silog_valid(gt, 10))
    assert l1.item() == pytest.approx(golden["loss_vae_l1"].item(), rel=1e-6)
    assert smooth.item() == pytest.approx(golden["loss_vae_smooth"].item(), rel=1e-6)
    assert (l1 + 0.01 * smooth).item() == pytest.approx(golden["loss_vae_total"].item(), rel=1e-6)
    assert silog.item() == pytest.approx(golden["loss_silog_085_10"].item(), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_depth_losses_equal_numpy(seed):
    pred, gt, image, valid = depth_batch(seed, batch=1 + seed, height=5 + seed, width=14 - seed)
    expected = numpy_silog(pred.numpy(), gt.numpy(), 10, lam=0.5)
    assert silog_loss(pred, gt, silog_valid(gt, 10), 0.5).item() == pytest.approx(expected, 1e-5)
    expected = np.abs(pred.numpy() - gt.numpy())[valid.numpy()].mean()
    assert masked_l1(pred, gt, valid).item() == pytest.approx(expected, rel=1e-5)
    expected = numpy_smoothness(pred.numpy(), image.numpy(), ~valid.numpy())
    smooth = edge_aware_smoothness(pred, image, ~valid)
    assert smooth.item() == pytest.approx(expected, rel=1e-5)


def test_silog_valid_is_strict():
    gt = torch.tensor([0.0, 0.1, 0.10001, 9.9999, 10.0, 11.0, math.nan])
    assert silog_valid(gt, 10).tolist() == [False, False, True, True, False, False, False]


def test_silog_ignores_small_errors_but_counts_their_pixels():
    gt = torch.full((1, 1, 2, 2), 4.0)
    pred = gt.clone()
    pred[0, 0, 0] *= math.e
    pred[0, 0, 1] *= math.exp(5e-4)
    pred.requires_grad_()
    loss = silog_loss(pred, gt, silog_valid(gt, 10))
    loss.backward()
    assert loss.item() == pytest.approx(2 / 4 - 0.85 * (2 / 4) ** 2, rel=1e-5)
    assert pred.grad[0, 0, 1].abs().max() == 0 and pred.grad[0, 0, 0].abs().min() > 0


@pytest.mark.parametrize("floor", [2.0, 0.1])
def test_std_floor_and_kl_equal_numpy(floor):
    rng = np.random.default_rng(3)
    mean, logvar = rng.normal(0, 1, (2, 5, 16)).astype(np.float32)
    std = np.exp(logvar / 2)
    expected = max(0.0, floor - std.mean())
    assert std_floor(torch.from_numpy(std), floor).item() == pytest.approx(expected, rel=1e-5)
    per_image = [
        -0.5 * sum(1 + v - m**2 - np.exp(v) for m, v in zip(*row, strict=True))
        for row in zip(mean, logvar, strict=True)
    ]
    kl = gaussian_kl(torch.from_numpy(mean), torch.from_numpy(logvar))
    assert kl.item() == pytest.approx(np.mean(per_image), rel=1e-5)


def test_channel_kl_equals_numpy():
    eps = np.random.default_rng(4).normal(0.3, 1.7, (3, 6, 4, 5)).astype(np.float32)
    expected = 0.0
    for c in range(6):
        cells = eps[:, c].reshape(-1)
        m, s = cells.mean(), cells.std(ddof=1)
        expected += -0.5 * (1 + 2 * np.log(s) - m**2 - s**2)
    assert channel_kl(torch.from_numpy(eps)).item() == pytest.approx(expected, rel=1e-5)


def test_channel_kl_is_zero_for_standardized_channels_and_finite_for_constant_ones():
    eps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    cells = eps.transpose(0, 1).flatten(1)
    mean, std = (x[None, :, None, None] for x in (cells.mean(1), cells.std(1)))
    assert channel_kl((eps - mean) / std).item() == pytest.approx(0, abs=1e-4)
    constant = torch.ones(1, 3, 2, 2, requires_grad=True)
    loss = channel_kl(constant)
    loss.backward()
    assert loss.isfinite() and constant.grad.isfinite().all()


def loss_of_parts(name: str, tensors: list[torch.Tensor], slices: list[slice]) -> torch.Tensor:
    """Sum of the shares of the parts `slices` of one batch, given the whole batch's totals."""
    whole = [tensor.detach() for tensor in tensors]
    total = torch.zeros(())
    for part in slices:
        x = [tensor[part] for tensor in tensors]
        if name == "silog":
            total = total + silog_loss(x[0], x[1], silog_valid(x[1], 10))
        elif name == "l1":
            total = total + masked_l1(x[0], x[1], x[3], whole[3].sum())
        elif name == "smoothness":
            total = total + edge_aware_smoothness(x[0], x[2], ~x[3], *smoothness_counts(~whole[3]))
        elif name == "std_floor":
            count = torch.tensor(whole[0].numel())
            total = total + std_floor(x[0].flatten(1), 8.0, whole[0].mean(), count)
        elif name == "gaussian_kl":
            x = [tensor.flatten(1) for tensor in x[:2]]
            total = total + gaussian_kl(*x, count=torch.tensor(len(whole[0])))
        else:
            totals = sum(channel_sums(whole[2][p]) for p in slices)
            total = total + channel_kl(x[2], totals)
    return total


def loss_of_whole(name: str, x: list[torch.Tensor]) -> torch.Tensor:
    return {
        "silog": lambda: silog_loss(x[0], x[1], silog_valid(x[1], 10)),
        "l1": lambda: masked_l1(x[0], x[1], x[3]),
        "smoothness": lambda: edge_aware_smoothness(x[0], x[2], ~x[3]),
        "std_floor": lambda: std_floor(x[0].flatten(1), 8.0),
        "gaussian_kl": lambda: gaussian_kl(x[0].flatten(1), x[1].flatten(1)),
        "channel_kl": lambda: channel_kl(x[2]),
    }[name]()


@pytest.mark.parametrize(
    "name", ["silog", "l1", "smoothness", "std_floor", "gaussian_kl", "channel_kl"]
)
@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 4), (0, 1, 2, 3, 4), (0, 4)])
def test_parts_add_up_to_the_whole(name, cuts):
    *floats, valid = depth_batch(5)
    floats[1] = floats[1] / 4  # moderate as log-variances
    slices = [slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    results = []
    for parts in (False, True):
        tensors = [x.clone().requires_grad_() for x in floats] + [valid]
        loss = loss_of_parts(name, tensors, slices) if parts else loss_of_whole(name, tensors)
        loss.backward()
        source = tensors[2] if name == "channel_kl" else tensors[0]
        results.append((loss.item(), source.grad))
    (whole, whole_grad), (parts, parts_grad) = results
    assert whole > 0 and whole_grad.abs().max() > 0
    assert parts == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(parts_grad, whole_grad, rtol=1e-4, atol=1e-7)


def test_std_floor_is_decided_by_the_whole():
    std = torch.tensor([[1.0, 1.0], [5.0, 5.0]], requires_grad=True)  # the mean, 3, is above 2
    totals = (std.detach().mean(), torch.tensor(4))
    shares = [std_floor(std[:1], 2.0, *totals), std_floor(std[1:], 2.0, *totals)]
    sum(shares).backward()
    assert [share.item() for share in shares] == [0.0, 0.0]
    assert std.grad.abs().max() == 0


DEPTH_LOSSES = {
    "silog": lambda pred, gt, image, mask: silog_loss(pred, gt, mask),
    "l1": lambda pred, gt, image, mask: masked_l1(pred, gt, mask),
    "smoothness": lambda pred, gt, image, mask: edge_aware_smoothness(pred, image, mask),
}


@pytest.mark.parametrize("name", DEPTH_LOSSES)
@pytest.mark.parametrize("bad", [1.0, 0.0, -1.0, math.nan, math.inf])
def test_an_empty_mask_gives_a_differentiable_zero(name, bad):
    _, gt, image, valid = depth_batch(6)
    pred = torch.full_like(gt, bad, requires_grad=True)
    loss = DEPTH_LOSSES[name](pred, torch.full_like(gt, math.nan), image, torch.zeros_like(valid))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(pred.grad, torch.zeros_like(pred))


@pytest.mark.parametrize("name", DEPTH_LOSSES)
def test_pixels_outside_the_mask_change_nothing(name):
    pred, gt, image, valid = depth_batch(7)
    mask = valid & (gt > 0.1)
    used = mask.clone()
    if name == "smoothness":  # a masked pixel also uses its right and lower neighbor
        used[..., 1:] |= mask[..., :-1]
        used[..., 1:, :] |= mask[..., :-1, :]
    outcomes = []
    for filler in (1.0, 0.0, math.nan, math.inf):
        filled = torch.where(used, pred, filler).requires_grad_()
        loss = DEPTH_LOSSES[name](filled, torch.where(mask, gt, filler), image, mask)
        loss.backward()
        assert filled.grad[~used].abs().max() == 0 and filled.grad.isfinite().all()
        outcomes.append((loss.item(), filled.grad[used]))
    assert all(loss == outcomes[0][0] for loss, _ in outcomes)
    assert all(torch.equal(grad, outcomes[0][1]) for _, grad in outcomes)


@pytest.mark.parametrize("name", DEPTH_LOSSES)
def test_a_broken_prediction_inside_the_mask_shows(name):
    pred, gt, image, valid = depth_batch(8)
    mask = torch.ones_like(valid)
    pred[0, 0, 3, 3] = math.nan
    assert DEPTH_LOSSES[name](pred, gt + 0.2, image, mask).isnan()


@pytest.mark.parametrize("name", DEPTH_LOSSES)
def test_losses_are_float32_under_autocast(name):
    pred, gt, image, valid = depth_batch(9)
    mask = valid & (gt > 0.1)
    pred = pred.bfloat16()
    expected = DEPTH_LOSSES[name](pred.float(), gt, image, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = DEPTH_LOSSES[name](pred, gt, image, mask)
    assert loss.dtype == torch.float32 and loss.item() == expected.item()


def test_shapes_are_checked():
    pred, gt, image, valid = depth_batch(10)
    with pytest.raises(ValueError, match=r"\(4, 1, 9, 11\).*\(3, 1, 9, 11\)"):
        silog_loss(pred, gt[:3], valid)
    with pytest.raises(ValueError, match="one shape"):
        masked_l1(pred, gt[..., 1:], valid)
    with pytest.raises(ValueError, match="image"):
        edge_aware_smoothness(pred, image[..., 1:], valid)
