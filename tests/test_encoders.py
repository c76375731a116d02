"""Encoders of timm in every network: shapes, gradients, what stays frozen, normalization, names."""

import warnings
from dataclasses import fields, replace

import pytest
import timm
import torch

from common.config import build_config, to_dict
from common.errors import UserError
from common.images.transforms import IMAGENET_MEAN, IMAGENET_STD
from common.networks.encoder import EncoderConfig, build_encoder, parameter_groups
from common.networks.layers import trainable_parameters
from common.networks.swin import SwinConfig, SwinEncoder
from common.networks.timm_encoder import TimmEncoder
from stage1_vae.model import TextVAEConfig
from stage2_sampler.model import SampledVAE, SamplerConfig, load_sampled_vae
from stage3_depth.joint_model import JointConfig, JointDepth, load_joint
from stage3_depth.model import EstimatorConfig, LanguageDepth, load_language_depth

LITE, CONVNEXT, RESNET = "tf_efficientnet_lite0", "convnext_tiny", "resnet50"
NAMES = (LITE, CONVNEXT, RESNET)
SIZE = (64, 96)
VAE = TextVAEConfig(
    text_dim=12, hidden_dims=(8,), latent_dim=8, code_channels=8, metric_hidden=8, prior_mean=1.54
)
SWIN = EncoderConfig(8, (1, 2, 1, 1), (1, 2, 2, 4), window_size=2, drop_path=0.0)


def encoder_config(name: str = LITE, **changes) -> EncoderConfig:
    return EncoderConfig(name=f"timm:{name}", drop_path=0.0, **changes)


def make(network: str, encoder: EncoderConfig) -> torch.nn.Module:
    """A network of each recipe, its other sizes as small as they can be."""
    torch.manual_seed(0)
    if network == "joint":
        config = JointConfig(
            (16, 8, 8), 8, 12, (8,), 8, skips="kept", encoder=encoder, prior_mean=1.54
        )
        return JointDepth(config, SIZE)
    evidence = SamplerConfig("encoder", hidden_dims=(8,), encoder=encoder)
    if network == "stage2":
        return SampledVAE(evidence, VAE, SIZE)
    estimator = EstimatorConfig((16, 8, 8), 8, encoder=encoder, prior_mean=1.54)
    return LanguageDepth(estimator, evidence, VAE, SIZE)


LOADERS = {"stage2": load_sampled_vae, "stage3": load_language_depth, "joint": load_joint}
NETWORKS = tuple(LOADERS)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *SIZE, generator=g), torch.randn(2, 12, generator=g)


def depth_of(network: torch.nn.Module) -> torch.Tensor:
    out = network(*inputs())
    return out if isinstance(out, torch.Tensor) else out.depth


def encoder_of(network: torch.nn.Module) -> TimmEncoder:
    return network.estimator.encoder if hasattr(network, "estimator") else network.encoder


def refusal(name: str, size: tuple[int, int] = SIZE) -> str:
    with pytest.raises(UserError) as caught:
        build_encoder(encoder_config(name), size)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", (*NAMES, "swin_tiny_patch4_window7_224", "mvitv2_tiny"))
@pytest.mark.parametrize("size", [(64, 96), (96, 160)])
@torch.no_grad()
def test_features_at_strides_4_to_32(name, size):
    """Built for 64x96, and taking other sizes, too; timm's Swin gives [B, H, W, C]."""
    encoder = build_encoder(encoder_config(name), SIZE).eval()
    features = encoder(torch.randn(2, 3, *size))
    assert [tuple(x.shape) for x in features] == [
        (2, channels, size[0] // stride, size[1] // stride)
        for channels, stride in zip(encoder.channels, (4, 8, 16, 32), strict=True)
    ]
    assert len(set(encoder.channels)) == 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_trainable_parameter_gets_a_gradient(network, name):
    """But the text branch of the joint network, which the image step leaves alone."""
    model = make(network, encoder_config(name)).train()
    depth_of(model).mean().backward()
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert {name for name in without if not name.startswith("text.")} == set()
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert any(p.requires_grad for p in encoder_of(model).parameters())


def test_the_last_features_alone_train_what_leads_to_them():
    """HRNet has convolutions that lead to its other outputs only."""
    whole, last = (build_encoder(encoder_config("hrnet_w18_small"), SIZE) for _ in range(2))
    last.train_one_output(-1, SIZE)
    assert 0 < len(trainable_parameters(last)) < len(trainable_parameters(whole))
    last(torch.randn(1, 3, *SIZE))[-1].sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in last.parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_frozen(network):
    model = make(network, encoder_config(frozen=True)).train()
    encoder = encoder_of(model)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert not any(module.training for module in encoder.modules())
    assert model.training
    depth_of(model).mean().backward()
    assert all(p.grad is None for p in encoder.parameters())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert trainable_parameters(model)


def test_frozen_swin():
    model = make("stage3", replace(SWIN, frozen=True)).train()
    assert not trainable_parameters(model.estimator.encoder)
    assert not model.estimator.encoder.training
    assert model.estimator.up4.training


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_batch_norm(batch_norm):
    """Frozen: stored statistics, which stay; its scale and shift are trained all the same."""
    model = make("stage3", encoder_config(batch_norm=batch_norm)).train()
    body = model.estimator.encoder.body
    assert body.blocks.training
    before = body.bn1.running_mean.clone()
    depth_of(model).mean().backward()
    assert torch.equal(body.bn1.running_mean, before) == (batch_norm == "frozen")
    assert body.bn1.weight.grad is not None


@pytest.mark.parametrize(("name", "mean", "std"), [(LITE, 0.5, 0.5), (RESNET, None, None)])
@torch.no_grad()
def test_images_are_normalized_as_the_network_was_trained(name, mean, std):
    picture = torch.rand(1, 3, *SIZE)
    ours = (picture - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(
        3, 1, 1
    )
    theirs = ours if mean is None else (picture - mean) / std
    encoder = build_encoder(encoder_config(name), SIZE).eval()
    expected = [encoder.body(theirs)[index] for index in encoder.outputs]
    for x, wanted in zip(encoder(ours), expected, strict=True):
        torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-4)
    assert not any("scale" in key or "shift" in key for key in encoder.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_rebuilt_from_a_checkpoint(network):
    model = make(network, encoder_config(lr_factor=0.1, batch_norm="frozen")).eval()
    saved = {"model": model.state_dict(), "model_config": model.describe()}
    rebuilt = LOADERS[network](saved).eval()
    with torch.no_grad():
        assert torch.equal(depth_of(rebuilt), depth_of(model))
    assert encoder_of(rebuilt).has_frozen_batch_norm


def test_activation_checkpointing_gives_equal_gradients():
    gradients = []
    for saves_memory in (False, True):
        torch.manual_seed(0)
        config = encoder_config(CONVNEXT, activation_checkpointing=saves_memory)
        encoder = build_encoder(config, SIZE).train()
        assert encoder.body.grad_checkpointing == saves_memory
        sum(x.square().sum() for x in encoder(inputs()[0])).backward()
        gradients.append([p.grad for p in encoder.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_swin_is_the_default_and_earlier_files_have_no_name():
    assert isinstance(build_encoder(SWIN, SIZE), SwinEncoder)
    earlier = to_dict(SwinConfig(*(getattr(SWIN, f.name) for f in fields(SwinConfig))))
    assert "name" not in earlier
    assert build_config(EncoderConfig, earlier) == SWIN


def test_sizes_of_swin_do_not_matter_to_another_network():
    """A YAML sets them, and the command line names the network."""
    tree = {"name": f"timm:{LITE}", "embed_dim": 7, "num_heads": [5], "depths": [1]}
    config = build_config(EstimatorConfig, {"decoder_channels": [16, 8, 8], "encoder": tree})
    assert config.encoder.name == f"timm:{LITE}"
    with pytest.raises(UserError, match="four stages"):
        build_config(EncoderConfig, {**tree, "name": "swin"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet50"}, "encoder.name: must be swin or timm:NAME, not 'resnet50'"),
        ({"name": "timm:"}, "must be swin or timm:NAME"),
        ({"lr_factor": 0}, "encoder.lr_factor: must be above 0"),
        ({"batch_norm": "off"}, "encoder.batch_norm must be one of train, frozen"),
        ({"embed_dim": 6, "num_heads": [1, 1, 1, 1]}, "decoder_channels: each, and encoder.embed_"),
    ],
)
def test_a_wrong_config_is_refused(changes, message):
    with pytest.raises(UserError) as caught:
        build_config(EstimatorConfig, {"encoder": changes})
    assert message in str(caught.value)


def test_networks_that_do_not_fit_are_refused():
    assert "timm has no network resnet5; nearest: resnet50" in refusal("resnet5")
    assert "at strides 16 alone; the decoder needs 4, 8, 16 and 32" in refusal(
        "vit_tiny_patch16_224"
    )
    assert "Invalid pretrained tag" in refusal("resnet50.no_such_tag")
    assert "cannot read images of 64x96" in refusal("inception_v3")


def test_channels_that_do_not_come_in_groups_are_refused():
    encoder = build_encoder(encoder_config("rexnet_100"), SIZE)
    assert any(channels % 4 for channels in encoder.channels)
    for network in ("stage3", "joint"):
        with pytest.raises(UserError, match="model.encoder.name: timm:rexnet_100 has features of "):
            make(network, encoder_config("rexnet_100"))
    assert make("stage2", encoder_config("rexnet_100"))  # has no decoder


@torch.no_grad()
def test_a_network_of_one_size_says_so():
    encoder = build_encoder(encoder_config("maxvit_tiny_tf_224"), SIZE).eval()
    assert len(encoder(torch.randn(1, 3, *SIZE))) == 4
    with pytest.raises(UserError, match="made for images of 64x96 and cannot read 96x160"):
        encoder(torch.randn(1, 3, 96, 160))


def test_one_group_of_parameters_unless_the_encoder_has_a_rate_of_its_own():
    model = make("stage3", SWIN)
    (group,) = parameter_groups(model, model.estimator.encoder, SWIN)
    assert list(group) == ["params"]
    ours, theirs = group["params"], trainable_parameters(model)
    assert all(a is b for a, b in zip(ours, theirs, strict=True))
    rest, own = parameter_groups(model, model.estimator.encoder, replace(SWIN, lr_factor=0.1))
    assert own["lr_factor"] == 0.1 and "lr_factor" not in rest
    inside = {id(p) for p in model.estimator.encoder.parameters()}
    assert {id(p) for p in own["params"]} == inside
    assert len(own["params"]) + len(rest["params"]) == len(theirs)
    assert not inside & {id(p) for p in rest["params"]}


def test_a_frozen_encoder_has_no_group():
    config = replace(SWIN, frozen=True, lr_factor=0.1)
    model = make("stage3", config)
    (group,) = parameter_groups(model, model.estimator.encoder, config)
    assert "lr_factor" not in group


def test_the_old_word_for_the_encoders_evidence_is_read():
    assert build_config(SamplerConfig, {"evidence": "swin"}) == SamplerConfig("encoder")


def test_nothing_is_built_twice_or_warned_of():
    """The checks at the beginning take a copy of shapes and leave the network as it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = build_encoder(encoder_config(), SIZE)
    assert encoder.training
    assert all(p.device.type == "cpu" and p.grad is None for p in encoder.parameters())
    assert encoder.state_dict().keys() == {
        f"body.{key}" for key in timm.create_model(LITE, features_only=True).state_dict()
    }
