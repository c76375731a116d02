"""The words of a picture: which sentence a network reads, and what its encoders make of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.language.caption_length import describe_one, report_cut
from common.language.captioner import Captioner, CaptionSettings
from common.language.captions import Captions
from common.language.controls import CONSTANT_SENTENCE
from common.language.encoders import image_encoder, text_encoder
from common.language.features import TextConfig
from common.language.language import Needs
from common.language.towers import ImageEncoder, TextEncoder
from common.text_files import is_whole_text

NONE, AUTO = "none", "auto"  # instead of a caption
CAPTIONER = "Salesforce/blip-image-captioning-large"  # as of scripts/caption_images.py
# Trained with one and the same words for all pictures, which are given here too.
_FIXED = {"none": None, "empty": "", "constant": CONSTANT_SENTENCE}


@dataclass(frozen=True)
class PictureWords:
    """What is read beside a picture: `caption` None: no words at all. origin: where it is from."""

    caption: str | None
    origin: str
    note: str | None = None

    @property
    def text(self) -> str:
        return self.caption or ""


class WordReader:
    """A run's own encoders of words and pictures, loaded when they are first needed."""

    def __init__(self, text: TextConfig, needs: Needs, reads_words: bool) -> None:
        self.config, self.needs, self.reads_words = text, needs, reads_words
        self.captioner = CaptionSettings(CAPTIONER)
        self._text: TextEncoder | None = None
        self._images: ImageEncoder | None = None
        self._captioner: Captioner | None = None
        self._known: dict[str, Tensor] = {}  # the last call's sentences

    @property
    def needs_caption(self) -> bool:
        """Whether every picture must have words of its own."""
        return self.reads_words and self.config.control not in _FIXED

    def choose(
        self,
        captions: Sequence[str | None],
        pictures: Sequence[np.ndarray],
        device: torch.device,
    ) -> list[PictureWords]:
        """The words of each picture, uint8 [H, W, 3]; a `UserError` where there are none."""
        if not self.reads_words:
            unused = PictureWords(None, "the model reads no words")
            told = PictureWords(
                None, unused.origin, "the model reads no words: the caption is not used"
            )
            return [unused if text is None else told for text in captions]
        control = self.config.control
        if control in _FIXED:
            note = f"trained with text.control={control}: the same words for every picture"
            return [PictureWords(_FIXED[control], f"text.control={control}", note)] * len(captions)
        made = self._make([p for t, p in zip(captions, pictures, strict=True) if t == AUTO], device)
        return [
            PictureWords(next(made), f"made by {self.captioner.model}")
            if text == AUTO
            else given(text)
            for text in captions
        ]

    def _make(self, pictures: Sequence[np.ndarray], device: torch.device) -> Iterator[str]:
        if not pictures:
            return iter(())
        if self._captioner is None:
            self._captioner = Captioner(self.captioner, device)
        keys = [str(number) for number in range(len(pictures))]
        sentences = self._captioner.caption(keys, pictures)
        if not all(sentences):
            raise UserError(f"{self.captioner.model} said nothing; give a caption of your own")
        return iter([several[0] for several in sentences])

    def text_features(self, words: Sequence[PictureWords], device: torch.device) -> Tensor | None:
        """float32 [B, D], as feature files hold them, zeros for no words; None: not read."""
        dim = self.needs.text_dim
        if dim is None:
            return None
        sentences = [own.caption for own in words]
        new = [text for text in dict.fromkeys(sentences) if text not in self._known]
        known = self._encode([text for text in new if text is not None], device)
        self._known = {t: self._known[t] for t in sentences if t in self._known} | known
        zeros = torch.zeros(dim)
        return torch.stack([zeros if t is None else self._known[t] for t in sentences])

    def _encode(self, sentences: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        if not sentences:
            return {}
        if self._text is None:
            self._text = text_encoder(self.config.encoder, device)
        features = self._text.encode(sentences)
        self._check_length("text", features, self.needs.text_dim)
        return dict(zip(sentences, stored(features), strict=True))

    def image_features(self, pictures: Sequence[np.ndarray], device: torch.device) -> Tensor | None:
        """float32 [B, E] of pictures uint8 [H, W, 3]; None: not read."""
        if self.needs.image_dim is None:
            return None
        if self._images is None:
            self._images = image_encoder(self.config.encoder, device)
        features = self._images.encode(pictures)
        self._check_length("image", features, self.needs.image_dim)
        return stored(features)

    def _check_length(self, kind: str, features: Tensor, wanted: int | None) -> None:
        if features.shape[1] != wanted:
            raise UserError(
                f"text.encoder={self.config.encoder} gives {kind} features of {features.shape[1]} "
                f"numbers, this model reads {wanted}; name the encoder that made its features "
                "with text.encoder=NAME"
            )

    def describe_cut(self, words: PictureWords) -> str | None:
        """What of a caption the encoder does not read; None: it reads all of it, or nothing."""
        if self._text is None or not words.caption:
            return None
        cut = report_cut(
            self._text.limit.find_cut([words.caption]), Captions.of({"caption": words.caption})
        )
        told = [describe_one(entry) for entry in cut["cut"]]
        return f"longer than what {self.config.encoder} reads: {told[0]}" if told else None


def given(text: str | None) -> PictureWords:
    """A caption as the user gave it; a `UserError` where it is none."""
    if text is None:
        raise UserError(
            "this model reads a caption of the picture: give one (--caption TEXT), have it made "
            f"(--caption {AUTO}), or go without words (--caption {NONE})"
        )
    if text == NONE:
        return PictureWords(None, "no words, as asked for")
    if not text.strip():
        raise UserError(
            f"the caption is empty; say what the picture shows, or {NONE} to go without words"
        )
    if not is_whole_text(text):
        raise UserError(f"the caption {ascii(text)[:80]} has half a character; correct it")
    return PictureWords(text.strip(), "given")


def stored(features: Tensor) -> Tensor:
    """Features as training read them: files of them hold 16 bits."""
    return features.half().float()
