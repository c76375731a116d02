"""The size of a picture from its first bytes, without reading it."""

import struct
from pathlib import Path

_PNG = b"\x89PNG\r\n\x1a\n"


def png_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width of a PNG file; None: it is none, or cannot be read."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(24)
    except OSError:
        return None
    if len(head) < 24 or not head.startswith(_PNG) or head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", head[16:])
    return height, width
