"""The GPU's attention kernels against the plain form; run by `test_window_kernel.py`."""

import importlib
import warnings
from functools import partial

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


@pytest.fixture
def looked_for(monkeypatch):
    """As on a GPU that Triton knows, with nothing remembered."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    window_kernel.works.cache_clear()
    yield partial(window_attention._has_kernel, DEVICE, torch.float16)
    window_kernel.works.cache_clear()
    window_attention._has_triton.cache_clear()


@pytest.mark.parametrize(
    ("channels", "area", "taken"),
    [(32, 144, True), (16, 17, True), (24, 49, False), (32, 256, False), (32, 9, False)],
)
def test_for_which_heads_and_windows_they_are_made(channels, area, taken, looked_for):
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        assert looked_for(channels, area) == taken


class _Broken:
    """In the place of a kernel."""

    def __init__(self, error):
        self.error = error

    def __getitem__(self, grid):
        return self

    def __call__(self, *pointers, **sizes):
        if self.error is not None:
            raise self.error
        pointers[5].fill_(float("nan"))  # what the forward kernel writes


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Failed to find C compiler.\nSet CC."), "Failed to find C compiler.$"),
        (AttributeError("no attribute 'exp2'"), "no attribute 'exp2'$"),
        (None, "its numbers are wrong$"),
    ],
)
def test_where_they_do_not_work_pytorch_does_it_and_says_so(error, reason, looked_for, monkeypatch):
    monkeypatch.setattr(window_kernel, "_forward", _Broken(error))
    with pytest.warns(UserWarning, match=f"does not work here, PyTorch's is taken: {reason}"):
        assert not looked_for(32, 16)


def test_a_broken_triton_is_none(looked_for, monkeypatch):
    def refuse(name):
        raise ImportError("libtriton.so: version GLIBCXX_3.4.30 not found")

    monkeypatch.setattr(importlib, "import_module", refuse)
    window_attention._has_triton.cache_clear()
    assert not looked_for(32, 16)


def test_too_little_memory_says_nothing_of_the_kernel(looked_for, monkeypatch):
    monkeypatch.setattr(window_kernel, "_forward", _Broken(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError):
        looked_for(32, 16)
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert looked_for(32, 16)  # asked again


def test_only_what_is_trained_gets_a_gradient(taken):
    qkv, proj, bias = layers(32, 2, (4, 4))
    x = torch.randn(1, 5, 7, 32, device=DEVICE).half()
    whole = result_and_gradients(x.requires_grad_(), qkv, proj, bias, (4, 4), (2, 2))
    qkv.requires_grad_(False)
    out = shifted_window_attention(x.detach(), qkv, proj, bias, (4, 4), (2, 2))
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    (alone,) = torch.autograd.grad((out * factors).sum(), bias)
    assert torch.equal(alone, whole[2])
