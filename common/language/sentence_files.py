"""What the folder of a sentence encoder says about itself, beside network and tokenizer.

The files are those of sentence-transformers, read without that package:

    modules.json                            Transformer, Pooling, perhaps Dense and Normalize
    1_Pooling/config.json                   how token states become one feature
    2_Dense/config.json, model.safetensors  a linear layer after pooling
    sentence_bert_config.json               the length it reads, whether it lowers the case
    config_sentence_transformers.json       a prompt before every sentence
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import nn

from common.errors import UserError
from common.language.model_source import ModelSource, find_model_file

PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
}


@dataclass(frozen=True)
class SentenceSettings:
    """How a sentence becomes a feature; the defaults are those of a folder that says nothing.

    pooling: several are joined; None: the model's own text features, or else the mean.
    dense: folders of linear layers after it. max_length: tokens; None: what the network takes.
    """

    subfolder: str = ""  # of the network
    pooling: tuple[PoolingMode, ...] | None = None
    dense: tuple[str, ...] = ()
    max_length: int | None = None
    lowercase: bool = False
    prompt: str = ""


def read_settings(source: ModelSource) -> SentenceSettings:
    """The settings in the files of a model; a `UserError` for a module that is not known here."""
    modules = _read_json(source, "modules.json")
    if modules is None:
        return SentenceSettings()
    kinds = {str(m["path"]): str(m["type"]).rpartition(".")[2] for m in modules}
    network = next((p for p, k in kinds.items() if k in ("Transformer", "CLIPModel")), None)
    unknown = set(kinds.values()) - {"Transformer", "CLIPModel", "Pooling", "Dense", "Normalize"}
    if network is None or unknown:
        raise UserError(
            f"{source.name}: modules.json asks for {', '.join(sorted(unknown)) or 'no network'}; "
            "Transformer, Pooling, Dense and Normalize are known here: take another text.encoder"
        )
    own = _read_json(source, _join(network, "sentence_bert_config.json")) or {}
    pooling = next((path for path, kind in kinds.items() if kind == "Pooling"), None)
    return SentenceSettings(
        subfolder=network,
        pooling=None if pooling is None else _read_pooling(source, pooling),
        dense=tuple(path for path, kind in kinds.items() if kind == "Dense"),
        max_length=own.get("max_seq_length"),
        lowercase=bool(own.get("do_lower_case")),
        prompt=_read_prompt(source, pooling),
    )


def _read_pooling(source: ModelSource, path: str) -> tuple[PoolingMode, ...]:
    """The modes in the order in which their results are joined."""
    config = _read_json(source, _join(path, "config.json")) or {}
    named = config.get("pooling_mode", [])  # newer files; older ones have a switch for each mode
    named = {named} if isinstance(named, str) else set(named)
    switches = {
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, is_on in config.items()
        if key.startswith("pooling_mode_") and is_on
    }
    modes = named | switches
    unknown = modes - set(get_args(PoolingMode))
    if unknown or not modes:
        raise UserError(
            f"{source.name}: {path}/config.json asks for pooling {', '.join(unknown) or 'by none'};"
            f" one of {', '.join(get_args(PoolingMode))} is known here: take another text.encoder"
        )
    return tuple(mode for mode in get_args(PoolingMode) if mode in modes)


def _read_prompt(source: ModelSource, pooling: str | None) -> str:
    """What the model wants before every sentence."""
    config = _read_json(source, "config_sentence_transformers.json") or {}
    name = config.get("default_prompt_name")
    prompt = (config.get("prompts") or {}).get(name, "") if name else ""
    pooled = _read_json(source, _join(pooling, "config.json")) if pooling is not None else None
    if prompt and not (pooled or {}).get("include_prompt", True):
        raise UserError(
            f"{source.name}: its prompt is left out of the pooling, which is not known here; take "
            "another text.encoder"
        )
    return prompt


def load_dense(source: ModelSource, path: str) -> nn.Sequential:
    """The linear layer of one Dense folder, with its activation."""
    config = _read_json(source, _join(path, "config.json")) or {}
    name = str(config.get("activation_function", "Identity")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise UserError(
            f"{source.name}: {path}/config.json asks for the activation {name}; "
            f"{', '.join(ACTIVATIONS)} are known here: take another text.encoder"
        )
    weights = find_model_file(source, _join(path, "model.safetensors"))
    if weights is not None:
        state = load_file(weights)
    else:
        pickled = find_model_file(source, _join(path, "pytorch_model.bin"))
        if pickled is None:
            raise UserError(f"{source.name}: no weights in {path}; copy the folder again")
        state = torch.load(pickled, map_location="cpu", weights_only=True)
    linear = nn.Linear(config["in_features"], config["out_features"], config.get("bias", True))
    linear.load_state_dict({key.removeprefix("linear."): value for key, value in state.items()})
    return nn.Sequential(linear, ACTIVATIONS[name]())


def _read_json(source: ModelSource, name: str) -> Any:
    path = find_model_file(source, name)
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
