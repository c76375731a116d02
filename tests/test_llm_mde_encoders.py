"""LLM-MDE with an encoder in the vision transformer's place: `model.encoder`."""

import json

import pytest
import torch
from conftest import Outcome, metrics_of
from llm_mde_files import evaluate, score, train_into
from llm_mde_models import SIZE, stir_adapters, tiny_model
from tiny_configs import SWIN

from common.config import build_config
from common.errors import UserError
from common.networks.encoder import EncoderConfig, build_encoder
from common.networks.layers import trainable_parameters
from llm_mde.image_tokens import EncoderTokens
from llm_mde.model import LLMDepth, LLMDepthConfig, complete_checkpoint, load_llm_depth

LITE, CONVNEXT, RESNET = "timm:tf_efficientnet_lite0", "timm:convnext_tiny", "timm:resnet50"
ENCODERS = {
    "swin": {"name": "swin", **SWIN},
    **{name: {"name": name, "drop_path": 0.0} for name in (LITE, CONVNEXT, RESNET)},
}
CAPTIONS = ["A room.", "A dollhouse."]
encoders = pytest.mark.parametrize("name", ENCODERS)


def words(settings: dict) -> list[str]:
    """The encoder's settings as they are typed."""
    return [f"model.encoder.{key}={json.dumps(value)}" for key, value in settings.items()]


@pytest.fixture
def train(workspace, tmp_path):
    """Train into `tmp_path` with one of the encoders, and settings of it or of anything else."""

    def run(name: str, *overrides: str) -> Outcome:
        return train_into(tmp_path, workspace, *words(ENCODERS[name]), *overrides)

    return run


def tokens_of(name: str, image_size=SIZE, data_size=SIZE, **changes) -> EncoderTokens:
    config = build_config(EncoderConfig, {**ENCODERS[name], **changes})
    return EncoderTokens(config, image_size, data_size).eval()


def images() -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def checkpoint_of(model: LLMDepth) -> dict:
    """What training saves, as far as loading reads it."""
    described = ("stage", "recipe", "config", "step", "best_metric")
    parts = {"model": model.state_dict(), "model_config": model.describe()}
    return {**dict.fromkeys(described), **parts}


# As programs


@pytest.mark.slow
@encoders
def test_two_steps_and_a_score(train, tmp_path, name):
    outcome = train(name)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/llm_mde"
    lines = metrics_of(run, "train")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["loss/silog"] > 0 and line["grad_norm"] > 0 for line in lines)
    (val,) = metrics_of(run, "val")
    metrics = score(run / "checkpoints/last.pt", tmp_path / "out.json", "--split", "val")
    assert metrics["abs_rel"] == pytest.approx(val["abs_rel"], rel=1e-6)


@pytest.mark.slow
def test_resumed_is_the_same_as_uninterrupted(train, tmp_path):
    """Running statistics, drop path and an own learning rate included."""
    steady = (
        "train.schedule=constant",
        "model.encoder.lr_factor=0.1",
        "model.encoder.drop_path=0.2",
        "eval.max_images=1",
    )
    for more in (("train.max_steps=1",), ("train.max_steps=3",)):
        assert train(LITE, "experiment=parts", *steady, *more).code == 0
    assert train(LITE, "experiment=whole", *steady, "train.max_steps=3").code == 0
    parts, whole = (
        torch.load(tmp_path / name / "llm_mde/checkpoints/last.pt", weights_only=True)
        for name in ("parts", "whole")
    )
    assert parts["step"] == whole["step"] == 3
    assert parts["model"].keys() == whole["model"].keys()
    for key, value in whole["model"].items():
        other = parts["model"][key]
        assert torch.equal(value, other) if torch.is_tensor(value) else value == other, key


@pytest.mark.parametrize("frozen", ["true", pytest.param("false", marks=pytest.mark.slow)])
def test_weights_of_a_file_start_a_run_and_are_in_its_checkpoint(train, tmp_path, frozen):
    source = build_encoder(build_config(EncoderConfig, ENCODERS[LITE]), SIZE)
    path = tmp_path / "encoder.pth"
    torch.save(source.body.state_dict(), path)
    start = (
        f"model.encoder.weights={path}",
        f"model.encoder.frozen={frozen}",
        "model.encoder.lr_factor=1e-9",
        "train.schedule=constant",
        "train.weight_decay=0",
    )
    outcome = train(LITE, *start)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/llm_mde"
    assert f"encoder starts from {path}: by name" in (run / "log.txt").read_text()
    path.unlink()  # the checkpoint needs it no more
    saved = torch.load(run / "checkpoints/last.pt", weights_only=True)
    for key, value in source.named_parameters():
        torch.testing.assert_close(saved["model"][f"vision.encoder.{key}"], value)
    outcome = train(LITE, *start, "train.max_steps=3")
    assert outcome.code == 0, outcome.err
    assert "resuming at step 2" in outcome.err
    before, out = score(run, tmp_path / "before.json"), tmp_path / "complete.pt"
    assert evaluate("--checkpoint", str(run), f"--merge={out}").code == 0
    assert score(out, tmp_path / "after.json") == before


@pytest.mark.parametrize(
    ("name", "more", "parts"),
    [
        (LITE, "reprogramming.num_heads=24", ["num_heads: 24 does not divide", "112; 16 does"]),
        ("swin", "reprogramming.num_heads=5", ["num_heads: 5 does not divide", "32; 4 does"]),
        (LITE, "encoder.name=timm:resnet5", ["timm has no network resnet5; nearest: resnet50"]),
        (LITE, "encoder.name=resnet50", ["encoder.name: must be swin or timm:NAME"]),
        (LITE, "encoder.weights=nowhere.pth", ["model.encoder.weights: no file", "nowhere.pth"]),
        (LITE, "vision.image_size=[1024,1024]", ["tokens does not fit", "1024", "4096"]),
    ],
)
def test_a_mistake_is_one_line(train, name, more, parts):
    line = train(name, f"model.{more}").refusal
    assert all(part in line for part in parts), line


# As networks


def test_only_attention_has_heads_to_divide_the_width():
    swin = ENCODERS["swin"]
    assert tiny_model(encoder=swin, reprogramming={"kind": "linear", "num_heads": 24})
    with pytest.raises(UserError, match="24 does not divide"):
        tiny_model(encoder=swin, reprogramming={"num_heads": 24})


@pytest.mark.parametrize(
    ("name", "frozen"), [*((name, False) for name in ENCODERS), ("swin", True), (LITE, True)]
)
def test_every_trained_parameter_gets_a_gradient_and_no_frozen_one(name, frozen):
    model = tiny_model(encoder={**ENCODERS[name], "frozen": frozen}).train()
    encoder = model.vision.encoder
    assert encoder.training != frozen
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    stir_adapters(model)
    model(images(), CAPTIONS).log().square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert bool(trainable_parameters(encoder)) != frozen
    if frozen:
        assert not any(module.training for module in encoder.modules())
        assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_frozen_batch_normalization_keeps_its_statistics():
    model = tiny_model(encoder={**ENCODERS[LITE], "batch_norm": "frozen"}).train()
    norm = model.vision.encoder.body.bn1
    before = norm.running_mean.clone()
    model(images(), CAPTIONS).mean().backward()
    assert torch.equal(norm.running_mean, before)
    assert norm.weight.grad is not None


@encoders
@torch.no_grad()
def test_the_tokens_are_the_map_at_stride_16_row_by_row(name):
    vision = tokens_of(name)
    image = images()
    x4 = vision.encoder(image)[2]
    assert vision.dim == x4.shape[1] == vision.encoder.channels[2]
    rows, columns = vision.grid_size(SIZE)
    assert (rows, columns) == (4, 6)
    tokens = vision(image)
    assert torch.equal(tokens.transpose(1, 2).unflatten(2, (rows, columns)), x4)


@torch.no_grad()
def test_the_token_grid_keeps_the_aspect_of_any_image():
    vision = tokens_of("swin", image_size=(96, 144), data_size=SIZE)
    assert vision.grid_size(SIZE) == (6, 8)  # 144 pixels are 4.5 times 32
    assert vision.grid_size((64, 192)) == (6, 18)  # twice as wide: twice the columns
    assert vision(torch.randn(1, 3, 64, 192)).shape == (1, 6 * 18, vision.dim)
    assert vision.grid_size((1, 1)) == (2, 2)
    vision.max_tokens = 60
    assert vision.grid_size(SIZE) == (6, 8)
    rows, columns = vision.grid_size((352, 1216))
    assert rows % 2 == columns % 2 == 0 and rows * columns <= 60
    assert vision.grid_size((1, 5000)) == (2, 30)


@torch.no_grad()
def test_a_large_image_gets_no_more_tokens_than_half_of_the_context():
    model = tiny_model(encoder=ENCODERS["swin"]).eval()
    assert model.vision.max_tokens == 512
    rows, columns = model.vision.grid_size((960, 960))
    assert rows * columns <= 512
    assert model(torch.randn(1, 3, 100, 150), CAPTIONS[:1]).shape == (1, 1, 100, 150)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frozen"), [*((name, False) for name in ENCODERS), ("swin", True), (LITE, True)]
)
@torch.no_grad()
def test_rebuilt_from_a_checkpoint_and_from_a_complete_one(name, frozen):
    """The frozen encoder's random weights are in the checkpoint, unlike the language model's."""
    torch.manual_seed(3)
    model = tiny_model(encoder={**ENCODERS[name], "frozen": frozen}).eval()
    saved = checkpoint_of(model)
    held = {key for key in saved["model"] if key.startswith("vision.encoder.")}
    assert held == {f"vision.encoder.{key}" for key in model.vision.encoder.state_dict()}
    assert not any("base_layer" in key for key in saved["model"])
    assert model.frozen.keys() == {"language"}
    expected = model(images(), CAPTIONS)
    for checkpoint in (saved, complete_checkpoint(saved)):
        rebuilt = load_llm_depth(checkpoint).eval()
        assert torch.equal(rebuilt(images(), CAPTIONS), expected)
        assert rebuilt.vision.encoder.is_frozen == frozen


def test_without_the_section_the_vision_transformer_is_as_it_was():
    model = tiny_model()
    assert build_config(LLMDepthConfig, {}).encoder is None
    assert "vision.body.patch_embed.proj.weight" in dict(model.named_parameters())
    assert model.frozen.keys() == {"vision", "language"}
    earlier = checkpoint_of(model)
    del earlier["model_config"]["parts"]["encoder"]  # as it was written before
    rebuilt = load_llm_depth(earlier).eval()
    assert torch.equal(rebuilt(images(), CAPTIONS), model.eval()(images(), CAPTIONS))
