"""Pretrained models that LLM-MDE starts from, and what its checkpoints hold of them."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from llm_mde_files import (
    WORDS,
    evaluate,
    named,
    score,
    train_into,
    vit_file,
    write_gpt2,
    write_tokenizer,
)
from transformers import BertConfig, BertModel, GPT2Model

from llm_mde.model import load_llm_depth


@pytest.fixture
def train(workspace, tmp_path):
    """Train into `tmp_path`."""
    return partial(train_into, tmp_path, workspace)


@pytest.fixture
def gpt2_folder(tmp_path) -> Path:
    return write_gpt2(tmp_path / "small gpt2")


def test_the_first_layers_of_a_local_model_are_used_with_their_weights(
    train, gpt2_folder, tmp_path
):
    outcome = train(*named(gpt2_folder, "model.language.num_layers=2"))
    assert outcome.code == 0, outcome.err
    path = tmp_path / "tiny/llm_mde/checkpoints/last.pt"
    model = load_llm_depth(torch.load(path, weights_only=True))
    assert len(model.language.body.h) == 2
    source = GPT2Model.from_pretrained(gpt2_folder)
    ours = dict(model.language.body.named_parameters())
    assert torch.equal(ours["h.1.attn.c_attn.base_layer.weight"], source.h[1].attn.c_attn.weight)
    assert torch.equal(ours["wte.weight"], source.wte.weight)
    words = ["A", "room", ".", "seen"]
    expected = [3 + WORDS.index(word) for word in words]
    assert model.language.tokenizer(["A room.", "seen"]) == expected


def test_random_init_takes_only_the_architecture(train, gpt2_folder, tmp_path):
    (gpt2_folder / "model.safetensors").unlink()
    outcome = train(*named(gpt2_folder, "model.language.random_init=true"), "eval.max_images=1")
    assert outcome.code == 0, outcome.err
    score(tmp_path / "tiny/llm_mde", tmp_path / "out.json")


def test_special_tokens_of_a_bert_folder_stand_around_the_prompt(train, tmp_path):
    folder = tmp_path / "bert"
    BertModel(
        BertConfig(
            vocab_size=32,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
    ).save_pretrained(folder)
    write_tokenizer(folder, ends="[CLS] $A [SEP]")
    assert train(*named(folder), "eval.max_images=1").code == 0
    saved = torch.load(tmp_path / "tiny/llm_mde/checkpoints/last.pt", weights_only=True)
    tokenizer = load_llm_depth(saved).language.tokenizer
    assert tokenizer(["a room"]) == [1, 3 + WORDS.index("a"), 3 + WORDS.index("room"), 2]


def test_a_checkpoint_is_small_and_a_complete_one_needs_nothing_else(train, gpt2_folder, tmp_path):
    vit = tmp_path / "vit.pth"
    assert train(*named(gpt2_folder, *vit_file(vit))).code == 0
    run, out = tmp_path / "tiny/llm_mde", tmp_path / "complete.pt"
    before = score(run, tmp_path / "before.json")
    saved = torch.load(run / "checkpoints/best.pt", weights_only=True)
    assert not [key for key in saved["model"] if "base_layer" in key or "wte" in key]
    outcome = evaluate("--checkpoint", str(run), "--merge", str(out))
    assert outcome.code == 0, outcome.err
    assert str(out) in outcome.out
    small, large = ((run / "checkpoints/best.pt").stat().st_size, out.stat().st_size)
    assert small < 2e6 < 20e6 < large
    shutil.rmtree(gpt2_folder)
    outcome = evaluate("--checkpoint", str(run))
    assert outcome.code == 2
    assert len(outcome.errors) == 1 and "small gpt2" in outcome.errors[0]
    vit.unlink()
    again = tmp_path / "again.pt"
    assert evaluate("--checkpoint", str(out), "--merge", str(again)).code == 0
    assert again.stat().st_size == pytest.approx(large, rel=0.01)
    assert score(out, tmp_path / "after.json") == before


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_a_complete_checkpoint_of_a_tiny_model_predicts_the_same(train, tmp_path, family):
    assert train(f"model.language.name=tiny-{family}", "eval.max_images=1").code == 0
    run, out = tmp_path / "tiny/llm_mde", tmp_path / "complete.pt"
    assert evaluate("--checkpoint", str(run), f"--merge={out}").code == 0
    models = [
        load_llm_depth(torch.load(path, weights_only=True)).eval()
        for path in (run / "checkpoints/best.pt", out)
    ]
    image = torch.randn(1, 3, 64, 96)
    first, second = (model(image, ["A room."]) for model in models)
    assert torch.equal(first, second)


def test_a_vit_trained_as_a_whole_is_all_in_the_checkpoint(train, tmp_path):
    assert train(*vit_file(tmp_path / "vit.pth"), "model.vision.train=full").code == 0
    run = tmp_path / "tiny/llm_mde"
    before = score(run, tmp_path / "before.json")
    (tmp_path / "vit.pth").unlink()
    assert score(run, tmp_path / "after.json") == before


def test_other_frozen_weights_are_refused(train, gpt2_folder, tmp_path):
    assert train(*named(gpt2_folder)).code == 0
    torch.manual_seed(1)
    source = GPT2Model.from_pretrained(gpt2_folder)
    source.h[0].ln_1.weight.data[3] += 1e-3
    source.save_pretrained(gpt2_folder)
    outcome = evaluate("--checkpoint", str(tmp_path / "tiny/llm_mde"))
    assert outcome.code == 2
    assert "frozen weights of language" in outcome.errors[0]
    assert "small gpt2" in outcome.errors[0]
    outcome = train(*named(gpt2_folder, "train.max_steps=4"))  # nor does the run go on with them
    assert outcome.code == 2
    assert "frozen weights of language" in outcome.errors[0]
