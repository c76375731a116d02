"""Where a model of Hugging Face comes from: the hub, its local cache, or a folder.

find_model("hf:sentence-transformers/all-MiniLM-L6-v2@main"), find_model("hf:models/minilm")
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config_values import resolve_path
from common.errors import UserError
from common.fingerprints import file_sha256

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
        return {
            "revision": self.revision or "main",
            "subfolder": subfolder,
            "trust_remote_code": False,
        }


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
    lines = [f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


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


def commit_of(source: ModelSource, subfolder: str = "") -> str | None:
    """The commit that a model of the hub was read from; None: a folder."""
    path = find_model_file(source, f"{subfolder}/config.json" if subfolder else "config.json")
    if source.is_folder or path is None or "snapshots" not in path.parts:
        return None
    return path.parts[path.parts.index("snapshots") + 1]
