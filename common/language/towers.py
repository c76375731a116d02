"""What text and image encoders have in common: batches, lengths of 1, captions that are cut.

A tower is the network without that: tokens -> features, or pixels -> features.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from common.images.reading import read_image
from common.language.caption_length import CaptionLimit

READERS = 4  # threads that decode and resize images
ImageSource = str | Path | np.ndarray
Progress = Callable[[int], object]  # called with the size of each finished batch


class TextEncoder(Protocol):
    """Captions -> L2-normalized features, the same whatever the batch."""

    facts: dict[str, str]  # for the provenance of features, beside the encoder's name
    limit: CaptionLimit

    def encode(
        self, captions: Sequence[str], batch_size: int = 256, progress: Progress = ...
    ) -> Tensor:
        """float32 [N, D] on the CPU."""
        ...


class ImageEncoder(Protocol):
    """Images, files or RGB arrays uint8 [H, W, 3] -> L2-normalized features."""

    facts: dict[str, str]  # for the provenance of features, beside the encoder's name

    def encode(
        self, images: Sequence[ImageSource], batch_size: int = 32, progress: Progress = ...
    ) -> Tensor:
        """float32 [N, E] on the CPU."""
        ...


class TowerTextEncoder:
    """A `TextEncoder` of a text tower that reads a fixed number of tokens."""

    def __init__(
        self,
        tokenize: Callable[[list[str]], Tensor],
        features: Callable[[Tensor], Tensor],
        limit: CaptionLimit,
        device: torch.device,
        facts: dict[str, str] | None = None,
    ) -> None:
        """tokenize: B captions -> [B, L]. features: [B, L] -> [B, D]."""
        self.device, self.facts, self.limit = device, facts or {}, limit
        self._tokenize, self._features = tokenize, features

    def encode(
        self,
        captions: Sequence[str],
        batch_size: int = 256,
        progress: Progress = lambda count: None,
    ) -> Tensor:
        """float32 [N, D] on the CPU."""
        return encode_in_batches(captions, batch_size, self._encode_batch, progress)

    def _encode_batch(self, captions: Sequence[str]) -> Tensor:
        return self._features(self._tokenize(list(captions)).to(self.device))


class TowerImageEncoder:
    """An `ImageEncoder` of an image tower, with the preprocessing the tower was trained with."""

    def __init__(
        self,
        preprocess: Callable[[Image.Image], Tensor],
        features: Callable[[Tensor], Tensor],
        device: torch.device,
        facts: dict[str, str] | None = None,
    ) -> None:
        """preprocess: picture -> [3, S, S]. features: [B, 3, S, S] -> [B, E]."""
        self.device, self.facts = device, facts or {}
        self._preprocess, self._features = preprocess, features

    def encode(
        self,
        images: Sequence[ImageSource],
        batch_size: int = 32,
        progress: Progress = lambda count: None,
    ) -> Tensor:
        """float32 [N, E] on the CPU."""
        with ThreadPoolExecutor(READERS) as pool:

            def encode_batch(batch: Sequence[ImageSource]) -> Tensor:
                pixels = torch.stack(list(pool.map(self._read, batch)))  # [B, 3, S, S]
                return self._features(pixels.to(self.device))

            return encode_in_batches(images, batch_size, encode_batch, progress)

    def _read(self, image: ImageSource) -> Tensor:
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        return self._preprocess(Image.fromarray(pixels))


@torch.no_grad()
def encode_in_batches(
    items: Sequence[Any],
    batch_size: int,
    encode_batch: Callable[[Sequence[Any]], Tensor],
    progress: Progress,
) -> Tensor:
    """Features of length 1, float32 [N, D] on the CPU. encode_batch: B items -> [B, D]."""
    features = []
    for first in range(0, len(items), batch_size):
        batch = items[first : first + batch_size]
        features.append(F.normalize(encode_batch(batch).float(), dim=-1).cpu())
        progress(len(batch))
    return torch.cat(features)  # [N, D]
