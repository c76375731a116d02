"""LLM-MDE's programs: a user's mistake is one line, and nothing is left of the run."""

import json
import re
from pathlib import Path

import pytest
import torch
from llm_mde_files import named, train_into, vit_file, write_gpt2, write_tokenizer
from transformers import BertConfig, GPT2Config, GPT2Model, LlamaConfig, T5Config


@pytest.fixture
def refused(workspace, tmp_path):
    """The one error line of a training that must not start; nothing may be left of it."""

    def refusal(*overrides: str) -> str:
        outcome = train_into(tmp_path, workspace, *overrides)
        assert outcome.err.splitlines() == outcome.errors, outcome.err
        assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("config.yaml"))
        return outcome.refusal.removeprefix("error: ")

    return refusal


@pytest.fixture
def gpt2_folder(tmp_path) -> Path:
    return write_gpt2(tmp_path / "small gpt2")


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (named("no-such/model"), ["cannot load the language model no-such/model", "tiny-gpt2"]),
        (named("./nowhere"), ["model.language.name: no folder", "nowhere"]),
        (("model.vision.name=vit_huge_patch1",), ["timm has no model vit_huge_patch1", "vit_"]),
        (
            (
                "model.vision.name=resnet18",
                "model.vision.embed_dim=null",
                "model.vision.depth=null",
                "model.vision.num_heads=null",
            ),
            ["model.vision", "resnet18", "plain vision transformer"],
        ),
        (
            ("model.language.hidden_size=18", "model.language.num_heads=4"),
            ["model.language.num_heads", "18", "4"],
        ),
        (("model.vision.embed_dim=25",), ["model.vision.num_heads: 2 does not divide", "25"]),
        (("model.vision.embed_dim=25", "model.vision.num_heads=null"), ["cannot build", "25"]),
        (("model.reprogramming.num_heads=5",), ["model.reprogramming.num_heads: 5", "24"]),
        (
            (
                "model.vision.weights=nowhere.pth",
                "model.vision.embed_dim=null",
                "model.vision.depth=null",
                "model.vision.num_heads=null",
            ),
            ["no file", "nowhere.pth"],
        ),
        (("model.vision.weights=pretrained",), ["model.vision.embed_dim", "weights: null"]),
        (("text.captions=null",), ["prompt.caption", "text.captions"]),
        (("prompt.templates.caption=" + "room " * 1200,), ["tokens does not fit", "1024", "24"]),
        (("model.vision.image_size=[64,8]",), ["model.vision.image_size", "smaller than a patch"]),
        (named("gpt2", "model.language.hidden_size=64"), ["hidden_size and num_heads null"]),
        (("model.vision.image_size=[1024,1024]",), ["tokens does not fit", "1024", "4096"]),
        (('prompt.templates.statistics="{min}"',), ["prompt.templates.statistics", "darkest_x"]),
        (named("gpt2", "model.language.hidden_size=64"), ["hidden_size", "gpt2 has its own"]),
        (("prompt.captoin=true",), ["unknown key 'prompt.captoin'", "prompt.caption"]),
        (("model.language.num_layers=-1",), ["num_layers: must be at least 0"]),
    ],
)
def test_a_mistake_is_one_line(refused, overrides, parts):
    line = refused(*overrides)
    assert all(part in line for part in parts), line


def test_mistakes_in_a_models_folder(refused, tmp_path, gpt2_folder):
    line = refused(*named(gpt2_folder, "model.language.num_layers=9"))
    assert "model.language.num_layers: 9 is more than the 3 layers" in line
    (gpt2_folder / "tokenizer.json").unlink()
    assert "tokenizer" in refused(*named(gpt2_folder))
    write_tokenizer(gpt2_folder)
    weights = gpt2_folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert "cannot load the weights of" in refused(*named(gpt2_folder))
    weights.write_bytes(whole)
    settings = json.loads((gpt2_folder / "config.json").read_text())
    for changes, part in (
        ({"n_head": 3}, "hidden size 16 does not divide into 3 heads"),
        ({"n_embd": 24, "n_layer": 4}, "h.0.attn.c_attn.bias is not (72,), as config.json asks"),
        ({"n_layer": 4}, "lacks 12 weights of its first 4 layers, first h.3."),
    ):
        (gpt2_folder / "config.json").write_text(json.dumps({**settings, **changes}))
        assert part in refused(*named(gpt2_folder, "model.language.num_layers=4"))
    (gpt2_folder / "config.json").write_text("{")
    assert "cannot load the language model" in refused(*named(gpt2_folder))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"num_attention_heads": 5}, r"16\) is not a multiple of .* \(5\)|16 .* into 5 heads"),
        ({"num_key_value_heads": 3}, "4 heads do not divide into 3 groups"),
        ({"num_attention_heads": 0}, "cannot load the language model|16 .* into 0 heads"),
        ({"hidden_act": "nonsense"}, "nonsense"),
    ],
)
def test_a_llama_folder_that_makes_no_network_is_one_line(refused, tmp_path, changes, part):
    """transformers checks some of it itself, version 5 more than 4, and some of it not."""
    LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=16,
    ).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    write_tokenizer(tmp_path)
    assert re.search(part, refused(*named(tmp_path, "model.language.random_init=true")))


def test_vision_weights_of_another_network_are_one_line(refused, tmp_path):
    """timm ignores names that do not fit where the classifier is left out."""
    words = vit_file(tmp_path / "vit.pth")
    weights = torch.load(tmp_path / "vit.pth")
    weights["blocks.0.attn.other"] = weights.pop("blocks.0.attn.qkv.weight")
    torch.save(weights, tmp_path / "vit.pth")
    assert "lacks 1 weights of vit_tiny_patch16_224, first blocks.0.attn.qkv" in refused(*words)


@pytest.mark.parametrize("config_type", [GPT2Config, BertConfig, LlamaConfig])
def test_a_missing_tokenizer_is_one_line(refused, tmp_path, config_type):
    """transformers itself makes an empty tokenizer for some of them, in silence."""
    config_type().save_pretrained(tmp_path / "bare")
    line = refused(*named(tmp_path / "bare", "model.language.random_init=true"))
    assert "tokenizer" in line and "bare" in line


def test_a_tokenizer_of_another_model_is_one_line(refused, tmp_path):
    GPT2Model(GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        tmp_path / "mixed"
    )
    write_tokenizer(tmp_path / "mixed")
    line = refused(*named(tmp_path / "mixed"))
    assert "mixed gives token" in line and "the model knows 8" in line


def test_another_kind_of_language_model_is_one_line(refused, tmp_path):
    T5Config().save_pretrained(tmp_path / "t5")
    assert "is a t5; gpt2, bert and llama" in refused(*named(tmp_path / "t5"))
