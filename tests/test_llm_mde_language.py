"""LLM-MDE's language model: adapters, the prompt before the image tokens, frozen weights."""

import hashlib

import pytest
import torch
from llm_mde_models import FAMILIES, language_model, stir_adapters
from torch import nn

from common.errors import UserError
from llm_mde.frozen import frozen_sha256
from llm_mde.language_model import LORA_TARGETS, LanguageModelConfig
from llm_mde.language_sources import build_body, load_language_model, tiny_architecture
from llm_mde.lora import add_lora
from llm_mde.random_weights import fill_with_random

families = pytest.mark.parametrize("family", FAMILIES)


@families
def test_an_adapted_language_model_starts_as_the_pretrained_one(family):
    architecture = tiny_architecture(LanguageModelConfig(name=f"tiny-{family}", num_layers=2))
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
