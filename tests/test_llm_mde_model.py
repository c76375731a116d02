"""LLM-MDE as a whole network: gradients, captions, the state it saves."""

import pytest
import torch
from llm_mde_models import CAPTIONED, SIZE, frozen_names, stir_adapters, tiny_model

from common.errors import UserError
from llm_mde.language_sources import portable_name
from llm_mde.model import Setting, build_llm_depth
from llm_mde.prompt import PromptConfig
from llm_mde.vision_encoder import VisionConfig


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


def test_the_context_limits_only_a_language_model_that_is_there():
    large = {"vision": {"image_size": [640, 640]}}
    with pytest.raises(UserError, match="reads 1024 tokens, of which 1600"):
        tiny_model(**large).check_prompts({"a.png": "A room."}, SIZE)
    tiny_model(**large, language={"num_layers": 0}).check_prompts({"a.png": "A room."}, SIZE)


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


def test_a_checkpoint_names_local_places_so_that_any_folder_finds_them(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "vit.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert portable_name("model") == str(tmp_path / "model")
    assert portable_name("some/name-of-the-hub") == "some/name-of-the-hub"
    assert VisionConfig(weights="vit.pth").portable().weights == str(tmp_path / "vit.pth")
    assert VisionConfig().portable().weights == "pretrained"
