"""What goes with the images of a split: their captions, and the features that a network reads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from common.errors import UserError
from common.language.feature_files import FeatureStore
from common.language.features import (
    Resolve,
    TextConfig,
    load_captions,
    load_image_features,
    load_text_features,
)


@dataclass(frozen=True)
class Needs:
    """Lengths of the features that a network reads; None: it reads none."""

    text_dim: int | None = None
    image_dim: int | None = None


@dataclass(frozen=True)
class Language:
    captions: dict[str, str] = field(default_factory=dict)
    text_features: FeatureStore | None = None
    image_features: FeatureStore | None = None
    notes: tuple[str, ...] = ()

    def check(self, keys: Sequence[str]) -> None:
        check_features(keys, self.text_features, "text", "text.features or text.captions")
        check_features(keys, self.image_features, "image", "the image features")
        check_captions(keys, self.captions or None)


NO_LANGUAGE = Language()


@dataclass(frozen=True)
class FeaturePlace:
    resolve: Resolve
    cache_dir: Path
    is_main: bool = True
    barrier: Callable[[], None] = lambda: None
    device: str | torch.device = "cpu"


def read_all_captions(text: TextConfig, resolve: Resolve) -> dict[str, str] | None:
    return load_captions(text, resolve)


def load_language(text, captions, label, files, needs, place, category_of=None) -> Language:
    check_captions(files, captions)
    cache = vars(place)
    t = i = None
    if needs.text_dim is not None:
        t = load_text_features(text, keys=files, label=f"text_{label}", **cache)
        _check_length("text", t, needs.text_dim)
    if needs.image_dim is not None:
        i = load_image_features(text.image_features, text.encoder, files, **cache)
        _check_length("image", i, needs.image_dim)
    own = {k: captions[k] for k in files} if captions else {}
    return Language(own, t, i)


def check_features(
    keys: Sequence[str], store: FeatureStore | None, kind: str, where_from: str
) -> None:
    missing = store.missing(keys) if store is not None else []
    if missing:
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no {kind} feature, first "
            f"{', '.join(missing[:3])}; check that {where_from} cover this list"
        )


def check_captions(keys: Iterable[str], captions: dict[str, str] | None) -> None:
    keys = list(keys)
    missing = [key for key in keys if captions is not None and key not in captions]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no caption, first "
            f"{', '.join(missing[:3])}; check that text.captions covers this list"
        )


def _check_length(kind: str, store: FeatureStore, wanted: int) -> None:
    if store.dim != wanted:
        raise UserError(
            f"the {kind} features have {store.dim} numbers, the model reads {wanted}: "
            f"check text.features, text.image_features, text.encoder and model.{kind}_dim"
        )
