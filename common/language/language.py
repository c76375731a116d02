"""The words that go with the images of a split: captions, features, and the control that is set.

    captions = read_all_captions(text, resolve)                    # once per start
    language = load_language(text, captions, "train", files, Needs(text_dim=1024), place)
    language.captions["kitchen_0028b/rgb_00045.jpg"], language.text_features[...]
    language.captions.all_of(key), language.text_features.all_of(key)    # K sentences, [K, D]

Captions and text features always agree, one by one where an image has several: with a control both
are those of the same other image, or of the same new sentence. Image features are never touched.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.language.captions import Captions, Several, read_captions, require_captions
from common.language.controls import (
    LENDING,
    choose_lenders,
    describe_lenders,
    describe_sentences,
    folder_category,
    write_sentences,
)
from common.language.feature_store import FeatureStore, ZeroFeatures
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
    """Of one split. captions: empty if none are configured. notes: lines for the log.

    An image may have several captions and as many text features, in the same order.
    """

    captions: Captions = field(default_factory=lambda: Captions.of({}))
    text_features: FeatureStore | None = None
    image_features: FeatureStore | None = None
    notes: tuple[str, ...] = ()

    def words_of(self, key: str, number: int = 0) -> dict[str, Any]:
        """An image's caption ("": none), text_feature [D] and image_feature [E] (None: none).

        number: of several captions, counted from 0.
        """
        text, image = self.text_features, self.image_features
        caption = self.captions.get(key, "")
        if number and caption:
            caption = self.captions.all_of(key)[number]
        return {
            "caption": caption,
            "text_feature": None if text is None else text.nth(key, number),
            "image_feature": None if image is None else image[key],
        }

    def no_words_of(self, key: str) -> dict[str, Any]:
        """As `words_of`, with the words that the control `none` gives: "" and zeros."""
        words = self.words_of(key)
        text = words["text_feature"]
        return {**words, "caption": "", "text_feature": None if text is None else text * 0}

    def all_words_of(self, key: str) -> dict[str, Any]:
        """As `words_of` its first caption; and other_captions, other_features [K - 1, D]."""
        if self.count_of(key) == 1:
            return self.words_of(key)
        captions = self.captions.all_of(key)[1:] if self.captions else ()
        features = None if self.text_features is None else self.text_features.all_of(key)[1:]
        return {**self.words_of(key), "other_captions": captions, "other_features": features}

    def count_of(self, key: str) -> int:
        """How many captions an image has; 1 if there are none."""
        if not self.has_several:
            return 1
        if self.text_features is not None:
            return self.text_features.count_of(key)
        return len(self.captions.all_of(key))

    @property
    def has_several(self) -> bool:
        """Whether any image has more than one caption."""
        text = self.text_features
        return self.captions.lists.has_several if text is None else text.has_several

    def only_firsts(self) -> "Language":
        """The same with the first caption of every image alone."""
        text = self.text_features
        firsts = None if text is None else text.only_firsts()
        return replace(self, captions=self.captions.only_firsts(), text_features=firsts)

    def sample(self, keys: Sequence[str]) -> dict[str, Any]:
        """What tells these words from others: a hash of all captions, the features of some images.

        Features [S, D], of all their captions, and not their hash: another machine may encode a
        little differently.
        """
        some = keys[:: -(-len(keys) // _NUM_SAMPLED)]
        stores = {"text": self.text_features, "image": self.image_features}
        features = {
            kind: torch.cat([store.all_of(key) for key in some])
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
    """The captions of all configured files, of `text.join_captions` together; else a later file
    wins. None: no captions configured.
    """
    files = map(resolve, names_in(text.captions))
    return read_captions(*files, join=text.join_captions) or None


def load_language(
    text: TextConfig,
    captions: Mapping[str, Several] | None,
    label: str,
    files: Mapping[str, Path],
    needs: Needs,
    place: FeaturePlace,
    category_of: Callable[[str], str] = folder_category,
    first_only: bool = False,
) -> Language:
    """Captions and features of the images `files` (key -> file) of one split.

    captions: of all configured files (`read_all_captions`). label: names the split, also in the
    file of encoded captions. category_of: key -> scene category, for the controls that ask for it.
    first_only: every image has its first caption alone, and no other is encoded.
    Raises a `UserError` where something is missing or a feature has not the length of `needs`.
    """
    captions = None if captions is None else Captions.of(captions)
    if text.control == "caption":
        words = _own_words(text, captions, label, files, needs, place, first_only)
    elif text.control in LENDING and captions is None and needs.text_dim is None:
        words = NO_LANGUAGE  # nothing to exchange, and nobody who reads it
    elif text.control in LENDING:
        own = _own_words(text, captions, label, files, needs, place, first_only)
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
    first_only: bool,
) -> Language:
    require_captions(files, captions)
    own = Captions.of({}) if captions is None else captions.select(files)
    own = own.only_firsts() if first_only else own
    if needs.text_dim is None:
        return Language(own)
    store = load_text_features(text, captions, place, own.names, f"text_{label}", first_only)
    _check_length("text", store, needs.text_dim)
    require_features(files, store, "text", "text.features or text.captions")
    words = Language(own, store, notes=_notes_of(label, store))
    return _matched(words, label) if own else words


def _matched(words: Language, label: str) -> Language:
    """The words with a feature for every caption; a `UserError` if that cannot be.

    Ready features may be those of the first captions alone.
    """
    captions, store = words.captions, words.text_features
    if store is None or not (captions.lists.has_several or store.has_several):
        return words
    num_features = store.counts(captions.names)  # [N]
    if (num_features == captions.lists.counts).all():
        return words
    if (num_features == 1).all():
        note = f"{label}: the feature files have one feature for each image: that of its caption"
        return replace(words.only_firsts(), notes=(*words.notes, f"{note}, of several the first"))
    row = int((num_features != captions.lists.counts).argmax())
    raise UserError(
        f"text.features: {captions.names.item(row)} has {num_features[row]} features, and "
        f"{captions.lists.counts[row]} captions in text.captions; drop text.features to encode anew"
    )


def _lent_words(
    text: TextConfig,
    own: Language,
    label: str,
    keys: list[str],
    category_of: Callable[[str], str],
) -> Language:
    """Every image with the words of another one, all of them."""
    words: Mapping[str, Any] = own.captions
    if own.text_features is not None and not words:
        words = _digests(own.text_features, keys)
    elif own.has_several:
        words = {key: own.captions.all_of(key) for key in keys}
    lenders = Captions.of(choose_lenders(text.control, words, category_of, text.control_seed))
    note = f"{label}: {describe_lenders(text.control, lenders, words)}"
    return Language(
        Captions.of((key, own.captions.all_of(lenders[key])) for key in keys if own.captions),
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
    return {key: hashlib.sha1(store.all_of(key).numpy().tobytes()).hexdigest() for key in keys}
