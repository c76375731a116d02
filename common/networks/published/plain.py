"""The published networks once more, as plain functions of their published weights: read this first.

Written from the description of the architectures alone and sharing no code with the project, so
that tests can compare training step by step; as wasteful as the description, so that benchmarks can
take it for the published code. Stage 1 is `text_vae`, stage 3 `depth_estimator` on `swin`, the
joint network `joint`. `w` maps published names (no `module.` prefix) to weights; sizes are
read off the weights. Legend: x image features, d depth code, f scene features.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def conv(x: Tensor, w: Weights, name: str, groups: int = 1) -> Tensor:
    kernel = w[f"{name}.weight"]
    return F.conv2d(x, kernel, w[f"{name}.bias"], padding=kernel.shape[-1] // 2, groups=groups)


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def mlp(x: Tensor, w: Weights, name: str) -> Tensor:
    """Linear layers `name.0`, `name.2`, ... with LeakyReLU between."""
    layers = sorted(
        {int(key[len(name) + 1 :].split(".")[0]) for key in w if key.startswith(f"{name}.")}
    )
    for layer in layers:
        x = linear(F.leaky_relu(x, 0.01) if layer else x, w, f"{name}.{layer}")
    return x


def up(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


# Swin encoder


def swin(image: Tensor, w: Weights, heads: tuple[int, ...], window: int) -> list[Tensor]:
    """x2, x3, x4, x5: [B, C_i, H_i, W_i]."""
    x = F.conv2d(
        image, w["backbone.patch_embed.proj.weight"], w["backbone.patch_embed.proj.bias"], 4
    )
    x = norm(x.permute(0, 2, 3, 1), w, "backbone.patch_embed.norm")
    x = x + w["backbone.absolute_pos_embed"].permute(0, 2, 3, 1)
    features = []
    for stage, num_heads in enumerate(heads):
        block = 0
        while f"backbone.layers.{stage}.blocks.{block}.norm1.weight" in w:
            shift = window // 2 if block % 2 else 0
            name = f"backbone.layers.{stage}.blocks.{block}"
            x = x + windowed_attention(
                norm(x, w, f"{name}.norm1"), w, name, num_heads, window, shift
            )
            hidden = F.gelu(linear(norm(x, w, f"{name}.norm2"), w, f"{name}.mlp.fc1"))
            x = x + linear(hidden, w, f"{name}.mlp.fc2")
            block += 1
        features.append(norm(x, w, f"backbone.norm{stage}").permute(0, 3, 1, 2))
        if stage < len(heads) - 1:
            x = merge_patches(x, w, f"backbone.layers.{stage}.downsample")
    return features


def merge_patches(x: Tensor, w: Weights, name: str) -> Tensor:
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    quarters = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    return linear(norm(torch.cat(quarters, -1), w, f"{name}.norm"), w, f"{name}.reduction")


def windowed_attention(
    x: Tensor, w: Weights, name: str, heads: int, window: int, shift: int
) -> Tensor:
    """Pad, roll, attend inside windows, roll back, crop. x: [B, H, W, C]."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1:3]
    x = torch.roll(x, (-shift, -shift), (1, 2))
    grid = (batch, rows // window, window, columns // window, window, channels)
    windows = x.view(grid).permute(0, 1, 3, 2, 4, 5)  # [B, rows, columns, window, window, C]
    tokens = windows.reshape(batch, -1, window * window, channels)
    tokens = attention(tokens, w, name, heads, window, roll_mask(rows, columns, window, shift))
    out = tokens.view(windows.shape).permute(0, 1, 3, 2, 4, 5).reshape(x.shape)
    return torch.roll(out, (shift, shift), (1, 2))[:, :height, :width]


@cache
def roll_mask(rows: int, columns: int, window: int, shift: int) -> Tensor:
    """[windows, 1, N, N]: -100 between cells that only the roll made neighbors."""
    region = torch.zeros(rows, columns)
    thirds = (slice(0, -window), slice(-window, -shift), slice(-shift, None)) if shift else ()
    for r, row in enumerate(thirds):
        for c, column in enumerate(thirds):
            region[row, column] = 3 * r + c
    labels = region.unfold(0, window, window).unfold(1, window, window).flatten(2).flatten(0, 1)
    return (labels[:, None, :, None] != labels[:, None, None, :]).float() * -100.0


def attention(x: Tensor, w: Weights, name: str, heads: int, window: int, mask: Tensor) -> Tensor:
    """x: [B, windows, N, C]; mask: added to the scores of every head."""
    qkv = linear(x, w, f"{name}.attn.qkv").unflatten(-1, (3, heads, -1))
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # [B, windows, heads, N, C / heads] each
    table = w[f"{name}.attn.relative_position_bias_table"]
    bias = table[relative_index(window)].view(window**2, window**2, heads).permute(2, 0, 1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias + mask
    mixed = (scores.softmax(-1) @ v).transpose(2, 3).flatten(3)
    return linear(mixed, w, f"{name}.attn.proj")


@cache
def relative_index(window: int) -> Tensor:
    """The row of the bias table for each pair of cells, in one long list."""
    cells = [(r, c) for r in range(window) for c in range(window)]
    span = 2 * window - 1
    return torch.tensor(
        [
            (ra - rb + window - 1) * span + ca - cb + window - 1
            for ra, ca in cells
            for rb, cb in cells
        ]
    )


# Text-VAE (stage 1)


def scene(z: Tensor, w: Weights, size: tuple[int, int]) -> list[Tensor]:
    """f0, f1, f2, f3 of a latent z [B, L]."""
    x = up(z[:, :, None, None], 4)
    x = grid_conv(x, w, "vlayer.conv_0")
    x = grid_conv(up(x, 2), w, "vlayer.conv_1")
    x = F.interpolate(x, (size[0] // 32, size[1] // 32), mode="bilinear", align_corners=False)
    f0 = up(grid_conv(x, w, "vlayer.conv_2"), 2)
    f1 = two_convs(f0, w, "ref_4.dw")
    f2 = two_convs(up(f1, 2), w, "ref_3.dw")
    return [f0, f1, f2, two_convs(up(f2, 2), w, "ref_2.dw")]


def grid_conv(x: Tensor, w: Weights, name: str) -> Tensor:
    x = F.pad(x + position_code(*x.shape[1:]), (1, 1, 1, 1), mode="replicate")
    return F.leaky_relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"]), 0.01)


@cache
def position_code(channels: int, height: int, width: int) -> Tensor:
    code = torch.zeros(channels, height, width)
    half = channels // 2
    for c in range(half):
        frequency = math.exp(-math.log(10000.0) * 2 * (c // 2) / half)
        wave = math.cos if c % 2 else math.sin
        for column in range(width):
            code[c, :, column] = wave(column * frequency)
        for row in range(height):
            code[half + c, row, :] = wave(row * frequency)
    return code


def two_convs(x: Tensor, w: Weights, name: str) -> Tensor:
    return conv(F.leaky_relu(conv(x, w, f"{name}.0"), 0.01), w, f"{name}.2")


def text_vae(
    text: Tensor, eps: Tensor, w: Weights, size: tuple[int, int], prior_mean: float
) -> tuple[Tensor, Tensor]:
    """Depth [B, 1, H, W] and std [B, L]."""
    std = torch.exp(mlp(text, w, "deviation") / 2)
    z = mlp(text, w, "mean") + eps * std
    _, f1, f2, f3 = scene(z, w, size)
    whole = up(f1, 16) + up(f2, 8) + up(f3, 4)
    depth = to_meters(mlp(z, w, "mlayer.ln"), conv(whole, w, "outc.conv"), prior_mean)
    return depth, std


def to_meters(metric: Tensor, log_depth: Tensor, prior_mean: float) -> Tensor:
    scale, shift = metric[:, 0].view(-1, 1, 1, 1), metric[:, 1].view(-1, 1, 1, 1)
    return torch.sigmoid(scale) * (torch.exp(log_depth + prior_mean) + torch.exp(shift))


# Decoder parts of stage 3 and of the joint network


def up_layer(x: Tensor, skip: Tensor, w: Weights, name: str) -> Tensor:
    """Direct 3x3 convolution of [skip, up-sampled x] plus the shuffled, grouped path."""
    both = torch.cat((skip, up(x, 2)), 1)
    batch, channels, height, width = both.shape
    mixed = both.view(batch, 4, channels // 4, height, width).transpose(1, 2).flatten(1, 2)
    mixed = F.leaky_relu(F.instance_norm(conv(mixed, w, f"{name}.conv1.0", groups=4)), 0.01)
    mixed = F.leaky_relu(F.instance_norm(conv(mixed, w, f"{name}.conv2.0")), 0.01)
    return conv(both, w, f"{name}.bt") + mixed


def refinement(x: Tensor, d: Tensor, w: Weights, name: str) -> tuple[Tensor, Tensor]:
    both = torch.cat((x, d), 1)
    new_d = two_convs(both, w, f"{name}.dw")
    return (two_convs(both, w, f"{name}.fw") if f"{name}.fw.0.weight" in w else x), new_d


def fused(d: Tensor, f: Tensor, w: Weights, name: str) -> Tensor:
    return conv(torch.cat((d, f), 1), w, f"{name}.conv")


def depth_estimator(
    features: list[Tensor], levels: list[Tensor], w: Weights, prior_mean: float
) -> Tensor:
    """Stage 3's depth [B, 1, H, W] from x2..x5 and f0..f3."""
    (x2, x3, x4, x5), (f0, f1, f2, f3) = features, levels
    f4 = up(f1, 16) + up(f2, 8) + up(f3, 4)
    x = up_layer(x5, x4, w, "up_4.conv")
    d = F.leaky_relu(conv(x, w, "vlayer.pred_depth.0"), 0.01)
    d = torch.sigmoid(conv(d, w, "vlayer.pred_depth.2"))
    d = conv(F.leaky_relu(conv(d, w, "vlayer.post.0"), 0.01), w, "vlayer.post.2")
    x, d = refinement(x, fused(d, f0, w, "fuse_0"), w, "ref_4")
    d4 = fused(d, f1, w, "fuse_1")
    x, d = refinement(up_layer(x, x3, w, "up_3.conv"), up(d4, 2), w, "ref_3")
    d3 = fused(d, f2, w, "fuse_2")
    x, d = refinement(up_layer(x, x2, w, "up_2.conv"), up(d3, 2), w, "ref_2")
    d2 = fused(d, f3, w, "fuse_3")
    d = fused(up(d4, 16) + up(d3, 8) + up(d2, 4), f4, w, "fuse_4")
    metric = mlp(x5.amax((-2, -1)), w, "mlayer.1.ln")
    return to_meters(metric, conv(d, w, "outc.conv"), prior_mean)


def joint(
    image: Tensor,
    text: Tensor,
    eps: Tensor | None,
    w: Weights,
    encoder: tuple[tuple[int, ...], int],
    prior_mean: float,
    legacy: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth, mean, logvar, eps; with eps given a text step. encoder: numbers of heads, window."""
    x2, x3, x4, x5 = swin(image, w, *encoder)
    x = up_layer(x5, x4, w, "up_4.conv")
    mean, logvar = mlp(text, w, "text_encoder.mean"), mlp(text, w, "text_encoder.deviation")
    grid = (-1, -1, *x.shape[-2:])
    text_step = eps is not None
    if eps is None:
        mean, logvar = mean.detach(), logvar.detach()
        cells = [t[:, :, None, None].expand(grid) for t in (mean, torch.exp(logvar / 2))]
        eps = conv(conv(torch.cat((x, *cells), 1), w, "eps_layer.eps_net"), w, "eps_layer.post")
    d = mean[:, :, None, None] + torch.exp(logvar / 2)[:, :, None, None] * eps
    if not legacy:
        x, x3, x2 = torch.zeros_like(x), torch.zeros_like(x3), torch.zeros_like(x2)
    x, d4 = refinement(x, d, w, "ref_4")
    x, d3 = refinement(up_layer(x, x3, w, "up_3.conv"), up(d4, 2), w, "ref_3")
    x, d2 = refinement(up_layer(x, x2, w, "up_2.conv"), up(d3, 2), w, "ref_2")
    log_depth = conv(up(d4, 16) + up(d3, 8) + up(d2, 4), w, "outc.conv")
    if text_step:
        return torch.exp(log_depth + prior_mean), mean, logvar, eps
    metric = mlp(x5.amax((-2, -1)), w, "mlayer.1.ln")
    return to_meters(metric, log_depth, prior_mean), mean, logvar, eps


# Losses


def silog(pred: Tensor, gt: Tensor, max_depth: float) -> Tensor:
    total = torch.zeros(())
    for p, g in zip(pred, gt, strict=True):
        valid = (g > 0.1) & (g < max_depth)
        n = valid.sum() + 1e-6
        e = torch.log(p[valid]) - torch.log(g[valid])
        e = e[e.abs() > 0.001]
        total = total + ((e**2).sum() / n - 0.85 * (e.sum() / n) ** 2) * n / g.numel()
    return total


def vae_loss(pred: Tensor, std: Tensor, gt: Tensor, image: Tensor, max_depth: float) -> Tensor:
    valid = (gt > 1e-3) & (gt < max_depth)
    smoothness = torch.zeros(())
    for axis in (-1, -2):
        step = pred.diff(dim=axis).abs() * torch.exp(-image.diff(dim=axis).abs().mean(1, True))
        first = (~valid).narrow(axis, 0, valid.shape[axis] - 1).float()
        smoothness = smoothness + (step * first).sum() / first.sum()
    error = (pred - gt)[valid].abs().mean()
    return error + 0.01 * smoothness + torch.clamp(2 - std.mean(), min=0)


def text_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    return (-0.5 * (1 + logvar - mean**2 - torch.exp(logvar)).sum(1)).mean()


def image_kl(eps: Tensor) -> Tensor:
    cells = eps.transpose(0, 1).flatten(1)  # [C, B * cells]
    m, s = cells.mean(1), cells.std(1)
    return -0.5 * (1 + 2 * torch.log(s) - m**2 - s**2).sum()
