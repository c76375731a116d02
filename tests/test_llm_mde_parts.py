"""LLM-MDE's parts: adapters, language model, reprogramming, vision encoder, head, frozen state."""

import copy
import hashlib

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transformers import GPT2Config, GPT2Model

from common.config import build_config
from common.errors import UserError
from llm_mde.frozen import frozen_names, frozen_sha256
from llm_mde.head import AdaptationHead, HeadConfig
from llm_mde.language_model import LORA_TARGETS, LanguageConfig, LanguageModel
from llm_mde.language_sources import (
    build_body,
    load_language_model,
    portable_name,
    tiny_architecture,
)
from llm_mde.lora import add_lora
from llm_mde.model import LLMDepth, LLMDepthConfig, Setting, build_llm_depth, size_line
from llm_mde.prompt import PromptConfig
from llm_mde.random_weights import fill_with_random
from llm_mde.reprogramming import Reprogramming, ReprogrammingConfig
from llm_mde.tokenizer import PromptTokenizer
from llm_mde.vision_encoder import VisionConfig, VisionEncoder, build_vision_body, create_vit

FAMILIES = ("gpt2", "bert", "llama")
families = pytest.mark.parametrize("family", FAMILIES)
SIZE = (64, 96)
TINY = {
    "vision": {"name": "vit_tiny_patch16_224", "weights": None, "image_size": [64, 96],
               "embed_dim": 24, "depth": 1, "num_heads": 2, "lora_rank": 4},
    "reprogramming": {"num_prototypes": 8, "num_heads": 2},
    "language": {"name": "tiny-gpt2", "num_layers": 1, "hidden_size": 16, "num_heads": 2,
                 "lora_rank": 4},
    "head": {"channels": [8, 8]},
}  # fmt: skip
CAPTIONED = PromptConfig(dataset=False, statistics=False, depth_class=False, caption=True)


def tiny_model(prompt: PromptConfig = CAPTIONED, **parts: dict) -> LLMDepth:
    tree = {name: {**TINY[name], **parts.get(name, {})} for name in TINY}
    return build_llm_depth(build_config(LLMDepthConfig, tree), prompt, Setting(SIZE, 10.0, 0))


def language_model(family: str, **changes) -> LanguageModel:
    settings = {**TINY["language"], "name": f"tiny-{family}", "num_layers": 2, **changes}
    return load_language_model(LanguageConfig(**settings), seed=0).eval()


def stir_adapters(module: nn.Module) -> None:
    """Give the zero halves of the adapters values, as training does."""
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)


# Adapters


@families
def test_an_adapted_language_model_starts_as_the_pretrained_one(family):
    architecture = tiny_architecture(LanguageConfig(name=f"tiny-{family}", num_layers=2))
    body = build_body(architecture).eval()
    x = torch.randn(2, 7, 128)
    before = body(inputs_embeds=x).last_hidden_state
    add_lora(body, LORA_TARGETS[family], rank=4, alpha=8)
    assert torch.equal(body(inputs_embeds=x).last_hidden_state, before)
    trained = {name for name, p in body.named_parameters() if p.requires_grad}
    assert trained and all(".lora_" in name for name in trained)
    assert len(trained) == 2 * 2 * len(LORA_TARGETS[family])  # A and B, two layers
    stir_adapters(body)
    assert not torch.equal(body(inputs_embeds=x).last_hidden_state, before)


def test_an_adapted_vit_starts_as_the_pretrained_one():
    body = VisionTransformer(img_size=32, embed_dim=24, depth=2, num_heads=2, num_classes=0).eval()
    image = torch.randn(2, 3, 32, 32)
    before = body.forward_features(image)
    frozen = copy.deepcopy(body)
    add_lora(frozen, ["qkv"], rank=0, alpha=1)
    assert len(frozen_names(frozen)) == len(list(body.parameters()))
    add_lora(body, ["qkv"], rank=4, alpha=8)
    assert torch.equal(body.forward_features(image), before)
    assert torch.equal(frozen.forward_features(image), before)


def test_the_trained_share_with_gpt2_small_and_vit_b_at_published_ranks(capsys):
    """Every number from the shapes: SPEC 10's ranks, 4 layers, 1,000 prototypes, 24 heads."""
    config = LLMDepthConfig()
    with torch.device("meta"):
        vision = VisionEncoder(config.vision, create_vit(config.vision), (480, 640))
        body = GPT2Model(GPT2Config(n_layer=4))
        language = LanguageModel(config.language, body, PromptTokenizer.built_in())
        model = LLMDepth(
            config, PromptConfig(), Setting((480, 640), 10.0, 0), vision, language, complete=True
        )
    trained = {
        name: sum(p.numel() for p in part.parameters() if p.requires_grad)
        for name, part in model.named_children()
    }
    width, words = 768, 50257
    assert trained["vision"] == 12 * 160 * (width + 3 * width) == 5_898_240
    assert trained["language"] == 4 * 32 * (width + 3 * width) == 393_216
    mix, projections = 1000 * words + 1000, 4 * (width * width + width)
    bottleneck = 2 * width * 192 + width + 192
    assert trained["reprogramming"] == mix + 2 * width + projections + bottleneck
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    with capsys.disabled():
        print("\n" + "\n".join(model.size_lines()))
    assert frozen == 85_798_656 + 50257 * width + 1024 * width + 4 * 7_087_872 + 2 * width
    assert size_line("all", model) == "all: 213.34 M parameters, 59.80 M (28.0 %) trained"


# Language model


@families
def test_a_shorter_prompt_beside_a_longer_one_reads_as_it_does_alone(family):
    model = language_model(family)
    stir_adapters(model)
    prompts = [["Near."], ["A photo of a bedroom with a wardrobe and a bed, seen from the door."]]
    tokens = torch.randn(2, 6, model.dim)
    both = model(tokens, model.tokenize(prompts, 6))
    for index, prompt in enumerate(prompts):
        own = tokens[index : index + 1]
        alone = model(own, model.tokenize([prompt], 6))
        torch.testing.assert_close(both[index : index + 1], alone, atol=1e-5, rtol=0)
    assert (both[0] - model(tokens[:1], None)[0]).abs().max() > 1e-3  # the prompt is read


@families
def test_image_tokens_stand_behind_the_prompt(family):
    """GPT-2 and LLaMA look backwards: a later image token changes no earlier one; BERT sees all."""
    model = language_model(family)
    tokens = torch.randn(1, 4, model.dim)
    changed = tokens.clone()
    changed[:, -1] += 1
    prompt = model.tokenize([["A room."]], 4)
    before, after = model(tokens, prompt), model(changed, prompt)
    assert torch.equal(before[:, :3], after[:, :3]) == (family != "bert")


def test_without_layers_the_tokens_pass_unchanged():
    model = language_model("gpt2", num_layers=0)
    tokens = torch.randn(2, 3, model.dim)
    assert torch.equal(model(tokens, None), tokens)
    assert not [p for p in model.parameters() if p.requires_grad]
    assert model.embeddings.shape == (49408, 16)


@families
def test_frozen_weights_follow_the_seed_and_dropout_never_runs(family):
    first, same = language_model(family), language_model(family)
    other = load_language_model(first.config, seed=1)
    assert frozen_sha256(first) == frozen_sha256(same) != frozen_sha256(other)
    tokens = torch.randn(1, 4, first.dim)
    evaluated = first(tokens, None)
    assert torch.equal(first.train()(tokens, None), evaluated)


def test_random_weights_are_the_same_on_every_machine():
    layer = nn.Linear(3, 2)
    fill_with_random(layer, 0.5, seed=7)
    digest = hashlib.sha256(layer.weight.detach().numpy().tobytes()).hexdigest()
    assert digest[:16] == "ef12e49b1ab0af99"
    assert not layer.bias.any()
    large = nn.Linear(400, 400)
    fill_with_random(large, 0.5, seed=0)
    assert large.weight.std().item() == pytest.approx(0.5, rel=0.01)


def test_a_prompt_that_leaves_no_room_for_the_image_names_both_numbers():
    model = language_model("gpt2")
    with pytest.raises(UserError, match=r"a prompt of 30 tokens .* reads 1024 .* of which 1000"):
        model.tokenize([["room " * 30]], 1000)
    model.tokenize([["room " * 24]], 1000)


# Reprogramming


def test_reprogramming_is_attention_to_a_mix_of_the_words():
    """Against plain matrix products, one image and one head at a time."""
    layer = Reprogramming(ReprogrammingConfig(num_prototypes=5, num_heads=3), 12, 20, 8)
    tokens, words = torch.randn(2, 4, 12), torch.randn(20, 8)
    mixed = layer.mix.weight @ words + layer.mix.bias[:, None]
    prototypes = F.layer_norm(mixed, (8,), layer.norm.weight, layer.norm.bias)
    key, value = layer.key(prototypes), layer.value(prototypes)
    for image, got in zip(tokens, layer(tokens, words), strict=True):
        query = layer.query(image)
        heads = []
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            weights = (query[:, part] @ key[:, part].T / 2).softmax(-1)
            heads.append(weights @ value[:, part])
        x = layer.out(torch.cat(heads, dim=1))
        torch.testing.assert_close(got, x + layer.bottleneck(x))


def test_prototypes_are_made_once_for_the_whole_batch(monkeypatch):
    layer = Reprogramming(ReprogrammingConfig(num_prototypes=5, num_heads=3), 12, 20, 8)
    shapes = []
    layer.key.register_forward_pre_hook(lambda module, args: shapes.append(args[0].shape))
    layer(torch.randn(7, 4, 12), torch.randn(20, 8))
    assert shapes == [(5, 8)]


# Vision encoder and head


def vision_encoder(**changes) -> VisionEncoder:
    config = VisionConfig(**{**TINY["vision"], "image_size": (64, 96), **changes})
    return VisionEncoder(config, build_vision_body(config, 0), SIZE).eval()


def test_the_class_token_is_dropped_and_no_patch():
    encoder = vision_encoder()
    image = torch.randn(2, 3, *SIZE)
    tokens = encoder(image)
    assert tokens.shape == (2, 4 * 6, 24)
    assert torch.equal(tokens, encoder.body.forward_features(image)[:, 1:])


def test_the_token_grid_keeps_the_aspect_of_any_image():
    encoder = vision_encoder(image_size=(96, 144))
    assert encoder.grid_size(SIZE) == (6, 9)
    assert encoder.grid_size((64, 192)) == (6, 18)  # twice as wide: twice the columns
    assert encoder(torch.randn(1, 3, 64, 192)).shape == (1, 6 * 18, 24)
    assert encoder(torch.randn(1, 3, 33, 47)).shape == (1, 3 * 4, 24)
    encoder.max_tokens = 60
    assert encoder.grid_size(SIZE) == (6, 9)  # 54 fit
    rows, columns = encoder.grid_size((352, 1216))
    assert rows * columns <= 60
    assert columns / rows == pytest.approx(1216 / 352, rel=0.2)
    assert encoder.grid_size((1, 5000)) == (1, 60)
    assert encoder.grid_size((5000, 1)) == (60, 1)
    assert vision_encoder(image_size=(90, 150)).grid_size(SIZE) == (6, 9)  # to whole patches


def test_pretrained_weights_get_the_normalisation_they_were_trained_with(tmp_path):
    """ViT-B's ImageNet-21k weights want mean and std 0.5; the data has ImageNet's."""
    source = create_vit(VisionConfig(name="vit_tiny_patch16_224"))
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    config = VisionConfig(
        name="vit_tiny_patch16_224", weights=str(tmp_path / "vit.pth"), image_size=SIZE
    )
    encoder = VisionEncoder(config, build_vision_body(config, 0), SIZE).eval()
    grey = torch.full((1, 3, *SIZE), 0.5)
    ours = (grey - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    seen = []
    encoder.body.patch_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    tokens = encoder(ours)
    torch.testing.assert_close(seen[0], torch.zeros_like(grey), atol=1e-6, rtol=0)
    expected = source.eval().forward_features(torch.zeros_like(grey))[:, 1:]
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


def test_the_head_gives_metres_below_max_depth_at_the_images_size():
    head = AdaptationHead(HeadConfig((8, 6, 4)), 16, max_depth=7.0).eval()
    depth = head(100 * torch.randn(2, 6, 16), (2, 3), torch.randn(2, 3, 50, 70))
    assert depth.shape == (2, 1, 50, 70)
    assert depth.dtype == torch.float32
    assert depth.min() >= 0 and depth.max() <= 7.0
    nn.init.zeros_(head.depth_conv.weight)
    nn.init.zeros_(head.depth_conv.bias)
    flat = head(torch.randn(1, 6, 16), (2, 3), torch.randn(1, 3, 50, 70))
    assert torch.equal(flat, torch.full_like(flat, 3.5))


def test_the_head_puts_tokens_back_to_their_place():
    head = AdaptationHead(HeadConfig((4,)), 4, max_depth=1.0)
    tokens = torch.zeros(1, 6, 4)
    tokens[:, 4] = 1  # second row, second of three columns
    with torch.no_grad():
        head.project.weight.fill_(1)
        head.depth_conv.weight.zero_()[:, :, 1, 1] = 1
    depth = head(tokens, (2, 3), torch.zeros(1, 3, 2, 3))[0, 0]
    assert depth.argmax() == 4


# The whole


@pytest.mark.parametrize(
    ("parts", "prompt"),
    [
        ({}, CAPTIONED),
        ({"language": {"name": "tiny-bert"}}, CAPTIONED),
        ({"language": {"name": "tiny-llama"}}, CAPTIONED),
        ({}, PromptConfig(False, False, False, False)),  # no prompt
        ({}, PromptConfig(statistics=False, depth_class=False)),  # fixed prompt
        ({}, PromptConfig(dataset=False, task=False, depth_class=False)),  # statistics only
        ({"reprogramming": {"kind": "linear"}}, CAPTIONED),
        ({"language": {"num_layers": 0}}, CAPTIONED),
        ({"language": {"lora_rank": 0}, "vision": {"lora_rank": 0}}, CAPTIONED),
        ({"vision": {"train": "full"}}, CAPTIONED),
    ],
)
def test_every_trained_parameter_gets_a_gradient_and_no_frozen_one(parts, prompt):
    model = tiny_model(prompt, **parts).train()
    depth = model(torch.randn(2, 3, *SIZE), ["A room.", "A dollhouse."])
    stir_adapters(model)  # at the start B is zero, and with it the gradient of A
    depth = model(torch.randn(2, 3, *SIZE), ["A room.", "A dollhouse."])
    depth.log().square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    zero = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
    assert not zero


def test_the_caption_is_read_only_where_the_prompt_has_it():
    image = torch.randn(2, 3, *SIZE)
    here, there = ["A room.", "A room."], ["A dollhouse.", "A room."]
    model = tiny_model().eval()
    first, second = model(image, here), model(image, there)
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])  # and by its own image alone
    deaf = tiny_model(PromptConfig(depth_class=False)).eval()
    assert torch.equal(deaf(image, here), deaf(image, there))


def test_a_checkpoint_names_local_places_so_that_any_folder_finds_them(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "vit.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert portable_name("model") == str(tmp_path / "model")
    assert portable_name("some/name-of-the-hub") == "some/name-of-the-hub"
    assert VisionConfig(weights="vit.pth").portable().weights == str(tmp_path / "vit.pth")
    assert VisionConfig().portable().weights == "pretrained"


def test_the_context_limits_only_a_language_model_that_is_there():
    large = {"vision": {"image_size": [640, 640]}}
    with pytest.raises(UserError, match="reads 1024 tokens, of which 1600"):
        tiny_model(**large).check_prompts(["A room."])
    tiny_model(**large, language={"num_layers": 0}).check_prompts(["A room."])


def test_the_state_holds_no_frozen_weights_and_refuses_others():
    model = tiny_model()
    state = model.state_dict()
    assert not frozen_names(model) & set(state)
    assert {n for n, p in model.named_parameters() if p.requires_grad} < set(state)
    assert {n for n in state if "running_mean" in n} == {"head.stages.0.norm.running_mean"}
    again = tiny_model()
    again.load_state_dict(state)
    torch.manual_seed(5)
    image = torch.randn(1, 3, *SIZE)
    assert torch.equal(model.eval()(image, ["A room."]), again.eval()(image, ["A room."]))
    other = build_llm_depth(model.config, CAPTIONED, Setting(SIZE, 10.0, 1))
    with pytest.raises(UserError, match="frozen weights of vision .* are not those"):
        other.load_state_dict(state)
