"""Depth maps as 16-bit PNG files: stored value = meters * scale, 0 = no value.

write = DepthWriter(Path("predictions"), 1000.0, {"kitchen/rgb_1.jpg": "/data/.../rgb_1.jpg"})
write("kitchen/rgb_1.jpg", depth)  # predictions/kitchen/rgb_1.png, in millimeters
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from torch import Tensor

from common.errors import UserError
from common.files import make_folder, whole_file

LARGEST = 65535  # of 16 bits


class DepthWriter:
    """Writes predictions under a folder, named like their images; each file whole or not at all."""

    def __init__(self, folder: Path, depth_scale: float, image_files: Mapping[str, str]):
        """image_files: key -> file of all images, none of which may be written over."""
        self.folder, self.depth_scale = folder, depth_scale
        self.names = depth_names(image_files)
        make_folder(folder)
        images = {os.path.realpath(path) for path in image_files.values()}
        hit = next((n for n in self.names.values() if os.path.realpath(folder / n) in images), None)
        if hit is not None:
            raise UserError(f"{folder / hit} is an image of the data set; name another folder")

    def __call__(self, key: str, depth: Tensor) -> None:
        """depth: [H, W], meters; stored as 0 where it is not finite, and as 65535 at most."""
        meters = np.nan_to_num(depth.cpu().numpy(), nan=0, posinf=0, neginf=0)
        stored = (meters * self.depth_scale).round().clip(0, LARGEST)
        write_depth_png(self.folder / self.names[key], stored.astype(np.uint16))


def depth_names(keys: Iterable[str]) -> dict[str, str]:
    """Key -> file name: the key with .png for its suffix, never outside the folder it is put in.

    Images that differ in nothing but their suffix keep it: `a.jpg.png` and `a.png.png`.
    """
    paths = {key: _inside(key) for key in keys}
    count = Counter(path.with_suffix("") for path in paths.values())
    return {
        key: str(path.with_suffix(".png") if count[path.with_suffix("")] == 1 else f"{path}.png")
        for key, path in paths.items()
    }


def _inside(key: str) -> PurePosixPath:
    return PurePosixPath(*(part for part in PurePosixPath(key).parts if part not in ("/", "..")))


def write_depth_png(path: Path, stored: np.ndarray) -> None:
    """Write uint16 [H, W]; the file appears whole or not at all."""
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise ValueError(f"depth must be uint16 [H, W], not {stored.dtype} {stored.shape}")
    done, data = cv2.imencode(".png", stored)
    if not done:
        raise ValueError(f"cannot encode a depth map of {stored.shape}")
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())
