"""A picture, whatever it is given as, as RGB pixels and what its file says of its camera."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from common.errors import UserError
from common.images.containers import exif_focal_35mm
from common.images.headers import holds_more_pixels
from common.images.reading import decode_image, read_file

PictureSource = str | Path | np.ndarray | Image.Image | Tensor
MAX_PIXELS = 120_000_000  # of one picture: a few GB with its depth maps
_EXIF_DIRECTORY, _FOCAL_LENGTH_35MM = 0x8769, 0xA405  # tags


@dataclass(frozen=True)
class Picture:
    """rgb: uint8 [H, W, 3], upright. film: focal length in mm on 35 mm film; None: not known."""

    rgb: np.ndarray
    film: float | None = None
    name: str = "the picture"


def as_picture(source: "PictureSource | Picture", upright: bool = True) -> Picture:
    """A file, an array uint8 [H, W, 3], a PIL image, or a tensor [3, H, W] (uint8, or 0 to 1).

    upright: files are turned as their EXIF orientation says. A `UserError` for a bad file, a
    `ValueError` for an array of another kind.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | Path):
        return read_picture(Path(source), upright)
    if isinstance(source, Image.Image):
        return _of_pil(source)
    pixels = _of_tensor(source) if isinstance(source, Tensor) else np.asarray(source)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(
            "a picture must be a path, a PIL image, a tensor [3, H, W] or a uint8 array [H, W, 3], "
            f"not {type(source).__name__} ({pixels.dtype} {list(pixels.shape)})"
        )
    return Picture(np.ascontiguousarray(pixels))


def read_picture(path: Path, upright: bool = True) -> Picture:
    """A file; a `UserError`, in one line, where it is no picture or has too many pixels."""
    data = read_file(path)
    if holds_more_pixels(data, MAX_PIXELS):
        raise UserError(
            f"{path}: more than {MAX_PIXELS // 1_000_000} million pixels; make it smaller, the "
            "network sees far fewer"
        )
    return Picture(decode_image(data, path, upright), exif_focal_35mm(data), str(path))


def _of_pil(image: Image.Image) -> Picture:
    exif = image.getexif()
    film = exif.get_ifd(_EXIF_DIRECTORY).get(_FOCAL_LENGTH_35MM)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of gray, which `convert` would cut at 255
        gray = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(gray)
    return Picture(np.array(image.convert("RGB")), float(film) if film else None)


def _of_tensor(tensor: Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"a picture as a tensor must be [3, H, W], not {list(tensor.shape)}")
    pixels = tensor.detach().cpu()
    if pixels.is_floating_point():
        low, high = torch.aminmax(pixels)
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"a picture as floats must be in 0 to 1, this is {float(low):.3g} to "
                f"{float(high):.3g}; it must not be normalized"
            )
        pixels = (pixels * 255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).numpy()
