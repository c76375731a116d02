"""Caption files: one `{"image": "<path as in the list>", "caption": "..."}` line per image."""

import codecs
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_bytes, whole_file
from common.text_files import is_whole_text, to_bytes, to_text


def read_captions(path: Path) -> dict[str, str]:
    """Image key -> caption, from lines of {"image": ..., "caption": ...} with any other keys."""
    return {key: entry["caption"].strip() for key, entry in read_entries(path).items()}


def require_captions(keys: Iterable[str], captions: Mapping[str, str] | None) -> None:
    """Raise a `UserError` unless every image has a caption; None: no captions are configured."""
    keys = list(keys)
    missing = [key for key in keys if captions is not None and key not in captions]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no caption, first "
            f"{', '.join(missing[:3])}; check that text.captions covers this list"
        )


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Image key -> the whole line; a later line wins. A `UserError` names a bad line."""
    entries, problems = sift_entries(path)
    if problems:
        raise UserError(problems[0])
    return entries


def sift_entries(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The good lines, image key -> line, and what is wrong with each of the others."""
    try:
        lines = read_bytes(path).removeprefix(codecs.BOM_UTF8).split(b"\n")
    except FileNotFoundError as error:
        raise UserError(f"no caption file {path}; check text.captions or the path") from error
    except OSError as error:
        raise UserError(f"cannot read caption file {path}: {error}") from error
    entries, problems = {}, []
    for number, line in enumerate(lines, 1):
        try:
            if text := to_text(line).strip():
                entry = parse_entry(text, f"{path}:{number}")
                entries[entry["image"]] = entry
        except UserError as error:
            problems.append(str(error))
    return entries, problems


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


def captions_sha256(captions: dict[str, str]) -> str:
    """Identity of a set of captions, whatever the order of their lines."""
    lines = "".join(f"{key}\t{captions[key]}\n" for key in sorted(captions))
    return hashlib.sha256(to_bytes(lines)).hexdigest()
