"""Published weights: files known by their contents, and which are read in one way.

Many an address names the SHA-256 of what lies there.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path

from common.fingerprints import file_sha256

_NAMED = 3  # names in an error of each kind


def find_by_sha256(file: Path, addresses: Mapping[str, str]) -> str | None:
    """The name whose address names the file's SHA-256; None: none of them does."""
    starts = {name: sha256_in(address) for name, address in addresses.items()}
    if not any(starts.values()):
        return None
    own = file_sha256(file)
    return next((name for name, start in starts.items() if start and own.startswith(start)), None)


def sha256_in(address: str) -> str:
    """The SHA-256 or its first 8 digits, in the two usual ways of writing it; "": there is none.

    `.../<64 digits>/RN50.pt` is OpenAI's way, `.../rn50-455df137.pt` that of torch.hub.
    """
    found = re.search(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.\w+$", address)
    return (found[1] or found[2]) if found else ""


def list_readings(readings: Mapping[str, Hashable]) -> str:
    """`NAME, NAME, ...: READING; NAME: READING`. readings: name -> how its weights are read."""
    kinds: dict[Hashable, list[str]] = {}
    for name, reading in readings.items():
        kinds.setdefault(reading, []).append(name)
    return "; ".join(f"{_first_of(names)}: {reading}" for reading, names in kinds.items())


def _first_of(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
