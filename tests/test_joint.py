"""The joint network against a plain rendering of its description, and what each recipe may see."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from joint_networks import TINY_JOINT

from stage3_depth.joint_model import JointDepth, load_joint

TINY = replace(TINY_JOINT, prior_mean=2.54)
SIZE = (64, 96)
MODES = ("dropped", "kept", "kept_in_image_step")


def make(skips: str = "dropped", size: tuple[int, int] = SIZE) -> JointDepth:
    torch.manual_seed(0)
    return JointDepth(replace(TINY, skips=skips), size).eval()


def inputs(size: tuple[int, int] = SIZE, batch: int = 2):
    """(image, text feature, noise)."""
    torch.manual_seed(1)
    noise = torch.randn(batch, TINY.code_channels, size[0] // 16, size[1] // 16)
    return torch.randn(batch, 3, *size), torch.randn(batch, TINY.text_dim), noise


def conv(weights, name, x, **options):
    weight = weights[f"{name}.weight"]
    return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2, **options)


def plain_mlp(weights, name, x):
    layers = [layer for layer in range(0, 9, 2) if f"{name}.{layer}.weight" in weights]
    for layer in layers:
        x = F.linear(x, weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"])
        x = x if layer == layers[-1] else F.leaky_relu(x, 0.01)
    return x


def enlarge(x, scale):
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)


def plain_up(weights, name, x, skip):
    both = torch.cat((skip, enlarge(x, 2)), dim=1)
    batch, channels, height, width = both.shape
    y = both.view(batch, 4, channels // 4, height, width).transpose(1, 2).flatten(1, 2)
    y = F.leaky_relu(F.instance_norm(conv(weights, f"{name}.mix.1", y, groups=4)), 0.01)
    y = F.leaky_relu(F.instance_norm(conv(weights, f"{name}.mix.4", y)), 0.01)
    return conv(weights, f"{name}.direct", both) + y


def plain_refine(weights, name, x, d, branch):
    y = F.leaky_relu(conv(weights, f"{name}.{branch}.0", torch.cat((x, d), dim=1)), 0.01)
    return conv(weights, f"{name}.{branch}.2", y)


def plain_depth(network, image, text, eps=None, skips="dropped"):
    """Depth as the specification says it, every map up-sampled to full resolution."""
    weights = dict(network.named_parameters())
    from_image = eps is None
    mean, logvar = (plain_mlp(weights, f"text.{part}", text) for part in ("mean", "logvar"))
    x2, x3, x4, x5 = network.encoder(image)
    x = plain_up(weights, "up4", x5, x4)
    mean, std = (
        t[:, :, None, None].expand(-1, -1, *x.shape[-2:]) for t in (mean, (logvar / 2).exp())
    )
    if from_image:
        cells = torch.cat((x, mean, std), dim=1)
        eps = conv(weights, "sampler.eps", conv(weights, "sampler.mix", cells))
    if skips == "dropped" or (skips == "kept_in_image_step" and not from_image):
        x, x3, x2 = 0 * x, 0 * x3, 0 * x2
    d = mean + std * eps
    new_x, d4 = (plain_refine(weights, "refine4", x, d, part) for part in ("to_x", "to_code"))
    x, d = plain_up(weights, "up3", new_x, x3), enlarge(d4, 2)
    new_x, d3 = (plain_refine(weights, "refine3", x, d, part) for part in ("to_x", "to_code"))
    x, d = plain_up(weights, "up2", new_x, x2), enlarge(d3, 2)
    d2 = plain_refine(weights, "refine2", x, d, "to_code")
    out = enlarge(d4, 16) + enlarge(d3, 8) + enlarge(d2, 4)
    scene = torch.exp(conv(weights, "depth_conv", out) + network.config.prior_mean)
    if not from_image:
        return scene
    metric = plain_mlp(weights, "metric", x5.flatten(2).max(dim=2).values)[:, :, None, None, None]
    return torch.sigmoid(metric[:, 0]) * (scene + torch.exp(metric[:, 1]))


@pytest.mark.parametrize("step", ["image", "text"])
@pytest.mark.parametrize("skips", MODES)
@torch.no_grad()
def test_equals_the_plain_rendering(skips, step):
    network = make(skips)
    image, text, noise = inputs()
    eps = noise if step == "text" else None
    expected = plain_depth(network, image, text, eps, skips)
    torch.testing.assert_close(network(image, text, eps).depth, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step", ["image", "text"])
@torch.no_grad()
def test_kitti_size(step):
    network = make(size=(352, 1216))
    image, text, noise = inputs((352, 1216), batch=1)
    eps = noise if step == "text" else None
    expected = plain_depth(network, image, text, eps)
    depth = network(image, text, eps).depth
    assert depth.shape == (1, 1, 352, 1216)
    torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (96, 160)])
@torch.no_grad()
def test_other_sizes_than_the_position_embedding(size):
    image, text, _ = inputs(size)
    out = make()(image, text)
    assert out.depth.shape == (2, 1, *size)
    assert out.depth.isfinite().all()


@pytest.mark.parametrize("skips", ["dropped", "kept_in_image_step"])
@torch.no_grad()
def test_text_step_without_skips_does_not_look(skips):
    network = make(skips)
    image, text, noise = inputs()
    seen = []
    network.encoder.register_forward_hook(lambda *_: seen.append("encoder"))
    network.up4.register_forward_hook(lambda *_: seen.append("up4"))
    blind = network(torch.full_like(image, float("nan")), text, noise)
    assert torch.equal(blind.depth, network(image, text, noise).depth)
    assert seen == []


@torch.no_grad()
def test_legacy_text_step_looks():
    network = make("kept")
    image, text, noise = inputs()
    assert not torch.equal(network(image, text, noise).depth, network(-image, text, noise).depth)


@torch.no_grad()
def test_image_reaches_the_scene_through_eps_alone():
    """With the metric head silent, the image step is the text step at the predicted eps."""
    network = make()
    image, text, _ = inputs()
    for part in network.metric:
        for weight in part.parameters():
            weight.zero_()
    network.metric[-1].bias.copy_(torch.tensor([50.0, -50.0]))  # sigmoid 1, exp 0
    seen = network(image, text)
    torch.testing.assert_close(network(image, text, seen.eps).depth, seen.depth)


def test_image_step_leaves_the_text_branch_alone():
    image, text, noise = inputs()
    out = make()(image, text)
    assert not out.mean.requires_grad and not out.logvar.requires_grad and out.eps.requires_grad
    assert make()(image, text, noise).mean.requires_grad


def test_rebuilt_from_a_checkpoint():
    network = make("kept")
    saved = {"model": network.state_dict(), "model_config": network.describe()}
    image, text, _ = inputs()
    rebuilt = load_joint(saved).eval()
    assert rebuilt.config == network.config
    with torch.no_grad():
        assert torch.equal(rebuilt(image, text).depth, network(image, text).depth)


def test_refuses_wrong_shapes():
    image, text, noise = inputs()
    with pytest.raises(ValueError, match=r"\(2, 8, 4, 6\), got \(2, 8, 4, 5\)"):
        make()(image, text, noise[..., :5])
