"""Up-sampling, position codes and the folded depth head against their plain forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.networks.fast import FAST_FORMS, plain, takes_plain
from common.networks.fast.depth_head import depth_head, folded_head, plain_head
from common.networks.fast.upsampling import (
    interpolation_matrix,
    upsample,
    upsample_by_products,
    upsample_plainly,
    upsample_to,
)
from common.networks.scene_decoder import SceneDecoder, position_code

SIZES = [((4, 4), (8, 8)), ((3, 5), (12, 10)), ((1, 1), (4, 4)), ((1, 6), (1, 7)), ((2, 3), (2, 3)),
         ((11, 38), (22, 76)), ((8, 8), (5, 3)), ((4, 6), (1, 1))]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_matrix_products_equal_interpolation_in_value_and_gradient(source, target):
    x = torch.randn(2, 3, *source, dtype=torch.float64, requires_grad=True)
    plain = F.interpolate(x, size=target, mode="bilinear", align_corners=True)
    ours = upsample_to(x, target)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)
    weight = torch.randn_like(plain)
    gradient = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, plain)]
    torch.testing.assert_close(*gradient, rtol=1e-6, atol=1e-6)


def test_float32_stays_exact_at_full_size():
    x = torch.randn(1, 2, 30, 40)
    plain = F.interpolate(x.double(), size=(480, 640), mode="bilinear", align_corners=True)
    torch.testing.assert_close(upsample(x, 16), plain.float(), rtol=1e-6, atol=1e-6)


def test_rows_of_the_matrix_are_weights():
    matrix = interpolation_matrix(7, 31)
    assert matrix.shape == (31, 7)
    assert matrix.min() >= 0
    assert (matrix > 0).sum(1).max() <= 2
    torch.testing.assert_close(matrix.sum(1), torch.ones(31))
    torch.testing.assert_close(matrix[[0, -1]], torch.eye(7)[[0, -1]])


def test_low_precision_input_keeps_its_type():
    x = torch.randn(1, 2, 4, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert upsample(x, 2).dtype == torch.bfloat16
        assert upsample(x.float(), 2).dtype == torch.float32


def test_position_code_against_loops():
    channels, height, width = 8, 3, 5
    code = position_code(channels, height, width)
    assert code.shape == (1, channels, height, width)
    half = channels // 2
    for row in range(height):
        for column in range(width):
            for part, position in enumerate((column, row)):
                for k in range(half // 2):
                    angle = position * math.exp(-math.log(10000) * 2 * k / half)
                    found = code[0, part * half + 2 * k :, row, column][:2].tolist()
                    assert found == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)


@pytest.mark.parametrize("with_mix", [False, True])
@pytest.mark.parametrize("scales", [(16, 8, 4), (4, 2, 1), (2,)])
def test_folded_head_equals_plain_head(with_mix, scales):
    torch.manual_seed(0)
    height, width = 32, 64
    maps = tuple(torch.randn(2, 6, height // s, width // s, requires_grad=True) for s in scales)
    mix = nn.Conv2d(6, 5, 1) if with_mix else None
    conv = nn.Conv2d(5 if with_mix else 6, 1, 3, padding=1)
    leaves = [*maps, *conv.parameters(), *(mix.parameters() if mix else ())]
    folded, plain = folded_head(conv, maps, scales, mix), plain_head(conv, maps, scales, mix)
    assert folded.shape == (2, 1, height, width)
    torch.testing.assert_close(folded, plain, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(plain)
    gradients = [torch.autograd.grad((y * weight).sum(), leaves) for y in (folded, plain)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_folded_head_ignores_autocast():
    maps = (torch.randn(1, 4, 2, 2), torch.randn(1, 4, 4, 4))
    conv = nn.Conv2d(4, 1, 3, padding=1)
    expected = depth_head(conv, maps, (2, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(depth_head(conv, maps, (2, 1)), expected)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (352, 32)])
def test_scene_decoder_sizes(size):
    decoder = SceneDecoder(latent_dim=8, code_channels=4)
    scene = decoder(torch.randn(2, 8), size)
    height, width = size
    assert scene.f0.shape == (2, 8, height // 16, width // 16)
    assert [f.shape for f in scene.levels] == [(2, 4, height // s, width // s) for s in (16, 8, 4)]
    assert scene.dense().shape == (2, 4, height, width)


def test_scene_decoder_refuses_other_sizes():
    with pytest.raises(ValueError, match="divisible by 32"):
        SceneDecoder(8, 4)(torch.randn(1, 8), (48, 64))


def test_the_switch_takes_the_plain_form(monkeypatch):
    """On this machine, which has a fast one; and only inside the block."""
    x, conv = torch.randn(1, 4, 3, 5), nn.Conv2d(4, 1, 3, padding=1)
    for name, run, form in (
        ("matrix-upsampling", lambda: upsample_to(x, (6, 10)), "upsampling.upsample_plainly"),
        ("folded-head", lambda: depth_head(conv, (x,), (2,)), "depth_head.plain_head"),
    ):
        called = []
        with monkeypatch.context() as patch:
            real = {"matrix-upsampling": upsample_plainly, "folded-head": plain_head}[name]

            def spy(*args, real=real, called=called):
                called.append(True)
                return real(*args)

            patch.setattr(f"common.networks.fast.{form}", spy)
            expected = run()
            assert not called
            with plain(name):
                torch.testing.assert_close(run(), expected)
            assert called == [True]
    with plain():
        assert all(takes_plain(name) for name in FAST_FORMS)
        with plain("fast-linear"):
            assert takes_plain("folded-head")
        assert takes_plain("folded-head")
    assert not any(takes_plain(name) for name in FAST_FORMS)
    with pytest.raises(ValueError, match="no fast form folded"), plain("folded"):
        pass


def test_up_sampling_of_a_cpu_is_by_products():
    x = torch.randn(1, 2, 3, 5)
    assert torch.equal(upsample_to(x, (6, 10)), upsample_by_products(x, (6, 10)))
