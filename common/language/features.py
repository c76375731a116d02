"""The captions and features a run is configured with: read where they exist, else encoded once."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from common.errors import UserError
from common.language.captions import captions_sha256, read_captions
from common.language.encoding import encode_captions, encode_images, image_origin, text_origin
from common.language.feature_files import FeatureStore, FeatureTable

Resolve = Callable[[str], Path]


@dataclass(frozen=True)
class TextConfig:
    """Where the features come from: ready files, or captions (and images) and an encoder."""

    features: str | tuple[str, ...] | None = None  # looked up under data.root, then as given
    captions: str | tuple[str, ...] | None = None  # captions.jsonl files, looked up likewise
    encoder: str = "RN50:openai"  # <open_clip model>:<tag or checkpoint file>, or untrained:<seed>
    image_features: str | tuple[str, ...] | None = None  # of the images, for stage 2; None: encoded


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
    files = _existing(text.features, resolve)
    if captions is None:
        if not files:
            raise UserError(_nothing_configured("text", text.features, "text.captions"))
        return FeatureStore.open(files)
    if files and not all(cache_dir.resolve() in path.resolve().parents for path in files):
        return _open_matching(files, text.encoder, captions)
    if keys is not None:
        captions = {key: captions[key] for key in keys if key in captions}
    sha256 = text_origin(captions, text.encoder)["captions_sha256"]
    path = cache_dir / _cache_name(label, text.encoder, sha256)
    if is_main and not path.is_file():
        encode_captions(path, captions, text.encoder, device)
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
    sha256 = image_origin(list(image_files), encoder)["list_sha256"]
    path = cache_dir / _cache_name("image", encoder, sha256)
    if is_main and not path.is_file():
        encode_images(path, image_files, encoder, device)
    barrier()
    return FeatureStore.open(path)


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


def _open_matching(files: list[Path], encoder: str, captions: dict[str, str]) -> FeatureStore:
    """Open the files; a `UserError` if one says that it was made from other captions or weights."""
    store = FeatureStore.open(files)
    for path, table in zip(files, store.tables, strict=True):
        made_with = (table.provenance or {}).get("encoder", encoder)
        if made_with != encoder:
            raise UserError(
                f"{path} was made with encoder {made_with}, the config asks for {encoder}; correct "
                "text.encoder, or drop text.features to encode anew"
            )
        if _has_other_captions(table, captions):
            raise UserError(
                f"{path} was made from other captions than text.captions gives for its images; "
                "correct text.captions, or drop text.features to encode anew"
            )
    return store


def _has_other_captions(table: FeatureTable, captions: dict[str, str]) -> bool:
    """Whether the file was made from other captions; only a file all of whose images have one
    here can tell."""
    made_from = (table.provenance or {}).get("captions_sha256")
    if made_from is None or not table.rows.keys() <= captions.keys():
        return False
    return captions_sha256({key: captions[key] for key in table.rows}) != made_from
