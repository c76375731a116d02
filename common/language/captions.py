"""Caption files, and the captions of many images: one of each image, or several.

{"image": "<path as in the list>", "caption": "A kitchen."}
{"image": "<path as in the list>", "captions": ["A kitchen with a stove.", "A small kitchen."]}

captions = read_captions(Path("captions.jsonl"))
captions["kitchen/rgb_1.jpg"], captions.all_of("kitchen/rgb_1.jpg")   # the first; all of them
"""

import codecs
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import read_bytes, whole_file
from common.packed import CHUNK, PackedStrings, Packer
from common.packed_mappings import PackedLists, PackedMapping
from common.text_files import is_whole_text, text_blocks, to_bytes

Several = str | Sequence[str]  # one caption, or those of one image


class Captions(PackedMapping[str]):
    """Image key -> caption, of several the first. Few are distinct, often: texts [M] holds each
    once, lists says which of them each image has.
    """

    def __init__(self, names: PackedStrings, lists: PackedLists, texts: PackedStrings) -> None:
        super().__init__(names)
        self.lists, self.texts = lists, texts
        self._selected: Captions | None = None  # the last one: a split's are asked for again

    @classmethod
    def of(
        cls, captions: Mapping[str, Several] | Iterable[tuple[str, Several]], join: bool = False
    ) -> "Captions":
        """Pack them. A key that comes again has the last ones; join: the captions of all."""
        if isinstance(captions, Captions):
            return captions
        keys, rows, counts, texts = Packer(), array("i"), array("i"), dict[str, int]()
        for key, several in captions.items() if isinstance(captions, Mapping) else captions:
            keys.append(key)
            own = [several] if isinstance(several, str) else several
            rows.extend(texts.setdefault(text, len(texts)) for text in own)
            counts.append(len(own))
        lists = PackedLists.of_counts(np.array(rows, np.int32), np.array(counts, np.int32))
        packed = cls(keys.packed(), lists, PackedStrings.of(texts))
        repeated = packed.names.lookup.repeated()
        if not len(repeated):
            return packed
        if join:
            return packed._joined()
        return packed._take(np.delete(np.arange(len(counts)), repeated))

    def value_at(self, row: int) -> str:
        return self.texts.item(self.lists.first(row))

    def all_of(self, key: str) -> tuple[str, ...]:
        """All captions of an image, in their order."""
        row = self.names.lookup.find(key)
        if row < 0:
            raise KeyError(key)
        return tuple(map(self.texts.item, self.lists.item(row)))

    def every(self) -> Iterator[tuple[str, str]]:
        """(key, caption) of every caption of every image."""
        for row, key in enumerate(self.names):
            for text in self.lists.item(row):
                yield key, self.texts.item(text)

    def only_firsts(self) -> "Captions":
        """The same images with their first captions alone."""
        if not self.lists.has_several:
            return self
        return Captions(self.names, PackedLists(self.lists.firsts), self.texts)

    def select(self, keys: Iterable[str]) -> "Captions":
        """Those of these images, in the order of `keys`, which need not all be there."""
        wanted = PackedStrings.of(keys)
        for known in (self, self._selected):
            if known is not None and known.names is wanted:
                return known
        rows = self.names.lookup.find_all(wanted)
        found = rows >= 0
        names = wanted if found.all() else wanted.take(found)
        self._selected = Captions(names, self.lists.take(rows[found]), self.texts)
        return self._selected

    @property
    def distinct(self) -> tuple[list[str], np.ndarray]:
        """The M different captions in the order of their first image; which one each caption is,
        int [T], as `lists` has them.
        """
        used, first, rows = np.unique(self.lists.numbers, return_index=True, return_inverse=True)
        order = np.argsort(first)
        return list(self.texts.view(used[order])), np.argsort(order)[rows]

    @cached_property
    def sha256(self) -> str:
        """Identity of these captions, whatever the order of their images."""
        digest, rows = hashlib.sha256(), self.names.sorted_rows()
        for first in range(0, len(rows), CHUNK):
            part = self._take(rows[first : first + CHUNK])
            digest.update(to_bytes("".join(f"{key}\t{text}\n" for key, text in part.every())))
        return digest.hexdigest()

    def _take(self, rows: np.ndarray) -> "Captions":
        return Captions(self.names.view(rows), self.lists.take(rows), self.texts)

    def _joined(self) -> "Captions":
        """Each name once, where it comes first, with the captions of all its rows."""
        last, rows = self.names.lookup.find_all(self.names), np.arange(len(self.names))
        first = np.full(len(rows), len(rows))
        np.minimum.at(first, last, rows)
        first = first[last]  # [N], the first row with the name of each
        ordered = self.lists.take(np.argsort(first, kind="stable"))
        counts = np.bincount(first, self.lists.counts, len(rows)).astype(np.int64)
        own = first == rows
        return Captions(
            self.names.view(rows[own]),
            PackedLists.of_counts(ordered.numbers, counts[own]),
            self.texts,
        )


def read_captions(*paths: Path, join: bool = False) -> Captions:
    """Image key -> captions, from caption files, whose lines may have any other keys.

    Of an image that comes again the later line and the later file win; join: it has the captions of
    all of them. A `UserError` names a bad line.
    """
    entries = (entry for path in paths for entry in _good_entries(path))
    return Captions.of(((entry["image"], captions_of(entry)) for entry in entries), join)


def captions_of(entry: Mapping[str, Any]) -> list[str]:
    """The captions of one good line; its `caption`, where there is one, is the first."""
    first, *others = (caption.strip() for caption in _given_captions(entry))
    is_alone = entry.get("caption") is not None
    return [first, *(other for other in others if not (is_alone and other == first))]


def require_captions(keys: Iterable[str], captions: Mapping[str, Several] | None) -> None:
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


def sift_entries(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The good lines, and what is wrong with each of the others."""
    entries, problems = [], []
    for entry in _entries(path):
        if isinstance(entry, str):
            problems.append(entry)
        else:
            entries.append(entry)
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
    except IsADirectoryError as error:
        raise UserError(
            f"{path} is a folder; make a caption file of the texts in it with "
            "scripts/import_captions.py, and name that"
        ) from error
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
        image, captions = entry.get("image"), _given_captions(entry)
        if isinstance(image, str) and captions:
            _check_text(image, captions, where)
            key = image.lstrip("/")
            if key and "\n" not in key:
                return {**entry, "image": key}
    raise UserError(
        f'{where}: expected {{"image": "...", "caption": "..."}} or "captions": ["...", ...], none '
        "of them empty"
    )


def _given_captions(entry: Mapping[str, Any]) -> list[str]:
    """The captions of both keys as a line has them; none if any of it is not a sentence."""
    one, several = entry.get("caption"), entry.get("captions")
    given = [] if one is None else [one]
    given += several if isinstance(several, list) else [] if several is None else [several, None]
    return given if all(isinstance(text, str) and text.strip() for text in given) else []


def _check_text(image: str, captions: Iterable[str], where: str) -> None:
    """Half an emoji is no text; a key may have the bytes of a name that is not UTF-8."""
    for caption in captions:
        if not is_whole_text(caption):
            raise UserError(
                f"{where}: the caption {ascii(caption)} has half a character, or is not UTF-8; "
                "correct it"
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


def captions_sha256(captions: Mapping[str, Several]) -> str:
    """Identity of a set of captions, whatever the order of their lines."""
    return Captions.of(captions).sha256
