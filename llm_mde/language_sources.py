"""Where a language model comes from: the hub, a local folder, random weights, or a checkpoint.

A model is asked for by its `LanguageModelConfig`. Only its first layers are ever built or read.
LLM-MDE takes GPT-2, BERT and LLaMA; the tiny ones with random weights, which need no download, are
ours.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PretrainedConfig,
    PreTrainedModel,
)

from common.config_values import resolve_path
from common.errors import UserError
from common.runtime.hub import load_from_hub, one_line_failure
from llm_mde.frozen import portable_path
from llm_mde.language_model import LanguageModel, LanguageModelConfig
from llm_mde.random_weights import fill_with_random
from llm_mde.tokenizer import CLIP_VOCABULARY, PromptTokenizer, load_tokenizer

MODELS: dict[str, type[PreTrainedModel]] = {
    "gpt2": GPT2Model,
    "bert": BertModel,
    "llama": LlamaModel,
}
CONFIGS = {"gpt2": GPT2Config, "bert": BertConfig, "llama": LlamaConfig}
OPTIONS: dict[str, dict[str, Any]] = {"bert": {"add_pooling_layer": False}}
TINY_CONTEXT = 1024
ADVICE = (
    "check the name and the network, or name a local folder with config.json, weights and "
    "tokenizer.json; tiny-gpt2, tiny-bert and tiny-llama need nothing"
)


@dataclass(frozen=True)
class SavedLanguage:
    """What a complete checkpoint holds beside the weights: the architecture and the tokenizer."""

    architecture: dict[str, Any]
    tokenizer: str | None


def load_language_model(config: LanguageModelConfig, seed: int) -> LanguageModel:
    """The model and tokenizer `config` names, with pretrained or (from `seed`) random weights."""
    source = find_source(config.name)
    architecture = first_layers(config, source)
    tokenizer = PromptTokenizer.built_in() if config.is_tiny else load_tokenizer(source)
    if config.random_init or config.is_tiny:
        with one_line_failure(f"the language model {config.name}", ADVICE):
            body = build_body(architecture)
        fill_with_random(body, architecture.initializer_range, seed)
    else:
        body = _pretrained_body(architecture, source)
    return LanguageModel(config, body, tokenizer)


def restore_language_model(config: LanguageModelConfig, saved: SavedLanguage) -> LanguageModel:
    """The model of a complete checkpoint, before its weights are loaded; nothing is downloaded."""
    architecture = CONFIGS[saved.architecture["model_type"]](**saved.architecture)
    if saved.tokenizer is None:
        tokenizer = PromptTokenizer.built_in()
    else:
        tokenizer = PromptTokenizer.from_string(saved.tokenizer)
    return LanguageModel(config, build_body(architecture), tokenizer)


def save_language_model(model: LanguageModel) -> SavedLanguage:
    """What `restore_language_model` needs, as plain types."""
    architecture = json.loads(model.body.config.to_json_string(use_diff=False))
    return SavedLanguage(architecture, model.tokenizer.serialized)


def find_source(name: str) -> str:
    """A local folder as an absolute path; any other name as it is."""
    folder = resolve_path(name, typed_by_hand=True)
    if folder.is_dir():
        return str(folder)
    if Path(name).is_absolute() or name.startswith((".", "~")):
        raise UserError(f"model.language.name: no folder {folder}; {ADVICE}")
    return name


def portable_name(name: str) -> str:
    """The name as a checkpoint keeps it: a local folder by its place, in the repository or not."""
    source = Path(find_source(name))
    return portable_path(source) if source.is_absolute() else name


def first_layers(config: LanguageModelConfig, source: str) -> PretrainedConfig:
    """The architecture, cut to `num_layers` and checked."""
    if config.is_tiny:
        return tiny_architecture(config)
    architecture = load_from_hub(
        f"the language model {config.name}",
        ADVICE,
        lambda: AutoConfig.from_pretrained(source),
        is_local=Path(source).is_dir(),
    )
    kind = architecture.model_type
    if kind not in MODELS:
        raise UserError(
            f"model.language.name: {config.name} is a {kind}; gpt2, bert and llama are known here"
        )
    _check_heads(architecture, config.name)
    if config.num_layers > architecture.num_hidden_layers:
        raise UserError(
            f"model.language.num_layers: {config.num_layers} is more than the "
            f"{architecture.num_hidden_layers} layers of {config.name}"
        )
    architecture.num_hidden_layers = config.num_layers
    return architecture


def _check_heads(architecture: PretrainedConfig, name: str) -> None:
    size, heads = architecture.hidden_size, architecture.num_attention_heads
    groups = getattr(architecture, "num_key_value_heads", heads)  # LLaMA: heads that share a key
    if heads < 1 or size % heads:
        problem = f"hidden size {size} does not divide into {heads} heads"
    elif groups < 1 or heads % groups:
        problem = f"{heads} heads do not divide into {groups} groups of equal keys and values"
    else:
        return
    raise UserError(f"model.language.name: {name}: {problem}; check its config.json")


def tiny_architecture(config: LanguageModelConfig) -> PretrainedConfig:
    """A small model of the named family; random weights of this size keep signals alive."""
    size, heads = config.tiny_size
    shared = {
        "vocab_size": CLIP_VOCABULARY,
        "hidden_size": size,
        "num_attention_heads": heads,
        "num_hidden_layers": config.num_layers,
        "max_position_embeddings": TINY_CONTEXT,
        "initializer_range": size**-0.5,
    }
    own: dict[str, dict[str, Any]] = {
        "gpt2": {"bos_token_id": None, "eos_token_id": None},
        "bert": {"intermediate_size": 4 * size},
        "llama": {"intermediate_size": 4 * size, "num_key_value_heads": heads},
    }
    family = config.name.removeprefix("tiny-")
    return CONFIGS[family](**shared, **own[family])


def build_body(architecture: PretrainedConfig) -> PreTrainedModel:
    """The network without pretrained weights, float32."""
    kind = architecture.model_type
    return MODELS[kind](architecture, **OPTIONS.get(kind, {}))


def _pretrained_body(architecture: PretrainedConfig, source: str) -> PreTrainedModel:
    kind = architecture.model_type
    transformers.utils.logging.disable_progress_bar()

    def load() -> tuple[Any, dict[str, Any]]:
        return MODELS[kind].from_pretrained(
            source,
            config=architecture,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **OPTIONS.get(kind, {}),
        )

    is_local = Path(source).is_dir()
    body, report = load_from_hub(f"the weights of {source}", ADVICE, load, is_local)
    mismatched = sorted(report["mismatched_keys"])
    if mismatched:
        # A name, to which transformers 5 adds both sizes.
        key = mismatched[0] if isinstance(mismatched[0], str) else mismatched[0][0]
        raise UserError(
            f"{source}: config.json and weights are of different models: {key} is not "
            f"{tuple(body.state_dict()[key].shape)}, as config.json asks"
        )
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise UserError(
            f"{source} lacks {len(missing)} weights of its first {architecture.num_hidden_layers} "
            f"layers, first {missing[0]}; the weights belong to another model"
        )
    return body
