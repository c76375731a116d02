"""Weights that start a Swin encoder: Microsoft's, timm's, those of a depth network."""

import pytest
import timm
import torch
import torch.nn.functional as F
from small_swin import SMALL, encoder
from timm.models.swin_transformer import SwinTransformer

from common.errors import UserError
from common.networks.encoder_weights import start_from
from common.networks.published.names import published_name


def microsoft_file(path, model, with_head):
    """The state of a Microsoft checkpoint: down-sampling one stage earlier, tables and masks."""
    state = {}
    for key, value in model.body.state_dict().items():
        parts = key.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        state[".".join(parts)] = value
        if key.endswith("relative_position_bias_table"):
            prefix = key.removesuffix("attn.relative_position_bias_table")
            state[f"{prefix}attn.relative_position_index"] = torch.zeros(16, 16)
            state[f"{prefix}attn_mask"] = torch.zeros(4, 16, 16)
    assert "layers.0.downsample.norm.weight" in state
    if with_head:
        state |= {
            "norm.weight": torch.ones(64),
            "norm.bias": torch.ones(64),
            "head.weight": torch.ones(10, 64),
            "head.bias": torch.ones(10),
        }
    torch.save({"model": state}, path)
    return str(path)


@pytest.mark.parametrize("with_head", [False, True])
def test_microsoft_weights(tmp_path, with_head):
    source, target = encoder(seed=1), encoder(seed=2)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    log = []
    start_from(target, microsoft_file(tmp_path / "swin.pth", source, with_head), log.append)
    for key, value in target.state_dict().items():
        wanted = source.state_dict()[key] if key.startswith("body.") else before[key]
        assert torch.equal(value, wanted), key
    assert len(log) == 1
    used = len(source.body.state_dict())
    assert f": {used} weights; missing, so started anew: 9 (norms." in log[0]
    unused = "4 (body.head.bias, body.head.weight, body.norm.bias, ...)" if with_head else "none"
    assert f"unused: {unused}; resized: none" in log[0]


def depth_network_file(path, model, naming):
    """The encoder in a file of a depth network, as the authors or this project name it."""
    state = model.state_dict()
    if naming == "published":
        weights = {f"module.{published_name(k, 'backbone')}": v for k, v in state.items()}
        weights["module.outc.conv.bias"] = torch.zeros(1)
        content = {"model": weights, "global_step": 7}
    else:
        weights = {f"{naming}{k}": v for k, v in state.items()}
        content = {"format_version": 1, "model": {**weights, "depth_conv.bias": torch.zeros(1)}}
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("naming", ["published", "encoder.", "estimator.encoder."])
def test_the_encoder_of_a_depth_network(tmp_path, naming):
    source, target = encoder((64, 96), seed=1), encoder((96, 64), seed=2)
    log = []
    start_from(target, depth_network_file(tmp_path / "net.pt", source, naming), log.append)
    ours, theirs = target.state_dict(), source.state_dict()
    resized = F.interpolate(theirs.pop("position"), (24, 16), mode="bicubic")
    torch.testing.assert_close(ours.pop("position"), resized)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert "missing, so started anew: none" in log[0]
    assert log[0].endswith("resized: 1 (position)")
    assert ("1 (outc.conv.bias)" in log[0]) == (naming == "published")


@pytest.mark.filterwarnings("ignore::UserWarning:timm")
def test_microsoft_weights_of_another_window(tmp_path):
    source, target = encoder(seed=1, window_size=3), encoder(seed=2, window_size=4)
    with torch.no_grad():
        for name, parameter in source.body.named_parameters():
            if name.endswith("bias_table"):
                parameter.copy_(torch.arange(parameter.shape[1]).float())  # constant per head
    log = []
    start_from(target, microsoft_file(tmp_path / "swin.pth", source, True), log.append)
    table = target.body.layers[3].blocks[0].attn.relative_position_bias_table
    assert table.shape == (49, 4)
    torch.testing.assert_close(table, torch.arange(4.0).expand(49, 4), rtol=1e-4, atol=1e-4)
    assert torch.equal(target.body.patch_embed.proj.weight, source.body.patch_embed.proj.weight)
    assert "resized: 6 (body.layers.0.blocks.0.attn.relative_position_bias_table, " in log[0]


def test_weights_that_do_not_fit(tmp_path):
    def refusal(weights, **changes):
        with pytest.raises(UserError) as caught:
            start_from(encoder(**changes), weights, lambda _: None)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    path = microsoft_file(tmp_path / "swin.pth", encoder(), True)
    assert "of another shape, first " in refusal(path, embed_dim=16)
    assert "weights missing" in refusal(path, depths=(1, 2, 4, 1))
    assert "no file" in refusal(str(tmp_path / "nowhere.pth"))
    assert "of another shape" in refusal(path, num_heads=(2, 4, 4, 8))
    for content in ({"state": 1}, [1, 2]):
        torch.save(content, tmp_path / "other.pth")
        assert "other.pth" in refusal(str(tmp_path / "other.pth"))
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    assert "cannot read" in refusal(str(tmp_path / "broken.pth"))
    assert "nearest: swin_tiny" in refusal("timm:swin_tiny_patch4_window7")
    assert "nearest: swin_" in refusal("timm:resnet50")
    assert "timm has no model" in refusal("timm:swin_tiny_patch4_window7_224.no_such_tag")
    start_from(encoder(), None, pytest.fail)  # null: random weights, nothing to say


def test_file_with_timm_names(tmp_path):
    """What timm itself saves: down-sampling layers one stage later than in Microsoft's files."""
    source, target = encoder(seed=1), encoder(seed=2)
    torch.save({**source.body.state_dict(), "norm.weight": torch.ones(64)}, tmp_path / "timm.pth")
    log = []
    start_from(target, str(tmp_path / "timm.pth"), log.append)
    ours = target.body.state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in source.body.state_dict().items())
    assert "unused: 1 (body.norm.weight); resized: none" in log[0]


def test_weights_of_timm_by_name(monkeypatch):
    source = encoder(seed=1, absolute_position=False)
    body = SwinTransformer(
        img_size=(64, 96),
        embed_dim=8,
        depths=SMALL["depths"],
        num_heads=SMALL["num_heads"],
        window_size=4,
        num_classes=10,
        always_partition=True,
    )
    body.load_state_dict(source.body.state_dict(), strict=False)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: body)
    target = encoder(seed=2, absolute_position=False)
    start_from(target, "timm:swin_tiny_patch4_window7_224", lambda _: None)
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(target(image)[3], source(image)[3])

    def offline(name, pretrained):
        raise OSError("no network\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"cannot load timm:swin_tiny.*no network and.*\.pth"):
        start_from(target, "timm:swin_tiny_patch4_window7_224", lambda _: None)
