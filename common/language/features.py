"""The features a run is configured with: read where they exist, else encoded once."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from common.config import require_at_least
from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.language.captions import Captions, Several
from common.language.controls import Control
from common.language.encoders import encoder_identity, encoder_kind, require_images
from common.language.encoding import encode_captions, encode_images, image_origin, text_origin
from common.language.feature_files import FeatureTable, read_pictures
from common.language.feature_store import FeatureStore
from common.runtime.claims import claim_path
from common.text_files import to_bytes

Resolve = Callable[[str], Path]


@dataclass(frozen=True)
class TextConfig:
    """Where the features come from: ready files, or captions (and images) and an encoder."""

    # Ready files of text features, looked up under data.root, then as given; None: encoded once.
    features: str | tuple[str, ...] | None = None
    captions: str | tuple[str, ...] | None = None  # captions.jsonl files, looked up likewise
    encoder: str = "RN50:openai"  # what makes features: see common/language/encoders.py
    # Ready files of image features (stage 2's evidence, LLM-MDE's depth class); None: encoded once.
    image_features: str | tuple[str, ...] | None = None
    control: Control = "caption"  # other words for the images: see common/language/controls.py
    control_seed: int = 0  # decides which other image lends its words
    join_captions: bool = False  # an image has the captions of all files; else a later file wins
    # In training, of several captions of an image: one is drawn for each sample, or the first.
    caption_choice: Literal["draw", "first"] = "draw"
    dropout: float = 0.0  # share of the training samples that have no words, as with control none

    def __post_init__(self) -> None:
        require_at_least(0, self, "control_seed")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout: {self.dropout} is not in [0, 1]")


@dataclass(frozen=True)
class FeaturePlace:
    """Where features are looked up, made and kept, by which process and on which device.

    Only the main process encodes and writes; the others wait at `barrier`.
    """

    resolve: Resolve
    cache_dir: Path
    is_main: bool = True
    barrier: Callable[[], None] = lambda: None
    device: str | torch.device = "cpu"


def load_text_features(
    text: TextConfig,
    captions: Mapping[str, Several] | None,
    place: FeaturePlace,
    keys: Iterable[str] | None = None,
    label: str = "text",
    first_only: bool = False,
) -> FeatureStore:
    """The configured feature files; without them, the captions encoded once into the cache.

    captions: of all configured files; None: none are. keys: the images (of a split) whose captions
    are meant; None: all. label: starts the file name. first_only: only the first caption of every
    image is read.
    """
    files = configured_files(text.features, place.resolve)
    if captions is None:
        if not files:
            raise UserError(_nothing_configured("text", text.features, "text.captions"))
        store = FeatureStore.open(files)
        return store.only_firsts() if first_only else store
    if files and not all(place.cache_dir.resolve() in path.resolve().parents for path in files):
        store = _open_matching(files, text.encoder, captions)
        return store.only_firsts() if first_only else store
    wanted = Captions.of(captions)
    if keys is not None:
        wanted = wanted.select(keys)
    return encode_once(wanted.only_firsts() if first_only else wanted, text.encoder, place, label)


def encode_once(
    captions: Mapping[str, Several], encoder: str, place: FeaturePlace, label: str
) -> FeatureStore:
    """The captions' features from the cache, where they are put first if they are not there."""
    origin = text_origin(captions, encoder)
    path = place.cache_dir / _cache_name(label, encoder, _made_from(origin))
    _make_once(path, place, lambda: encode_captions(path, captions, encoder, place.device))
    return FeatureStore.open(path)


def load_image_features(
    features: str | tuple[str, ...] | None,
    encoder: str,
    image_files: Mapping[str, Path],
    place: FeaturePlace,
) -> tuple[FeatureStore, tuple[str, ...]]:
    """The named image feature files; without them, `image_files` (key -> file) encoded once.

    Also notes for the log. A `UserError` if a named file was made from other pictures.
    """
    files = configured_files(features, place.resolve)
    if files:
        check_pictures(files, encoder, image_files)
        return FeatureStore.open(files), ()
    if not image_files:
        raise UserError(_nothing_configured("image", features, "images to encode"))
    require_images(encoder)
    origin, pictures = image_origin(image_files, encoder), take_fingerprint(image_files)
    known = "\n".join([*origin.values(), pictures.digest])
    path = place.cache_dir / _cache_name("image", encoder, _sha256(known))
    older = place.cache_dir / _cache_name("image", encoder, origin["list_sha256"])
    if older.is_file() and not path.is_file():
        note = f"{older} does not say which pictures it was made from; taken as it is"
        return FeatureStore.open(older), (note,)
    made_from = read_pictures(path) if path.is_file() else None
    changed = made_from.changed(image_files) if made_from else []
    place.barrier()  # everyone has looked before anyone writes
    if place.is_main and (changed or made_from is None):
        path.unlink(missing_ok=True)  # an unknown one too
    _make_once(path, place, lambda: encode_images(path, image_files, encoder, place.device))
    notes = tuple(
        f"{path} was made from other pictures ({len(changed)}, first {name}): made anew"
        for name in changed[:1]
    )
    return FeatureStore.open(path), notes


def check_pictures(files: list[Path], encoder: str, image_files: Mapping[str, Path]) -> None:
    """A `UserError` if a feature file was made from other pictures, or other weights of its name.

    It may be of another encoder than the words.
    """
    for path, made_from in zip(files, FeatureStore.open(files).provenance, strict=True):
        pictures = read_pictures(path)
        changed = pictures.changed(image_files) if pictures else []
        if changed:
            raise UserError(
                f"{path} was made from other pictures than are there now ({len(changed)} of "
                f"{len(image_files)}, first {changed[0]}); make it anew with "
                "scripts/encode_text.py, or drop text.image_features to encode them now"
            )
        origin = made_from or {}
        if origin.get("encoder") == encoder:
            _check_weights(path, origin, encoder)


def _make_once(path: Path, place: FeaturePlace, make: Callable[[], object]) -> None:
    """Let the main process make a missing file; another run that makes it is waited for."""
    if place.is_main and not path.is_file():
        with claim_path(path, alternative=None):
            if not path.is_file():
                make()
    place.barrier()


def names_in(setting: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The files a config key names: none, one or several."""
    return (setting,) if isinstance(setting, str) else setting or ()


def configured_files(setting: str | tuple[str, ...] | None, resolve: Resolve) -> list[Path]:
    """All configured feature files; a `UserError` if one of them does not exist."""
    files = [resolve(name) for name in names_in(setting)]
    for path in files:
        if not path.is_file():
            raise UserError(f"no feature file {path}; correct the features key, or leave it out")
    return files


def check_encoder_of(files: list[Path], encoder: str) -> None:
    """A `UserError` if a feature file says that another encoder (or other weights) made it."""
    for path, made_from in zip(files, FeatureStore.open(files).provenance, strict=True):
        made_with = (made_from or {}).get("encoder", encoder)
        if made_with != encoder:
            raise UserError(
                f"{path} was made with encoder {made_with}, the config asks for {encoder}; correct "
                "text.encoder, or drop text.features to encode anew"
            )
        _check_weights(path, made_from or {}, encoder)


def _nothing_configured(kind: str, setting: str | tuple[str, ...] | None, other: str) -> str:
    named = " ".join(names_in(setting))
    found = f"no {kind} feature file {named}" if named else f"no {kind} features are configured"
    return f"{found}; set {kind}.features to existing files, or give {other}"


def _cache_name(kind: str, encoder: str, sha256: str) -> str:
    name = re.sub(r"[^A-Za-z0-9.]+", "-", encoder)
    if encoder_kind(encoder) == "hf":
        name = name[-80:]  # of a folder's path; `_made_from` has all of it
    return f"{kind}_{name}_{sha256[:16]}.safetensors"


def _made_from(origin: dict[str, str]) -> str:
    """What tells cached files of one split apart: the captions, and a local encoder's files."""
    if "encoder_sha256" not in origin and encoder_kind(origin["encoder"]) != "hf":
        return origin["captions_sha256"]
    return _sha256("\n".join(origin.values()))


def _sha256(text: str) -> str:
    return hashlib.sha256(to_bytes(text)).hexdigest()


def _open_matching(
    files: list[Path], encoder: str, captions: Mapping[str, Several]
) -> FeatureStore:
    """Open the files; a `UserError` if one says that it was made from other captions or weights."""
    check_encoder_of(files, encoder)
    store = FeatureStore.open(files)
    for path, table in zip(files, store.tables, strict=True):
        if has_other_captions(table, captions):
            raise UserError(
                f"{path} was made from other captions than text.captions gives for its images; "
                "correct text.captions, or drop text.features to encode anew"
            )
    return store


def _check_weights(path: Path, made_from: dict[str, Any], encoder: str) -> None:
    """A `UserError` if the files of a local model have changed; ready features do not need it."""
    sha256 = made_from.get("encoder_sha256")
    try:
        now = encoder_identity(encoder).get("encoder_sha256", sha256)
    except UserError:  # the folder is not on this machine
        return
    if None is not sha256 != now:
        raise UserError(
            f"{path} was made with other files of {encoder} than are there now; drop "
            f"text.{'image_' if made_from.get('kind') == 'image' else ''}features to encode anew"
        )


def has_other_captions(table: FeatureTable, captions: Mapping[str, Several]) -> bool:
    """Whether the file was made from other captions than these, or the first ones of these.

    Only a file all of whose images have one here can tell.
    """
    made_from = (table.provenance or {}).get("captions_sha256")
    own = Captions.of(captions).select(table.rows)
    if made_from is None or len(own) < len(table.rows):
        return False
    return made_from not in (own.sha256, own.only_firsts().sha256)
