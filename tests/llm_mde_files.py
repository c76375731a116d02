"""Tiny language models and vision weights on disk, and ways to run LLM-MDE's programs."""

import json
from pathlib import Path

import torch
from conftest import Outcome, Workspace, call
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Config, GPT2Model

import llm_mde.eval
import llm_mde.train
from llm_mde.vision_encoder import VisionConfig, create_vit

WORDS = ["a", "room", "photo", "depth", "the", "of", "seen", "from", "A", "Task", "s", ":", "."]


def train_into(runs: Path, workspace: Workspace, *overrides: str) -> Outcome:
    """Train with the tiny config."""
    return call(llm_mde.train.main, *workspace.arguments("llm_mde", runs, *overrides))


def evaluate(*words: str) -> Outcome:
    return call(llm_mde.eval.main, *words)


def score(checkpoint: Path, out: Path, *words: str) -> dict:
    outcome = evaluate("--checkpoint", str(checkpoint), "--json", str(out), *words)
    assert outcome.code == 0, outcome.err
    return json.loads(out.read_text())["metrics"]


def write_tokenizer(folder: Path, ends: str = "") -> None:
    """A tokenizer of whole words, as a model's folder holds one."""
    words = {word: number for number, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if ends:
        tokenizer.post_processor = TemplateProcessing(
            single=ends, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_gpt2(folder: Path) -> Path:
    """A three-layer GPT-2 as `save_pretrained` leaves it, with a tokenizer."""
    torch.manual_seed(0)
    GPT2Model(
        GPT2Config(vocab_size=32, n_positions=128, n_embd=16, n_layer=3, n_head=2)
    ).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def named(folder: Path | str, *more: str) -> tuple[str, ...]:
    """The words that start from a language model with its own sizes."""
    return (
        f"model.language.name={folder}",
        "model.language.hidden_size=null",
        "model.language.num_heads=null",
        *more,
    )


def vit_file(path: Path, name: str = "vit_tiny_patch16_224") -> tuple[str, ...]:
    """Write a ViT's weights; the words that start from them."""
    torch.save(create_vit(VisionConfig(name)).state_dict(), path)
    sizes = [f"model.vision.{size}=null" for size in ("embed_dim", "depth", "num_heads")]
    return (f"model.vision.weights={path}", *sizes)
