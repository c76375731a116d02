"""Depth maps as 16-bit PNG files: stored value = meters * scale, 0 = no value.

write = DepthWriter(Path("predictions"), 1000.0, {"kitchen/rgb_1.jpg": "/data/.../rgb_1.jpg"})
write("kitchen/rgb_1.jpg", depth)  # predictions/kitchen/rgb_1.png, in millimeters
print(describe_changed(write.changed, 1000.0))  # what 16 bits could not hold, if anything
write_scale(Path("predictions"), 1000.0)  # predictions/dataset.json, for whoever reads them
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from common.errors import UserError
from common.files import make_folder, whole_file
from common.images.reading import NO_MEASUREMENT
from common.text_files import write_json

LARGEST = NO_MEASUREMENT - 1  # of 16 bits
SCALE_FILE = "dataset.json"  # of a folder of depth maps
SCALE_KEY = "depth_scale"
_SCALES = (1000, 256, 100, 10, 1)  # usual numbers of stored units that make a meter


@dataclass(frozen=True)
class Changed:
    """How many pixels of one depth map 16 bits could not hold as they are."""

    num_far: int = 0  # stored as the largest value
    num_near: int = 0  # less than one stored unit: stored as 1
    num_nonfinite: int = 0  # stored as 0, no value
    farthest: float = 0.0  # meters, where some are too far


class DepthWriter:
    """Writes predictions under a folder, named like their images; each file whole or not at all."""

    def __init__(
        self,
        folder: Path,
        depth_scale: float,
        image_files: Mapping[str, str],
        depth_files: Iterable[str] = (),
    ):
        """image_files: key -> file of all images. depth_files: their ground truth.

        None of these files may be written over. `changed` has an entry for each map that lost
        something.
        """
        self.folder, self.depth_scale = folder, depth_scale
        self.changed: list[Changed] = []
        self.names = depth_names(image_files)
        make_folder(folder)
        for what, files in (("an image", image_files.values()), ("ground truth", depth_files)):
            places = {os.path.realpath(file) for file in files}
            for name in self.names.values():
                if os.path.realpath(folder / name) in places:
                    raise UserError(
                        f"{folder / name} is {what} of the data set; name another folder"
                    )

    def __call__(self, key: str, depth: Tensor) -> None:
        """depth: [H, W], meters; stored as 1 to 65534, and as 0 where it is not finite.

        0 and 65535 are read as no measurement.
        """
        stored, changed = to_stored(depth.double().cpu().numpy(), self.depth_scale)
        write_depth_png(self.folder / self.names[key], stored)
        if changed != Changed():
            self.changed.append(changed)


def to_stored(meters: np.ndarray, depth_scale: float) -> tuple[np.ndarray, Changed]:
    """uint16 of the same shape, and what was lost: see `DepthWriter`."""
    is_finite = np.isfinite(meters)
    codes = (np.where(is_finite, meters, 0) * depth_scale).round()
    is_far, is_near = codes > LARGEST, is_finite & (codes < 1)
    farthest = float(codes.max() / depth_scale) if is_far.any() else 0.0
    counts = Changed(int(is_far.sum()), int(is_near.sum()), int((~is_finite).sum()), farthest)
    return np.where(is_finite, codes.clip(1, LARGEST), 0).astype(np.uint16), counts


def describe_changed(changed: Sequence[Changed], depth_scale: float) -> str | None:
    """One line about all maps of a folder, with what to do; None: nothing was lost."""
    counts = {
        f"beyond {LARGEST / depth_scale:.5g} m were saved as that": sum(m.num_far for m in changed),
        f"below {1 / depth_scale:.4g} m were saved as that": sum(m.num_near for m in changed),
        "that are not finite were saved as 0, no value": sum(m.num_nonfinite for m in changed),
    }
    parts = [f"{count:,} pixels {what}" for what, count in counts.items() if count]
    if not parts:
        return None
    text = f"warning: in {len(changed)} predicted depth maps {', '.join(parts)}"
    farthest = max(map_.farthest for map_ in changed)
    if farthest:
        fitting = (s for s in _SCALES if farthest * s <= LARGEST)
        text += f"; eval.saved_depth_scale={next(fitting, LARGEST / farthest):g} holds all of them"
    return text


def write_scale(folder: Path, depth_scale: float, more: Mapping[str, Any] | None = None) -> None:
    """Note the scale of a folder's maps in its `dataset.json`; one about other things stays.

    more: what else is to be said of all its maps.
    """
    path = folder / SCALE_FILE
    if not path.exists() or read_scale(path) is not None:
        write_json(path, {SCALE_KEY: depth_scale, **(more or {})})


def read_scale(path: Path) -> float | None:
    """How many stored units make a meter, as a JSON file beside depth maps says; None: it does not.

    A `UserError` where the file cannot be read, or says something impossible.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}; correct it, or give --scale") from error
    scale = content.get(SCALE_KEY) if isinstance(content, dict) else None
    if scale is None:
        return None
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e300:
        raise UserError(f"{path}: {SCALE_KEY} must be a number above 0, not {scale!r}")
    return float(scale)


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
