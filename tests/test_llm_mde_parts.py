"""LLM-MDE's other parts: reprogramming, vision encoder, head; how much of each part is trained."""

import copy

import pytest
import torch
import torch.nn.functional as F
from llm_mde_models import SIZE, TINY, frozen_names
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transformers import GPT2Config, GPT2Model

from llm_mde.head import AdaptationHead, HeadConfig
from llm_mde.language_model import LanguageModel
from llm_mde.lora import add_lora
from llm_mde.model import LLMDepth, LLMDepthConfig, Setting, size_line
from llm_mde.prompt import PromptConfig
from llm_mde.reprogramming import Reprogramming, ReprogrammingConfig
from llm_mde.tokenizer import PromptTokenizer
from llm_mde.vision_encoder import VisionConfig, VisionEncoder, build_vision_body, create_vit


def test_the_trained_share_with_gpt2_small_and_vit_b_at_published_ranks(capsys):
    """Every number from the shapes: the published ranks, 4 layers, 1,000 prototypes, 24 heads."""
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


def vision_encoder(**changes) -> VisionEncoder:
    config = VisionConfig(**{**TINY["vision"], "image_size": (64, 96), **changes})
    return VisionEncoder(config, build_vision_body(config, 0), SIZE).eval()


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


def test_pretrained_weights_get_the_normalization_they_were_trained_with(tmp_path):
    """ViT-B's ImageNet-21k weights want mean and std 0.5; the data has ImageNet's."""
    source = create_vit(VisionConfig(name="vit_tiny_patch16_224"))
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    config = VisionConfig(
        name="vit_tiny_patch16_224", weights=str(tmp_path / "vit.pth"), image_size=SIZE
    )
    encoder = VisionEncoder(config, build_vision_body(config, 0), SIZE).eval()
    gray = torch.full((1, 3, *SIZE), 0.5)
    ours = (gray - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    seen = []
    encoder.body.patch_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    tokens = encoder(ours)
    torch.testing.assert_close(seen[0], torch.zeros_like(gray), atol=1e-6, rtol=0)
    expected = source.eval().forward_features(torch.zeros_like(gray))[:, 1:]
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


def test_the_head_gives_meters_below_max_depth_at_the_images_size():
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
