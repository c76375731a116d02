"""What the folder of a sentence encoder says about itself, beside network and tokenizer.

The files are those of sentence-transformers, read without that package:

    modules.json                            Transformer, Pooling, perhaps Dense and Normalize
    1_Pooling/config.json                   how token states become one feature
    2_Dense/config.json, model.safetensors  a linear layer after pooling
    sentence_bert_config.json               the length it reads, whether it lowers the case
    config_sentence_transformers.json       a prompt before every sentence
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import nn

from common.config import resolve_path
from common.errors import UserError

PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU, "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
}  # fmt: skip
_READ_SUFFIXES = (".json", ".txt", ".model", ".safetensors", ".bin")
_EXAMPLE = "hf:sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class ModelSource:
    """`name`: on the hub, or an absolute folder. `revision`: branch, tag or commit of the hub."""

    name: str
    revision: str | None
    is_folder: bool

    def options(self, subfolder: str = "") -> dict[str, Any]:
        """The arguments of every `from_pretrained`."""
        return {"revision": self.revision or "main", "subfolder": subfolder,
                "trust_remote_code": False}  # fmt: skip


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


def find_model(spec: str) -> ModelSource:
    """`hf:NAME_OR_FOLDER[@REVISION]`; a folder is looked up as a path on the command line is."""
    text = spec.partition(":")[2]
    if text and resolve_path(text, typed_by_hand=True).is_dir():
        return ModelSource(str(resolve_path(text, typed_by_hand=True)), None, True)
    name, at, revision = text.partition("@")
    if not name or (at and not revision):
        raise UserError(f"encoder '{spec}': expected hf:NAME_OR_FOLDER[@REVISION], as {_EXAMPLE}")
    folder = resolve_path(name, typed_by_hand=True)
    if folder.is_dir():
        raise UserError(f"encoder '{spec}': a folder has no revisions; leave out @{revision}")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UserError(f"encoder '{spec}': no folder {folder}; correct text.encoder")
    return ModelSource(name, revision or None, False)


def folder_sha256(folder: str) -> str:
    """Identity of a model folder: names and contents of what may be read of it."""
    files = sorted(
        path
        for path in Path(folder).rglob("*")
        if path.suffix in _READ_SUFFIXES and path.is_file() and _is_visible(path, Path(folder))
    )
    facts = [(str(p), (s := p.stat()).st_size, s.st_mtime_ns) for p in files]
    return _files_sha256(folder, tuple(facts))


def _is_visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


@lru_cache
def _files_sha256(folder: str, facts: tuple[tuple[str, int, int], ...]) -> str:
    """Sizes and times in `facts` say when a file has to be read again."""
    digest = hashlib.sha256()
    for name, _, _ in facts:
        with Path(name).open("rb") as file:
            contents = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{Path(name).relative_to(folder).as_posix()} {contents}\n".encode())
    return digest.hexdigest()


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


def find_model_file(source: ModelSource, name: str) -> Path | None:
    """A file of the model, downloaded if need be; None: the model has no such file.

    OSError where that cannot be told: without network, of a model that was not cached as a whole.
    """
    if source.is_folder:
        path = Path(source.name) / name
        return path if path.is_file() else None
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(source.name, name, revision=source.revision))
    except LocalEntryNotFoundError as error:
        if try_to_load_from_cache(source.name, name, revision=source.revision) is _CACHED_NO_EXIST:
            return None
        raise OSError(f"no network, and {name} is not in the local cache") from error
    except EntryNotFoundError:
        return None


def _read_json(source: ModelSource, name: str) -> Any:
    path = find_model_file(source, name)
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
