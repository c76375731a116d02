"""Caption files: one `{"image": "<path as in the list>", "caption": "..."}` line per image."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import whole_file


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
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"no caption file {path}; check text.captions or the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read caption file {path}: {error}") from error
    entries = [
        parse_entry(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    return {entry["image"]: entry for entry in entries}


def parse_entry(line: str, where: str) -> dict[str, Any]:
    """One line; its `image` becomes the key (no leading slash)."""
    try:
        entry = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{where}: not a JSON object: {getattr(error, 'msg', error)}") from error
    if isinstance(entry, dict):
        image, caption = entry.get("image"), entry.get("caption")
        if isinstance(image, str) and isinstance(caption, str) and caption.strip():
            key = image.lstrip("/")
            if key and "\n" not in key:
                return {**entry, "image": key}
    raise UserError(f'{where}: expected {{"image": "...", "caption": "..."}}')


def format_entry(entry: dict[str, Any]) -> str:
    """The line of one image, with its newline."""
    return json.dumps(entry, ensure_ascii=False) + "\n"


def write_entries(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write a caption file, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(format_entry(entry) for entry in entries)


def captions_sha256(captions: dict[str, str]) -> str:
    """Identity of a set of captions, whatever the order of their lines."""
    lines = "".join(f"{key}\t{captions[key]}\n" for key in sorted(captions))
    return hashlib.sha256(lines.encode()).hexdigest()
