"""Windows and their attention against plain forms: values and gradients, any size."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from common.networks.fast import plain, window_attention
from common.networks.fast.depth_head import upsample_taps
from common.networks.fast.linear import FastLinear, mkl_is_slow
from common.networks.fast.upsampling import upsample
from common.networks.fast.window_attention import (
    attend,
    attend_at_once,
    attend_plainly,
    from_windows,
    look_up,
    look_up_rows,
    shifted_window_attention,
    shifted_windows_plainly,
    to_windows,
    windows_of,
)
from common.networks.scene_decoder import position_code
from common.networks.swin import SwinConfig, SwinEncoder
from common.networks.swin_parts import look_up_bias, relative_position_index

CPU = torch.device("cpu")
GRIDS = [
    ((4, 4), (4, 4), (0, 0)), ((8, 12), (4, 4), (2, 2)), ((5, 7), (4, 4), (2, 2)),
    ((1, 9), (4, 4), (2, 2)), ((3, 2), (4, 4), (0, 0)), ((7, 6), (3, 5), (1, 2)),
]  # fmt: skip


def cut_plainly(x, filler, grid, window, shift):
    """Pad with `filler`, roll, cut: [B, T, C] -> [B * W, N, C]."""
    cells = x.unflatten(1, grid)
    rows, columns = -(-grid[0] // window[0]), -(-grid[1] // window[1])
    wide = filler.expand(len(x), rows * window[0], columns * window[1], -1).clone()
    wide[:, : grid[0], : grid[1]] = cells
    wide = torch.roll(wide, (-shift[0], -shift[1]), dims=(1, 2))
    cut = wide.unflatten(2, (columns, window[1])).unflatten(1, (rows, window[0]))
    return cut.transpose(2, 3).reshape(-1, window[0] * window[1], x.shape[2])


@pytest.mark.parametrize(("grid", "window", "shift"), GRIDS)
def test_swin_windows_are_pad_roll_and_cut(grid, window, shift):
    torch.manual_seed(0)
    x = torch.randn(2, grid[0] * grid[1], 3, dtype=torch.float64, requires_grad=True)
    filler = torch.randn(3, dtype=torch.float64, requires_grad=True)
    windows = windows_of(grid, window, shift, CPU)
    cut = to_windows(x, filler, windows)
    torch.testing.assert_close(cut, cut_plainly(x, filler, grid, window, shift), rtol=0, atol=0)
    torch.testing.assert_close(from_windows(cut, windows), x, rtol=0, atol=0)
    factors = torch.randn_like(cut)
    plain = cut_plainly(x, filler, grid, window, shift)
    ours = torch.autograd.grad((cut * factors).sum(), (x, filler))
    expected = torch.autograd.grad((plain * factors).sum(), (x, filler))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda y: from_windows(y, windows), cut.detach().requires_grad_()
    )


@pytest.mark.parametrize(("grid", "window", "shift"), GRIDS)
def test_windows_on_a_gpu_are_the_same(grid, window, shift, monkeypatch):
    """By rows of one table, and in a compiled graph; both exactly."""
    torch.manual_seed(0)
    x = torch.randn(3, grid[0] * grid[1], 4, requires_grad=True)
    filler = torch.randn(4, requires_grad=True)
    windows = windows_of(grid, window, shift, CPU)

    def there_and_back(x, filler):
        cut = to_windows(x, filler, windows)
        out = from_windows(cut.square(), windows)
        grads = torch.autograd.grad((out.sum() + cut.sum()), (x, filler))
        return cut, out, *grads

    wanted = there_and_back(x, filler)
    monkeypatch.setattr(window_attention, "look_up", look_up_rows)
    by_rows = there_and_back(x, filler)
    monkeypatch.setattr(window_attention, "look_up", look_up)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    fused = there_and_back(x, filler)
    for a, b, c in zip(wanted, by_rows, fused, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_attention_at_once_takes_a_kernel_that_wants_dense_rows(monkeypatch):
    """A bias whose last axis is not dense, as a table's look-up gives it, costs the fast kernel."""
    given = []
    attention = F.scaled_dot_product_attention

    def spy(*arguments, attn_mask):
        given.append(attn_mask)
        return attention(*arguments, attn_mask=attn_mask)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    bias = torch.randn(9, 9, 2).permute(2, 0, 1)
    for mask in (None, torch.zeros(4, 9, 9)):
        attend_at_once(torch.randn(8, 9, 3, 2, 4), bias, mask)
    assert [scores.stride(-1) for scores in given] == [1, 1]
    assert [len(scores) for scores in given] == [2, 8]


@pytest.mark.parametrize("shift", [(0, 0), (1, 2)])
def test_a_mask_only_with_a_shift(shift):
    windows = windows_of((6, 10), (3, 5), shift, CPU)
    if not any(shift):
        assert windows.mask is None
        return
    assert windows.mask is not None
    assert windows.mask.shape == (4, 15, 15)
    assert set(windows.mask.unique().tolist()) == {0.0, -torch.inf}
    assert (windows.mask[0] == 0).all()  # no edge of the grid was rolled into the first window
    assert (windows.mask == windows.mask.transpose(1, 2)).all()


@pytest.mark.parametrize(("grid", "window", "shift"), GRIDS)
def test_cells_only_equals_pad_roll_cut_attend_and_back(grid, window, shift):
    torch.manual_seed(0)
    qkv, proj = torch.nn.Linear(6, 18), torch.nn.Linear(6, 6)
    x = torch.randn(2, *grid, 6, requires_grad=True)
    area = window[0] * window[1]
    bias = torch.randn(3, area, area, requires_grad=True)
    inputs = (x, bias, *qkv.parameters(), *proj.parameters())
    results = []
    for form in (shifted_window_attention, shifted_windows_plainly):
        out = form(x, qkv, proj, bias, window, shift)
        assert out.shape == x.shape
        grads = torch.autograd.grad((out * torch.arange(out.numel()).view_as(out)).sum(), inputs)
        results.append((out, *grads))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
    with plain("cells-only"):
        again = shifted_window_attention(x, qkv, proj, bias, window, shift)
    assert torch.equal(again, results[1][0])


@pytest.mark.parametrize("form", [attend, attend_at_once])
@pytest.mark.parametrize("masks", [0, 1, 3, 6])
@pytest.mark.parametrize("block_bytes", [1, 2**9, 2**21])
def test_attention_and_its_gradients(form, masks, block_bytes, monkeypatch):
    """Blocks of one window, of a few, and of all of them."""
    monkeypatch.setattr(window_attention, "_BLOCK_BYTES", block_bytes)
    torch.manual_seed(0)
    qkv = torch.randn(6, 4, 3, 2, 5, requires_grad=True)
    bias = torch.randn(2, 4, 4, requires_grad=True)
    mask = -100.0 * torch.eye(4).flip(0).repeat(masks, 1, 1) if masks else None
    if masks:
        mask[0] = 0
    results = []
    for way in (form, attend_plainly):
        out = way(qkv, bias, mask)
        grads = torch.autograd.grad(
            (out * torch.arange(out.numel()).view_as(out)).sum(), (qkv, bias)
        )
        results.append((out, *grads))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_attention_in_bf16_is_as_exact_as_pytorchs(scale):
    """Large scores, too: rounded to bf16 they would be off by several per cent."""
    torch.manual_seed(0)
    qkv = (scale * torch.randn(8, 16, 3, 2, 8)).bfloat16().requires_grad_()
    bias = torch.randn(2, 16, 16, requires_grad=True)
    wide = qkv.detach().double().requires_grad_()
    exact = torch.autograd.grad(attend_plainly(wide, bias.double(), None).square().sum(), wide)[0]
    errors = []
    for form in (attend, attend_at_once):
        out = form(qkv, bias, None)
        assert out.dtype == torch.bfloat16
        (grad,) = torch.autograd.grad(out.float().square().sum(), qkv)
        errors.append(((grad - exact).norm() / exact.norm()).item())
    assert 0 < errors[0] < 2 * errors[1]


def test_inference_first_and_training_then():
    """What is kept from the first call must do for the second."""
    encoder = SwinEncoder(SwinConfig(8, (2, 1, 1, 1), (1, 1, 1, 1), 3), (40, 72))
    with torch.inference_mode():
        encoder(torch.randn(1, 3, 40, 72))
        upsample(torch.randn(1, 2, 5, 7), 3)
        upsample_taps(torch.randn(1, 9, 5, 7), (15, 21))
        position_code(8, 5, 11)
    encoder(torch.randn(1, 3, 40, 72))[-1].sum().backward()
    x = torch.randn(1, 9, 5, 7, requires_grad=True)
    (upsample(x, 3).sum() + upsample_taps(x, (15, 21)).sum()).backward()
    (position_code(8, 5, 11) * torch.ones(1, requires_grad=True)).sum().backward()


def test_attention_under_activation_checkpointing():
    torch.manual_seed(0)
    qkv, bias = torch.randn(4, 9, 3, 2, 4, requires_grad=True), torch.randn(2, 9, 9)
    grads = [
        torch.autograd.grad(run().square().sum(), qkv)[0]
        for run in (
            lambda: attend(qkv, bias),
            lambda: checkpoint(attend, qkv, bias, use_reentrant=False),
        )
    ]
    torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (3, 4, 5), (2, 1, 3, 5), (0, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("is_slow", [True, False])
def test_fast_linear_is_linear(shape, bias, is_slow, monkeypatch):
    monkeypatch.setattr("common.networks.fast.linear._MKL_IS_SLOW", is_slow)
    torch.manual_seed(0)
    layer = FastLinear(torch.nn.Linear(5, 7, bias=bias))
    x = torch.randn(shape, requires_grad=True)
    wanted = F.linear(x, layer.weight, layer.bias)
    got = layer(x)
    torch.testing.assert_close(got, wanted)
    inputs = (x, *layer.parameters())
    for a, b in zip(*(torch.autograd.grad(y.sum(), inputs) for y in (got, wanted)), strict=True):
        torch.testing.assert_close(a, b)


def test_fast_linear_leaves_other_formats_alone(monkeypatch):
    monkeypatch.setattr("common.networks.fast.linear._MKL_IS_SLOW", True)
    layer, x = FastLinear(torch.nn.Linear(5, 7)), torch.randn(3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("features", "slow"),
    [
        ({"AuthenticAMD", "avx512f"}, True),
        ({"GenuineIntel", "avx512f"}, False),
        ({"AuthenticAMD", "avx2"}, False),
        (set(), False),
    ],
)
def test_which_processors_mkl_is_slow_on(features, slow, monkeypatch):
    monkeypatch.setattr("common.networks.fast.linear.processor_features", lambda: features)
    assert mkl_is_slow() is slow


def test_the_bias_of_every_two_places_and_its_gradient():
    table = torch.randn(25, 4, requires_grad=True)
    index = relative_position_index(3)
    results = []
    for bias in (look_up_bias(table, index), table[index].permute(2, 0, 1)):
        weights = torch.arange(bias.numel(), dtype=torch.float32).view_as(bias)
        results.append((bias, *torch.autograd.grad((bias * weights).sum(), table)))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_cells_that_only_the_roll_made_neighbors_weigh_nothing():
    """Exactly: a weight of e^-100 is slow to compute with."""
    windows = windows_of((6, 6), (3, 3), (1, 1), CPU)
    qkv = torch.zeros(4, 9, 3, 1, 9)
    qkv[:, :, 2, 0] = torch.eye(9)  # each place has its own channel of values
    weights = attend(qkv, torch.zeros(1, 9, 9), windows.mask)
    assert windows.mask is not None
    assert (weights[windows.mask < 0] == 0).all() and (weights[windows.mask == 0] > 0.1).all()
