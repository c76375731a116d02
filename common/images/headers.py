"""The size of a picture from its first bytes, without reading it."""

import io
import math
import struct
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from common.shards import place_of

_PNG = b"\x89PNG\r\n\x1a\n"


def png_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width of a PNG file; None: it is none, or cannot be read."""
    try:
        shards, name = place_of(path)
        if shards is not None:
            head = shards.read(name)[:24]
        else:
            with Path(path).open("rb") as file:
                head = file.read(24)
    except OSError:
        return None
    if len(head) < 24 or not head.startswith(_PNG) or head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", head[16:])
    return height, width


def holds_more_pixels(data: bytes, limit: int) -> bool:
    """Whether a picture's header says more pixels than `limit`; False where it cannot be read."""
    count = count_pixels(data)
    return count is not None and count > limit


def count_pixels(data: bytes) -> float | None:
    """What a picture's header says, infinite where it is absurd; None: it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                return image.width * image.height
    except Image.DecompressionBombError:  # its own limit, twice Image.MAX_IMAGE_PIXELS
        return math.inf
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, OverflowError):
        return None  # told when the picture is read
