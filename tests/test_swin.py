"""The Swin encoder against timm and against a slow rendering of its own."""

import pytest
import torch
import torch.nn.functional as F
from small_swin import SMALL, encoder
from timm.models.swin_transformer import SwinTransformer

from common.networks.swin_parts import DropPath, SwinBody, WindowBlock


def naive_attention(block, x):
    """Pad, roll, attend in loops over windows; two cells see each other unless the roll joined
    them: then their distance in the window differs from their distance in the padded grid."""
    attn = block.attn
    window, shift = attn.window_size[0], attn.shift_size[0]
    batch, height, width, channels = x.shape
    heads = attn.relative_position_bias_table.shape[1]
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1:3]
    out = torch.zeros_like(x)
    for top in range(0, rows, window):
        for left in range(0, columns, window):
            rolled = [(top + i, left + j) for i in range(window) for j in range(window)]
            cells = [((r + shift) % rows, (c + shift) % columns) for r, c in rolled]
            tokens = torch.stack([x[:, r, c] for r, c in cells], 1)  # [B, N, C]
            q, k, v = attn.qkv(tokens).reshape(batch, len(cells), 3, heads, -1).unbind(2)
            bias = torch.empty(heads, len(cells), len(cells))
            for a, (ra, ca) in enumerate(cells):
                for b, (rb, cb) in enumerate(cells):
                    dr, dc = rolled[a][0] - rolled[b][0], rolled[a][1] - rolled[b][1]
                    row = (dr + window - 1) * (2 * window - 1) + dc + window - 1
                    joined = (ra - rb, ca - cb) != (dr, dc)
                    bias[:, a, b] = attn.relative_position_bias_table[row] - 1e9 * joined
            scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (channels // heads) ** -0.5
            mixed = torch.einsum("bhqk,bkhd->bqhd", (scores + bias).softmax(-1), v)
            mixed = attn.proj(mixed.flatten(2))
            for index, (r, c) in enumerate(cells):
                out[:, r, c] = mixed[:, index]
    return out[:, :height, :width]


@pytest.mark.parametrize("grid", [(4, 4), (8, 4), (5, 7), (3, 6), (2, 2), (1, 9)])
@pytest.mark.parametrize("index", [0, 1])
@torch.no_grad()
def test_attention_pads_first_and_rolls_then(grid, index):
    block = encoder().body.layers[1].blocks[index]
    assert isinstance(block, WindowBlock)
    assert block.attn.shift_size == ((0, 0), (2, 2))[index]
    x = torch.randn(2, *grid, 16)
    torch.testing.assert_close(block.attn(x), naive_attention(block, x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_equals_timm_where_the_windows_fit():
    """128x256 with window 4: every grid, down to 4x8, is a multiple of the window."""
    model = encoder((128, 256), absolute_position=False)
    body = SwinTransformer(
        img_size=(128, 256),
        embed_dim=8,
        depths=SMALL["depths"],
        num_heads=SMALL["num_heads"],
        window_size=4,
        num_classes=0,
        always_partition=True,
    ).eval()
    missing, unexpected = body.load_state_dict(model.body.state_dict(), strict=False)
    assert not unexpected
    assert set(missing) <= {"norm.weight", "norm.bias"}
    image = torch.randn(2, 3, 128, 256)
    x = body.patch_embed(image)
    for stage, norm, ours in zip(body.layers, model.norms, model(image), strict=True):
        x = stage(x)
        torch.testing.assert_close(ours, norm(x).permute(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 64), (160, 224), (352, 32)])
@torch.no_grad()
def test_any_size_divisible_by_32(size):
    features = encoder((64, 96))(torch.randn(1, 3, *size))
    assert [tuple(x.shape) for x in features] == [
        (1, 8 * 2**i, size[0] // s, size[1] // s) for i, s in enumerate((4, 8, 16, 32))
    ]
    assert all(x.isfinite().all() for x in features)


@pytest.mark.parametrize("size", [(61, 90), (33, 47), (1, 5), (100, 31)])
@torch.no_grad()
def test_odd_sizes_are_padded_for_whole_patches_and_pairs(size):
    model = encoder((64, 96), absolute_position=False)
    image = torch.randn(1, 3, *size)
    features = model(image)
    grids = [tuple(-(-s // stride) for s in size) for stride in (4, 8, 16, 32)]
    assert [tuple(x.shape[-2:]) for x in features] == grids
    whole_patches = torch.zeros(1, 3, 4 * grids[0][0], 4 * grids[0][1])
    whole_patches[..., : size[0], : size[1]] = image
    for ours, theirs in zip(features, model(whole_patches), strict=True):
        assert torch.equal(ours, theirs)
    x = torch.randn(1, 3, 5, 8)
    pairs = torch.cat((x, torch.zeros(1, 1, 5, 8)), dim=1)
    merge = model.body.layers[1].downsample
    assert torch.equal(merge(x), merge(pairs))


@torch.no_grad()
def test_an_encoder_of_an_odd_size():
    model = encoder((61, 90))
    assert model.position.shape == (1, 8, 16, 23)
    assert model(torch.randn(1, 3, 61, 90))[3].shape == (1, 64, 2, 3)


@torch.no_grad()
def test_position_embedding_is_added_and_resized():
    model = encoder((64, 96))
    with_it = model(torch.ones(1, 3, 64, 96))[0]
    model.position.zero_()
    assert not torch.allclose(with_it, model(torch.ones(1, 3, 64, 96))[0], atol=1e-3)
    model.position.fill_(3.0)  # a constant stays one at any size
    plain = encoder((64, 96), absolute_position=False)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k != "position"})
    plain.body.patch_embed.register_forward_hook(lambda *call: call[2] + 3.0)
    image = torch.randn(1, 3, 96, 64)
    torch.testing.assert_close(model(image)[3], plain(image)[3], rtol=1e-4, atol=1e-4)


def test_state_keys_do_not_depend_on_the_image_size():
    keys = [set(encoder(size).state_dict()) for size in ((64, 96), (352, 1216))]
    assert keys[0] == keys[1]
    groups = {key.partition(".")[0] for key in keys[0]}
    assert groups == {"body", "norms", "position"}
    assert not any("index" in key or "mask" in key or "head" in key for key in keys[0])
    assert "body.layers.1.downsample.reduction.weight" in keys[0]
    assert set(encoder(absolute_position=False).state_dict()) == keys[0] - {"position"}


def test_activation_checkpointing_gives_equal_gradients():
    image = torch.randn(2, 3, 64, 96)
    gradients = []
    for saves_memory in (False, True):
        model = encoder(drop_path=0.5, activation_checkpointing=saves_memory).train()
        torch.manual_seed(1)
        sum(x.square().sum() for x in model(image)).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_stochastic_depth_only_in_training():
    model = encoder(drop_path=0.5)
    image = torch.randn(1, 3, 64, 96)
    assert torch.equal(model(image)[3], model(image)[3])
    model.train()
    assert not torch.equal(model(image)[3], model(image)[3])


def test_position_embedding_is_resized_bicubically_for_other_sizes():
    trained, other = encoder((64, 96), seed=1), encoder((96, 64), seed=1)
    resized = F.interpolate(trained.position.detach(), (24, 16), mode="bicubic")
    with torch.no_grad():
        other.position.copy_(resized)
    image = torch.randn(1, 3, 96, 64)
    torch.testing.assert_close(trained(image)[0], other(image)[0])


def test_parameters_stand_in_timms_order():
    """An optimizer's state is resumed by their numbers."""
    body = SwinTransformer(
        img_size=(64, 96), embed_dim=8, depths=SMALL["depths"], num_heads=SMALL["num_heads"],
        window_size=4, num_classes=0, always_partition=True,
    )  # fmt: skip
    theirs = [name for name, _ in body.named_parameters() if not name.startswith("norm.")]
    assert [name for name, _ in encoder().body.named_parameters()] == theirs


def test_a_seed_gives_the_weights_that_timm_draws():
    """Runs of before `SwinBody`, which took timm's own, start from the same network."""
    networks = []
    for make in (
        lambda: SwinBody(8, SMALL["depths"], SMALL["num_heads"], 4, drop_path=0.3),
        lambda: SwinTransformer(
            img_size=(64, 96),
            embed_dim=8,
            depths=SMALL["depths"],
            num_heads=SMALL["num_heads"],
            window_size=4,
            drop_path_rate=0.3,
            num_classes=0,
            always_partition=True,
        ),
    ):
        torch.manual_seed(5)
        networks.append(make())
    ours, timms = networks
    rates = [[m.rate for m in ours.modules() if isinstance(m, DropPath)]]
    rates += [[m.drop_prob for m in timms.modules() if hasattr(m, "drop_prob")]]
    assert len(rates[0]) == 10
    assert rates[0] == rates[1]
    theirs = {name: w for name, w in timms.state_dict().items() if not name.startswith("norm.")}
    assert list(theirs) == list(ours.state_dict())
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, theirs[name]), name
