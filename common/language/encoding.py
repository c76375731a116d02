"""Encode captions or images into a packed feature file, in parts that survive an interruption.

What was encoded waits in `<file>.parts/` beside the file and goes when the file is complete. A part
is named after what it was made from, so a part of other captions or weights is never taken.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from common.errors import UserError
from common.files import make_folder, whole_file
from common.fingerprints import file_identity, take_fingerprint
from common.language.caption_length import report_cut
from common.language.captions import Captions, Several, captions_sha256
from common.language.encoders import encoder_identity, image_encoder, text_encoder
from common.language.feature_files import write_features
from common.language.towers import Progress
from common.packed import PackedStrings
from common.packed_mappings import PackedLists
from common.progress import ProgressBar, progress_bar

EncodePart = Callable[[Sequence[Any], Progress], Tensor]  # items -> features [P, D]
CAPTIONS_PER_PART, IMAGES_PER_PART = 1024, 256


def text_origin(captions: Mapping[str, Several], encoder: str) -> dict[str, str]:
    """What a packed file says of the captions and the encoder it was made from."""
    origin = {"kind": "text", "encoder": encoder, **encoder_identity(encoder)}
    return {**origin, "captions_sha256": captions_sha256(captions)}


def image_origin(keys: Iterable[str], encoder: str) -> dict[str, str]:
    """What a packed file says of the images (their names) and the encoder it was made from."""
    names = PackedStrings.of(keys)
    joined = names.view(names.sorted_rows()).to_joined()
    origin = {"kind": "image", "encoder": encoder, **encoder_identity(encoder)}
    return {**origin, "list_sha256": hashlib.sha256(joined.data).hexdigest()}


def encode_captions(
    path: Path,
    captions: Mapping[str, Several],
    encoder: str,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    **more_origin: Any,
) -> int:
    """Encode each distinct caption once and pack a feature for every caption of every key.

    Returns how many were distinct.

    more_origin: further entries of the file's provenance, which also says what the encoder reads
    in part only (`report_cut`).
    """
    captions = Captions.of(captions)
    distinct, rows = captions.distinct
    origin = text_origin(captions, encoder)
    with PartFolder(path, encoder) as parts:
        tower = text_encoder(encoder, device)
        features = parts.encode(
            distinct,
            distinct,
            CAPTIONS_PER_PART,
            "encoding captions",
            lambda batch, progress: _finite(tower.encode(batch, batch_size, progress), encoder),
        )  # [M, D]
        cut = report_cut(tower.limit.find_cut(distinct), captions)
        provenance = {**origin, **tower.facts, **cut, **more_origin}
        lists = PackedLists.of_counts(rows, captions.lists.counts)
        write_features(path, captions.names, features, provenance, lists=lists)
    return len(distinct)


def encode_images(
    path: Path,
    image_files: Mapping[str, Path],
    encoder: str,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    **more_origin: Any,
) -> None:
    """Encode every image (key -> file) and pack the features, and which files those were."""
    pictures = take_fingerprint(image_files)
    with PartFolder(path, encoder) as parts:
        tower = image_encoder(encoder, device)
        features = parts.encode(
            list(image_files.values()),
            [file_identity(file) for file in image_files.values()],
            IMAGES_PER_PART,
            "encoding images",
            lambda batch, progress: _finite(tower.encode(batch, batch_size, progress), encoder),
        )  # [N, E]
        origin = {**image_origin(image_files, encoder), **tower.facts, **more_origin}
        write_features(path, image_files, features, origin, pictures)


def _finite(features: Tensor, encoder: str) -> Tensor:
    """The same features, which a file of them can hold."""
    if not torch.isfinite(features.half()).all():
        raise UserError(
            f"encoder '{encoder}': its features are not finite in 16 bits; are its weights "
            "damaged, or of another network?"
        )
    return features


class PartFolder:
    """The folder `<path>.parts`; it stays after an error and goes when the block succeeds."""

    def __init__(self, path: Path, encoder: str) -> None:
        self.folder = path.with_name(path.name + ".parts")
        self.made_with = " ".join([encoder, *encoder_identity(encoder).values()])

    def __enter__(self) -> "PartFolder":
        make_folder(self.folder)
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif not any(self.folder.iterdir()):
            self.folder.rmdir()

    def encode(
        self,
        items: Sequence[Any],
        identities: Sequence[str],
        part_size: int,
        title: str,
        encode: EncodePart,
    ) -> Tensor:
        """`encode` of all items [N, D], part by part; parts that are there are only read.

        identities: one per item; the same text means the same feature.
        """
        parts = []
        with progress_bar(title, len(items)) as bar:
            for first in range(0, len(items), part_size):
                part = slice(first, first + part_size)
                parts.append(self._part(items[part], identities[part], encode, bar))
        return torch.cat(parts)

    def _part(
        self, items: Sequence[Any], identities: Sequence[str], encode: EncodePart, bar: ProgressBar
    ) -> Tensor:
        name = hashlib.sha256(json.dumps([self.made_with, *identities]).encode()).hexdigest()
        path = self.folder / f"{name[:32]}.safetensors"
        if path.is_file():
            try:
                features = load(path.read_bytes())["features"]
            except (OSError, SafetensorError, KeyError):
                path.unlink()  # damaged from outside; made anew
            else:
                bar.update(len(items))
                return features
        features = encode(items, bar.update)  # [P, D]
        with whole_file(path) as temporary:
            temporary.write_bytes(save({"features": features.contiguous()}))
        return features
