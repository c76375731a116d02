"""The GPU's attention kernels against the plain form; run by `test_window_kernel.py`."""

import warnings

import pytest
import torch
from torch import nn

from common.networks.fast import plain, window_attention, window_kernel
from common.networks.fast.window_attention import shifted_window_attention

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = [  # grid, window, shift
    ((8, 12), (4, 4), (0, 0)),  # whole windows
    ((5, 7), (4, 4), (2, 2)),  # with places that have no cell
    ((7, 10), (7, 7), (3, 3)),  # 49 = 32 + 17 keys
    ((13, 20), (12, 12), (6, 6)),  # 144 = 128 + 16
    ((6, 9), (6, 5), (3, 2)),
]


@pytest.fixture
def taken(monkeypatch):
    """The kernels in their place, on a CPU too; counts how often they are asked for."""
    calls = []

    def takes(cells, bias):
        calls.append(cells.dtype)
        return True

    monkeypatch.setattr(window_attention, "attends_in_place", takes)
    return calls


def layers(channels, heads, window, dtype=torch.float16):
    """x's projections and the bias, with numbers that 16 bits hold."""
    torch.manual_seed(0)
    area = window[0] * window[1]
    bias = torch.randn(heads, area, area, device=DEVICE).half().float().requires_grad_()
    qkv, proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
    return qkv.to(DEVICE, dtype), proj.to(DEVICE, dtype), bias


def result_and_gradients(x, qkv, proj, bias, window, shift, form=shifted_window_attention):
    out = form(x, qkv, proj, bias, window, shift)
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    inputs = (x, bias, qkv.weight, qkv.bias, proj.weight)
    return out, *torch.autograd.grad((out * factors).sum(), inputs)


def assert_alike(ours, expected, share=3e-3):
    for a, b in zip(ours, expected, strict=True):
        distance = (a.detach().double() - b.detach().double()).norm() / b.detach().double().norm()
        assert distance < share


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize(("grid", "window", "shift"), SHAPES)
def test_the_kernels_are_the_plain_form(grid, window, shift, heads, taken):
    qkv, proj, bias = layers(16 * heads, heads, window)
    x = torch.randn(2, *grid, 16 * heads, device=DEVICE).half().requires_grad_()
    ours = result_and_gradients(x, qkv, proj, bias, window, shift)
    assert taken == [torch.float16]
    wide = x.detach().float().requires_grad_()
    with plain():
        expected = result_and_gradients(wide, qkv.float(), proj.float(), bias, window, shift)
    assert_alike(ours, expected)
    assert all(g.isfinite().all() for g in ours)


def test_a_compiled_graph_has_the_kernels_in_it_and_no_break(taken):
    qkv, proj, bias = layers(32, 2, (4, 4))
    x = torch.randn(2, 5, 7, 32, device=DEVICE).half().requires_grad_()
    torch._dynamo.reset()
    form = torch.compile(shifted_window_attention, backend="aot_eager", fullgraph=True)
    ours = result_and_gradients(x, qkv, proj, bias, (4, 4), (2, 2), form)
    assert_alike(ours, result_and_gradients(x, qkv, proj, bias, (4, 4), (2, 2)), share=1e-6)


def test_the_same_numbers_every_time(taken):
    qkv, proj, bias = layers(32, 2, (4, 4))
    x = torch.randn(3, 9, 7, 32, device=DEVICE).half().requires_grad_()
    one, two = (result_and_gradients(x, qkv, proj, bias, (4, 4), (2, 2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("channels", "area", "works"),
    [(32, 144, True), (16, 16, True), (24, 49, False), (32, 289, False)],
)
def test_for_which_heads_and_windows_they_are_made(channels, area, works):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert window_kernel.works(DEVICE, 2, channels, area) == works


def test_where_they_cannot_be_compiled_pytorch_does_it_and_says_so(monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(window_kernel, "_backward", {(2,): no_compiler})
    with pytest.warns(UserWarning, match="does not work here.* Failed to find C compiler.$"):
        assert not window_kernel.works(DEVICE, 2, 32, 16)
