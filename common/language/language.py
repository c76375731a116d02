"""The words that go with the images of a split: captions, features, and the control that is set.

    captions = read_all_captions(text, resolve)                    # once per start
    language = load_language(text, captions, "train", files, Needs(text_dim=1024), place)
    language.captions["kitchen_0028b/rgb_00045.jpg"], language.text_features[...]

Captions and text features always agree: with a control both are those of the same other image, or
of the same new sentence. Image features are never touched.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.language.captions import Captions, read_captions, require_captions
from common.language.controls import (
    LENDING,
    choose_lenders,
    describe_lenders,
    describe_sentences,
    folder_category,
    write_sentences,
)
from common.language.feature_files import FeatureStore, ZeroFeatures
from common.language.features import (
    FeaturePlace,
    Resolve,
    TextConfig,
    check_encoder_of,
    configured_files,
    encode_once,
    load_image_features,
    load_text_features,
    names_in,
)
from common.language.provenance import describe_provenance
from common.packed import PackedStrings


@dataclass(frozen=True)
class Needs:
    """Lengths of the features that a network reads; None: it reads none."""

    text_dim: int | None = None
    image_dim: int | None = None


@dataclass(frozen=True)
class Language:
    """Of one split. captions: empty if none are configured. notes: lines for the log."""

    captions: Captions = field(default_factory=lambda: Captions.of({}))
    text_features: FeatureStore | None = None
    image_features: FeatureStore | None = None
    notes: tuple[str, ...] = ()

    def words_of(self, key: str) -> dict[str, Any]:
        """An image's caption ("": none), text_feature [D] and image_feature [E] (None: none)."""
        text, image = self.text_features, self.image_features
        return {
            "caption": self.captions.get(key, ""),
            "text_feature": None if text is None else text[key],
            "image_feature": None if image is None else image[key],
        }

    def sample(self, keys: Sequence[str]) -> dict[str, Any]:
        """What tells these words from others: a hash of all captions, the features of some images.

        Features [S, D] and not their hash: another machine may encode a little differently.
        """
        some = keys[:: -(-len(keys) // _NUM_SAMPLED)]
        stores = {"text": self.text_features, "image": self.image_features}
        features = {
            kind: torch.stack([store[key] for key in some])
            for kind, store in stores.items()
            if store is not None
        }
        return {"captions_sha256": self.captions.select(keys).sha256, **features}

    def check(self, keys: Iterable[str]) -> None:
        """Raise a `UserError` unless every image has what there is of words and features."""
        keys = PackedStrings.of(keys)
        require_captions(keys, self.captions or None)
        if self.text_features is not None:
            require_features(keys, self.text_features, "text", "text.features or text.captions")
        if self.image_features is not None:
            require_features(keys, self.image_features, "image", "the image features")


NO_LANGUAGE = Language()
_NUM_SAMPLED = 16  # images whose features tell two sets of features apart


def read_all_captions(text: TextConfig, resolve: Resolve) -> Captions | None:
    """The captions of all configured files, a later file winning; None: no captions configured."""
    return read_captions(*map(resolve, names_in(text.captions))) or None


def load_language(
    text: TextConfig,
    captions: Mapping[str, str] | None,
    label: str,
    files: Mapping[str, Path],
    needs: Needs,
    place: FeaturePlace,
    category_of: Callable[[str], str] = folder_category,
) -> Language:
    """Captions and features of the images `files` (key -> file) of one split.

    captions: of all configured files (`read_all_captions`). label: names the split, also in the
    file of encoded captions. category_of: key -> scene category, for the controls that ask for it.
    Raises a `UserError` where something is missing or a feature has not the length of `needs`.
    """
    captions = None if captions is None else Captions.of(captions)
    if text.control == "caption":
        words = _own_words(text, captions, label, files, needs, place)
    elif text.control in LENDING and captions is None and needs.text_dim is None:
        words = NO_LANGUAGE  # nothing to exchange, and nobody who reads it
    elif text.control in LENDING:
        own = _own_words(text, captions, label, files, needs, place)
        words = _lent_words(text, own, label, list(files), category_of)
    else:
        words = _new_words(text, label, list(files), needs, place, category_of)
    if needs.image_dim is None:
        return words
    images, notes = load_image_features(text.image_features, text.encoder, files, place)
    _check_length("image", images, needs.image_dim)
    require_features(files, images, "image", "the image features")
    told = tuple(f"{label}: {note}" for note in notes)
    notes = (*words.notes, *told, *_notes_of(label, images))
    return replace(words, image_features=images, notes=notes)


def _own_words(
    text: TextConfig,
    captions: Captions | None,
    label: str,
    files: Mapping[str, Path],
    needs: Needs,
    place: FeaturePlace,
) -> Language:
    require_captions(files, captions)
    own = Captions.of({}) if captions is None else captions.select(files)
    if needs.text_dim is None:
        return Language(own)
    store = load_text_features(text, captions, place, own.names, f"text_{label}")
    _check_length("text", store, needs.text_dim)
    require_features(files, store, "text", "text.features or text.captions")
    return Language(own, store, notes=_notes_of(label, store))


def _lent_words(
    text: TextConfig,
    own: Language,
    label: str,
    keys: list[str],
    category_of: Callable[[str], str],
) -> Language:
    """Every image with the words of another one."""
    words: Mapping[str, str] = own.captions
    if own.text_features is not None and not words:
        words = _digests(own.text_features, keys)
    lenders = Captions.of(choose_lenders(text.control, words, category_of, text.control_seed))
    note = f"{label}: {describe_lenders(text.control, lenders, words)}"
    return Language(
        Captions.of((key, own.captions[lenders[key]]) for key in keys if own.captions),
        None if own.text_features is None else own.text_features.lent(lenders),
        notes=(*own.notes, note),
    )


def _new_words(
    text: TextConfig,
    label: str,
    keys: list[str],
    needs: Needs,
    place: FeaturePlace,
    category_of: Callable[[str], str],
) -> Language:
    """Every image with a new sentence, or with none."""
    sentences = Captions.of(write_sentences(text.control, keys, category_of))
    notes = (f"{label}: {describe_sentences(text.control, sentences)}",)
    if needs.text_dim is None:
        return Language(sentences, notes=notes)
    if text.control == "none":
        return Language(sentences, ZeroFeatures(needs.text_dim), notes=notes)
    ready = configured_files(text.features, place.resolve)
    if ready:  # the network reads, or has read, features of one encoder
        check_encoder_of(ready, text.encoder)
    store = encode_once(sentences, text.encoder, place, f"text_{label}")
    _check_length("text", store, needs.text_dim)
    return Language(sentences, store, notes=(*notes, *_notes_of(label, store)))


def require_features(keys: Iterable[str], store: FeatureStore, kind: str, where_from: str) -> None:
    """Raise a `UserError` unless every image has a feature."""
    keys = PackedStrings.of(keys)
    missing = store.missing(keys)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no {kind} feature, first "
            f"{', '.join(missing[:3])}; check that {where_from} cover this list"
        )


def _check_length(kind: str, store: FeatureStore, wanted: int) -> None:
    if store.dim != wanted:
        raise UserError(
            f"the {kind} features have {store.dim} numbers, the model reads {wanted}: "
            f"check text.features, text.image_features, text.encoder and model.{kind}_dim"
        )


def _notes_of(label: str, store: FeatureStore) -> tuple[str, ...]:
    """What the log should say of how the features were made."""
    lines = [line for origin in store.provenance for line in describe_provenance(origin)]
    return tuple(f"{label}: {line}" for line in lines)


def _digests(store: FeatureStore, keys: Iterable[str]) -> dict[str, str]:
    """What tells the words of images without captions apart: equal for equal features."""
    return {key: hashlib.sha1(store[key].numpy().tobytes()).hexdigest() for key in keys}
