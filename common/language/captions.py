"""Caption files: one `{"image": "<path as in the list>", "caption": "..."}` line per image."""

import codecs
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import read_bytes, whole_file
from common.packed import CHUNK, PackedStrings, Packer
from common.packed_mappings import PackedMapping
from common.text_files import is_whole_text, text_blocks, to_bytes


class Captions(PackedMapping[str]):
    """Image key -> caption. Few are distinct, often: texts [M] holds each once, rows int32 [N] says
    which of them an image has.
    """

    def __init__(self, names: PackedStrings, rows: np.ndarray, texts: PackedStrings) -> None:
        super().__init__(names)
        self.rows, self.texts = rows, texts
        self._selected: Captions | None = None  # the last one: a split's are asked for again

    @classmethod
    def of(cls, captions: Mapping[str, str] | Iterable[tuple[str, str]]) -> "Captions":
        """Pack them; for a key that comes again the last one counts."""
        if isinstance(captions, Captions):
            return captions
        keys, rows, texts = Packer(), array("i"), dict[str, int]()
        for key, text in captions.items() if isinstance(captions, Mapping) else captions:
            keys.append(key)
            rows.append(texts.setdefault(text, len(texts)))
        packed = cls(keys.packed(), np.array(rows, np.int32), PackedStrings.of(texts))
        repeated = packed.names.lookup.repeated()
        return packed._take(np.delete(np.arange(len(rows)), repeated)) if len(repeated) else packed

    def value_at(self, row: int) -> str:
        return self.texts.item(self.rows[row])

    def select(self, keys: Iterable[str]) -> "Captions":
        """Those of these images, in the order of `keys`, which need not all be there."""
        wanted = PackedStrings.of(keys)
        for known in (self, self._selected):
            if known is not None and known.names is wanted:
                return known
        rows = self.names.lookup.find_all(wanted)
        found = rows >= 0
        names = wanted if found.all() else wanted.take(found)
        self._selected = Captions(names, self.rows[rows[found]], self.texts)
        return self._selected

    @property
    def distinct(self) -> tuple[list[str], np.ndarray]:
        """The M different captions in the order of their first image; which one each image has."""
        used, first, rows = np.unique(self.rows, return_index=True, return_inverse=True)
        order = np.argsort(first)
        return list(self.texts.view(used[order])), np.argsort(order)[rows]

    @cached_property
    def sha256(self) -> str:
        """Identity of these captions, whatever the order of their lines."""
        digest, rows = hashlib.sha256(), self.names.sorted_rows()
        for first in range(0, len(rows), CHUNK):
            part = self._take(rows[first : first + CHUNK])
            digest.update(to_bytes("".join(f"{key}\t{text}\n" for key, text in part.items())))
        return digest.hexdigest()

    def _take(self, rows: np.ndarray) -> "Captions":
        return Captions(self.names.view(rows), self.rows[rows], self.texts)


def read_captions(*paths: Path) -> Captions:
    """Image key -> caption, from lines of {"image": ..., "caption": ...} with any other keys.

    A later line and a later file win. A `UserError` names a bad line.
    """
    entries = (entry for path in paths for entry in _good_entries(path))
    return Captions.of((entry["image"], entry["caption"].strip()) for entry in entries)


def require_captions(keys: Iterable[str], captions: Mapping[str, str] | None) -> None:
    """Raise a `UserError` unless every image has a caption; None: no captions are configured."""
    if captions is None:
        return
    names = PackedStrings.of(keys)
    missing = Captions.of(captions).missing(names)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} images have no caption, first "
            f"{', '.join(missing[:3])}; check that text.captions covers this list"
        )


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Image key -> the whole line; a later line wins. A `UserError` names a bad line."""
    return {entry["image"]: entry for entry in _good_entries(path)}


def sift_entries(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The good lines, image key -> line, and what is wrong with each of the others."""
    entries, problems = {}, []
    for entry in _entries(path):
        if isinstance(entry, str):
            problems.append(entry)
        else:
            entries[entry["image"]] = entry
    return entries, problems


def _good_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file; a `UserError` at the first bad one."""
    for entry in _entries(path):
        if isinstance(entry, str):
            raise UserError(entry)
        yield entry


def _entries(path: Path) -> Iterator[dict[str, Any] | str]:
    """Line by line: the entry, or what is wrong with it."""
    try:
        content = read_bytes(path).removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        raise UserError(f"no caption file {path}; check text.captions or the path") from error
    except OSError as error:
        raise UserError(f"cannot read caption file {path}: {error}") from error
    blocks = text_blocks(content, f"reading {path.name}")
    lines = chain.from_iterable(block.removesuffix("\n").split("\n") for block in blocks)
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                yield parse_entry(line, f"{path}:{number}")
        except UserError as error:
            yield str(error)


def parse_entry(line: str, where: str) -> dict[str, Any]:
    """One line; its `image` becomes the key (no leading slash)."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not a JSON object: {getattr(error, 'msg', error)}") from error
    if isinstance(entry, dict):
        image, caption = entry.get("image"), entry.get("caption")
        if isinstance(image, str) and isinstance(caption, str) and caption.strip():
            _check_text(image, caption, where)
            key = image.lstrip("/")
            if key and "\n" not in key:
                return {**entry, "image": key}
    raise UserError(f'{where}: expected {{"image": "...", "caption": "..."}}')


def _check_text(image: str, caption: str, where: str) -> None:
    """Half an emoji is no text; a key may have the bytes of a name that is not UTF-8."""
    if not is_whole_text(caption):
        raise UserError(
            f"{where}: the caption {ascii(caption)} has half a character, or is not UTF-8; correct "
            "it"
        )
    try:
        to_bytes(image)
    except UnicodeEncodeError:
        raise UserError(
            f"{where}: the image {ascii(image)} has half a character, which no file's name has; "
            "correct it"
        ) from None


def format_entry(entry: dict[str, Any]) -> str:
    """The line of one image, with its newline."""
    line = json.dumps(entry, ensure_ascii=False)
    return (line if is_whole_text(line) else json.dumps(entry)) + "\n"


def write_entries(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write a caption file, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(format_entry(entry) for entry in entries)


def captions_sha256(captions: Mapping[str, str]) -> str:
    """Identity of a set of captions, whatever the order of their lines."""
    return Captions.of(captions).sha256
