"""Captions on their way into a file: each process appends to `<file>.<rank>.part`.

A run that was interrupted finds what is done there. The file itself appears once, whole, in the
order of the images.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from common.errors import UserError
from common.fingerprints import Fingerprint, take_fingerprint
from common.language.captions import format_entry, parse_entry, read_entries, write_entries

CaptionEntry = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """Key -> line of what is captioned already, of the pictures as they are now.

    others: images whose captions were made of another picture. num_unknown: lines that do not say
    of which picture they were made, as older programs wrote them.
    """

    entries: dict[str, CaptionEntry]
    others: frozenset[str]
    num_unknown: int


def read_done(output: Path, source: dict[str, Any], images: dict[str, Path]) -> Done:
    """What the file and its parts hold; a `UserError` if one was made otherwise.

    source: what every line must say of how it was made. images: key -> where the picture is now.
    """
    found = {path: _read_part(path) for path in part_files(output)}
    if output.exists():
        found = {output: read_entries(output), **found}
    done: dict[str, CaptionEntry] = {}
    others: set[str] = set()
    for path, entries in found.items():
        for entry in entries.values():
            _check_source(path, entry.get("source"), source)
        changed = set(_fingerprint(entries).changed(images))
        others |= changed
        done.update({key: entry for key, entry in entries.items() if key not in changed})
    num_unknown = sum(key in images and "picture" not in entry for key, entry in done.items())
    return Done(done, frozenset(others - done.keys()), num_unknown)


def describe_picture(file: Path) -> dict[str, Any]:
    """What a line says of the picture it is about."""
    taken = take_fingerprint({"": file})
    num_bytes, changed_ns = taken.facts[0].tolist()
    return {"bytes": num_bytes, "changed_ns": changed_ns, "sha256": taken.contents[""]}


def _fingerprint(entries: dict[str, CaptionEntry]) -> Fingerprint:
    """The pictures of the lines that say of which one they are."""
    told = {key: entry["picture"] for key, entry in entries.items() if "picture" in entry}
    facts = [(picture["bytes"], picture["changed_ns"]) for picture in told.values()]
    contents = {key: picture["sha256"] for key, picture in told.items()}
    return Fingerprint(tuple(told), np.array(facts, np.int64).reshape(-1, 2), contents)


def part_files(output: Path) -> list[Path]:
    """The parts that processes have left or are writing."""
    return sorted(
        path
        for path in (output.parent.iterdir() if output.parent.is_dir() else ())
        if path.name.startswith(f"{output.name}.") and path.name.endswith(".part")
    )


@contextmanager
def open_part(output: Path, rank: int) -> Iterator[TextIO]:
    """This process's part, to append to; it goes again if it stays empty."""
    path = output.with_name(f"{output.name}.{rank}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
        file.write("\n")  # a line that was cut off stays by itself
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another --output") from error
    try:
        with file:
            yield file
    finally:
        if not _read_part(path):
            path.unlink()


def append(part: TextIO, entries: Iterable[CaptionEntry]) -> None:
    """Add lines that survive the process."""
    try:
        part.writelines(format_entry(entry) for entry in entries)
        part.flush()
    except OSError as error:
        raise UserError(f"cannot write {part.name}: {error.strerror}") from error


def finish(
    output: Path, source: dict[str, Any], images: dict[str, Path]
) -> dict[str, CaptionEntry]:
    """Write the file, `images` in their order and others it had after them; remove the parts."""
    done = read_done(output, source, images).entries
    ordered = {key: done[key] for key in images if key in done}
    everything = {**ordered, **done}
    if not everything:
        raise UserError(f"no image could be captioned; {output} was not written")
    write_entries(output, everything.values())
    for path in part_files(output):
        path.unlink()
    return everything


def _read_part(path: Path) -> dict[str, CaptionEntry]:
    """The whole lines; one that was cut off is made again."""
    entries = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = parse_entry(line, str(path))
        except UserError:
            continue
        entries[entry["image"]] = entry
    return entries


def _check_source(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    if found == wanted:
        return
    if not isinstance(found, dict):
        raise UserError(f"{path} holds captions that were not made here; name another --output")
    if found == {**wanted, "revision": None}:  # of a program that could not tell the commit
        return
    differing = [name for name in wanted if found.get(name) != wanted[name]] or ["source"]
    was, asked = ({name: side.get(name) for name in differing} for side in (found, wanted))
    raise UserError(
        f"{path} was made with {json.dumps(was)}, not {json.dumps(asked)}; name another --output"
    )
