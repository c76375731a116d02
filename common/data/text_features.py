"""Packed feature files, captions, and the features of a run: read where they exist, else encoded.

A packed file is one safetensors file: `features` fp16 [M, D] holds the distinct rows, `rows` int32
[N] says which of them an image has, `paths` uint8 holds the N image keys, joined by newlines. Equal
captions share a row: 24,231 NYU images have 5,467 captions. Its metadata says where it came from.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from common.errors import UserError
from common.files import whole_file

CREATED_BY = "LangDepth packed features, version 1"
Resolve = Callable[[str], Path]


@dataclass(frozen=True)
class TextConfig:
    """Where the features come from: ready files, or captions (and images) and an encoder."""

    features: str | tuple[str, ...] | None = None  # looked up under data.root, then as given
    captions: str | tuple[str, ...] | None = None  # captions.jsonl files, looked up likewise
    encoder: str = "RN50:openai"  # <open_clip model>:<tag or checkpoint file>, or untrained:<seed>
    image_features: str | tuple[str, ...] | None = None  # of the images, for stage 2; None: encoded


@dataclass(frozen=True)
class FeatureTable:
    """One file: the distinct rows, and which row each key has."""

    features: Tensor  # fp16 [M, D], memory-mapped
    rows: dict[str, int]
    provenance: dict[str, Any] | None  # None: the file does not say


class FeatureStore:
    """key -> float32 [D], over one or several feature files; a later file wins for a shared key."""

    def __init__(self, paths: Sequence[Path], tables: Sequence[FeatureTable]) -> None:
        self.paths = tuple(paths)
        self._tables = tuple(reversed(tables))
        dims = {
            str(path): table.features.shape[1] for path, table in zip(paths, tables, strict=True)
        }
        if len(set(dims.values())) != 1:
            raise UserError(f"feature files differ in length: {dims}; use one encoder for all")

    @classmethod
    def open(cls, paths: str | Path | Sequence[str | Path]) -> "FeatureStore":
        """Open packed files, or `.npz` files with `image` [N] and `feature` [N, D]."""
        files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
        return cls(files, [_open_table(path) for path in files])

    def __reduce__(self) -> tuple:
        """Another process opens the files itself instead of receiving their contents."""
        return FeatureStore.open, (self.paths,)

    def __getitem__(self, key: str) -> Tensor:
        for table in self._tables:
            if key in table.rows:
                return table.features[table.rows[key]].float()
        raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        return any(key in table.rows for table in self._tables)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that have no feature, in their order."""
        return [key for key in keys if key not in self]

    @property
    def dim(self) -> int:
        return self._tables[0].features.shape[1]

    @property
    def provenance(self) -> tuple[dict[str, Any] | None, ...]:
        """Where each file came from, in the order of `paths`."""
        return tuple(table.provenance for table in reversed(self._tables))


def _open_table(path: Path) -> FeatureTable:
    try:
        return _open_npz(path) if path.suffix == ".npz" else _open_packed(path)
    except FileNotFoundError as error:
        raise UserError(f"no feature file {path}; check the features keys") from error
    except (OSError, SafetensorError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: neither a packed feature file nor an .npz: {error}") from error


def _open_packed(path: Path) -> FeatureTable:
    with safe_open(path, framework="pt") as file:
        features, rows, joined = (file.get_tensor(n) for n in ("features", "rows", "paths"))
        provenance = json.loads((file.metadata() or {}).get("provenance", "null"))
    keys = joined.numpy().tobytes().decode().split("\n")
    return FeatureTable(features, dict(zip(keys, rows.tolist(), strict=True)), provenance)


def _open_npz(path: Path) -> FeatureTable:
    with np.load(path) as arrays:
        images, numbers = arrays["image"], arrays["feature"]
    if images.dtype.kind != "U" or numbers.dtype.kind != "f" or numbers.ndim < 2:
        raise ValueError("needs `image` [N] of text and `feature` [N, D] of floats")
    if len(images) != len(numbers) or not np.isfinite(numbers).all():
        raise ValueError("needs one finite feature for every image")
    keys, features = images.tolist(), torch.from_numpy(numbers)
    rows = {key.lstrip("/"): row for row, key in enumerate(keys)}
    return FeatureTable(features.flatten(1), rows, None)


def write_features(
    path: Path, keys: Sequence[str], features: Tensor, provenance: dict[str, Any]
) -> None:
    """Pack `features` [N, D] of N image keys, equal rows once; the file appears whole or not."""
    if len(keys) != len(features) or len(set(keys)) != len(keys) or not keys:
        raise ValueError(f"{len(keys)} keys ({len(set(keys))} distinct), {len(features)} features")
    if not torch.isfinite(features).all() or any("\n" in key for key in keys):
        raise ValueError("features must be finite and keys must be single lines")
    half = features.detach().cpu().half()  # [N, D]
    row_of: dict[bytes, int] = {}
    rows = [row_of.setdefault(row.tobytes(), len(row_of)) for row in half.numpy()]
    first = torch.from_numpy(np.unique(rows, return_index=True)[1])
    tensors = {
        "features": half[first].contiguous(),  # [M, D]
        "rows": torch.tensor(rows, dtype=torch.int32),
        "paths": torch.from_numpy(np.frombuffer("\n".join(keys).encode(), np.uint8).copy()),
    }
    origin = {"created_by": CREATED_BY, "dtype": "float16", **provenance}
    with whole_file(path, SafetensorError) as temporary:
        save_file(tensors, temporary, metadata={"provenance": json.dumps(origin)})


def read_captions(path: Path) -> dict[str, str]:
    """Image key -> caption, from lines of {"image": ..., "caption": ...} with any other keys."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"no caption file {path}; check text.captions") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read caption file {path}: {error}") from error
    entries = [
        _parse_caption(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    return dict(entries)


def _parse_caption(line: str, where: str) -> tuple[str, str]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not a JSON object: {error.msg}") from error
    if isinstance(entry, dict):
        image, caption = entry.get("image"), entry.get("caption")
        if isinstance(image, str) and isinstance(caption, str) and image and caption.strip():
            return image.lstrip("/"), caption.strip()
    raise UserError(f'{where}: expected {{"image": "...", "caption": "..."}}')


def load_captions(text: TextConfig, resolve: Resolve) -> dict[str, str] | None:
    """The captions of all configured files, a later file winning; None: no captions configured."""
    captions: dict[str, str] = {}
    for name in _names(text.captions):
        captions.update(read_captions(resolve(name)))
    return captions or None


def load_text_features(
    text: TextConfig,
    resolve: Resolve,
    cache_dir: Path,
    is_main: bool = True,
    barrier: Callable[[], None] = lambda: None,
    device: str | torch.device = "cpu",
    keys: Iterable[str] | None = None,
    label: str = "text",
) -> FeatureStore:
    """The configured feature files; without them, the captions encoded once into `cache_dir`.

    Every process calls this; only the main one encodes and writes, the others wait at `barrier`.
    keys: the images (of a split) whose captions are meant; None: all. label: starts the file name.
    """
    captions = load_captions(text, resolve)
    if captions is not None and keys is not None:
        captions = {key: captions[key] for key in keys if key in captions}
    files = _existing(text.features, resolve)
    if captions is None:
        if not files:
            raise UserError(_nothing_configured("text", text.features, "text.captions"))
        return FeatureStore.open(files)
    wanted = {"encoder": text.encoder, "captions_sha256": captions_sha256(captions)}
    if files and not all(cache_dir.resolve() in path.resolve().parents for path in files):
        return _open_matching(files, wanted)
    path = cache_dir / _cache_name(label, text.encoder, wanted["captions_sha256"])
    if is_main and not path.is_file():
        _encode_captions(path, captions, wanted, device)
    barrier()
    return FeatureStore.open(path)


def load_image_features(
    features: str | tuple[str, ...] | None,
    encoder: str,
    image_files: dict[str, Path],
    resolve: Resolve,
    cache_dir: Path,
    is_main: bool = True,
    barrier: Callable[[], None] = lambda: None,
    device: str | torch.device = "cpu",
) -> FeatureStore:
    """The named image feature files; without them, `image_files` (key -> file) encoded once."""
    files = _existing(features, resolve)
    if files:
        return FeatureStore.open(files)
    if not image_files:
        raise UserError(_nothing_configured("image", features, "images to encode"))
    list_sha256 = hashlib.sha256("\n".join(sorted(image_files)).encode()).hexdigest()
    path = cache_dir / _cache_name("image", encoder, list_sha256)
    if is_main and not path.is_file():
        _encode_images(path, image_files, {"encoder": encoder, "list_sha256": list_sha256}, device)
    barrier()
    return FeatureStore.open(path)


def captions_sha256(captions: dict[str, str]) -> str:
    """Identity of a set of captions, whatever the order of their lines."""
    lines = "".join(f"{key}\t{captions[key]}\n" for key in sorted(captions))
    return hashlib.sha256(lines.encode()).hexdigest()


def _names(setting: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (setting,) if isinstance(setting, str) else setting or ()


def _existing(setting: str | tuple[str, ...] | None, resolve: Resolve) -> list[Path]:
    """All configured files; a `UserError` if one of them does not exist."""
    files = [resolve(name) for name in _names(setting)]
    for path in files:
        if not path.is_file():
            raise UserError(f"no feature file {path}; correct the features key, or leave it out")
    return files


def _nothing_configured(kind: str, setting: str | tuple[str, ...] | None, other: str) -> str:
    named = " ".join(_names(setting))
    found = f"no {kind} feature file {named}" if named else f"no {kind} features are configured"
    return f"{found}; set {kind}.features to existing files, or give {other}"


def _cache_name(kind: str, encoder: str, sha256: str) -> str:
    return f"{kind}_{re.sub(r'[^A-Za-z0-9.]+', '-', encoder)}_{sha256[:16]}.safetensors"


def _open_matching(files: list[Path], wanted: dict[str, str]) -> FeatureStore:
    """Open the files; a `UserError` if one says that it was made from other captions or weights."""
    store = FeatureStore.open(files)
    for path, origin in zip(files, store.provenance, strict=True):
        for name, value in wanted.items():
            if origin is not None and origin.get(name, value) != value:
                raise UserError(
                    f"{path} was made with {name} {origin[name]}, the config asks for {value}; "
                    "correct text.encoder or text.captions, or drop text.features to encode anew"
                )
    return store


def _encode_captions(
    path: Path, captions: dict[str, str], origin: dict[str, str], device: str | torch.device
) -> None:
    # Imported here: open_clip takes seconds to import, and ready features need none of it.
    from common.clip_text import ClipTextEncoder

    distinct = list(dict.fromkeys(captions.values()))
    row_of = {caption: row for row, caption in enumerate(distinct)}
    encoded = ClipTextEncoder(origin["encoder"], device).encode(distinct, progress=True)  # [M, D]
    features = encoded[[row_of[caption] for caption in captions.values()]]  # [N, D]
    write_features(path, list(captions), features, {"kind": "text", **origin})


def _encode_images(
    path: Path, image_files: dict[str, Path], origin: dict[str, str], device: str | torch.device
) -> None:
    from common.clip_text import ClipImageEncoder

    encoder = ClipImageEncoder(origin["encoder"], device)
    features = encoder.encode(list(image_files.values()), progress=True)  # [N, E]
    write_features(path, list(image_files), features, {"kind": "image", **origin})
