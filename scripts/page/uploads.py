"""What a visitor hands in, within limits; every bad file is a `UserError` that gives its own name.

The size of a picture is read from its header before anything is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.images.containers import foreign_remedy
from common.images.headers import count_pixels
from common.images.reading import read_depth, read_file
from scripts.prediction.pictures import Picture, read_picture

MEGA = 1_000_000
DEPTH_SUFFIXES_TAKEN = (".npy", ".png")


@dataclass(frozen=True)
class Limits:
    """max_bytes: of a file. max_pixels: of a picture or depth map. max_caption: characters."""

    max_bytes: int = 20 * MEGA
    max_pixels: int = 25 * MEGA
    max_caption: int = 100_000

    def describe(self) -> str:
        """For the page."""
        return f"up to {self.max_bytes / MEGA:g} MB and {self.max_pixels / MEGA:g} million pixels"


def read_uploaded_picture(path: Path, limits: Limits, upright: bool = True) -> Picture:
    """See `read_picture`; here a file whose header cannot be read is not even tried."""
    with told_by_name(path):
        _check_bytes(path, limits)
        _check_pixels(path, limits, "save it as JPEG, PNG or WebP")
        picture = read_picture(path, upright)
    return Picture(picture.rgb, picture.film, path.name)


def read_uploaded_depth(path: Path, depth_scale: float, limits: Limits) -> np.ndarray:
    """Meters, float32 [H, W], 0 = no measurement, of a .npy or 16-bit PNG file.

    depth_scale: stored units of a meter, of whole numbers; floats are meters.
    """
    with told_by_name(path):
        _check_bytes(path, limits)
        if path.suffix.lower() not in DEPTH_SUFFIXES_TAKEN:
            raise UserError(
                f"{path}: ground truth must be {' or '.join(DEPTH_SUFFIXES_TAKEN)} (16 bits)"
            )
        if path.suffix.lower() == ".png":
            _check_pixels(path, limits, "write it again as PNG with 16 bits, or as .npy")
        depth = read_depth(path)
    return depth if depth.dtype == np.float32 else (depth / depth_scale).astype(np.float32)


def _check_pixels(path: Path, limits: Limits, remedy: str) -> None:
    """By the header; a file without one that can be read is not decoded."""
    data = read_file(path)
    count = count_pixels(data)
    if count is None:
        remedy = foreign_remedy(data) or remedy
        raise UserError(f"{path}: not a readable image ({len(data)} bytes); {remedy}")
    if count > limits.max_pixels:
        raise UserError(
            f"{path}: more than {limits.max_pixels / MEGA:g} million pixels; make it smaller, the "
            "network sees far fewer"
        )


def _check_bytes(path: Path, limits: Limits) -> None:
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise UserError(f"{path}: more than {limits.max_bytes / MEGA:g} MB; make it smaller")


@contextmanager
def told_by_name(path: Path) -> Iterator[None]:
    """Mistakes are told with the file's own name, without its place on the server."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from error
    except OSError as error:
        raise UserError(f"{path.name}: {error.strerror or 'cannot be read'}") from error
