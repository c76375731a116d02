"""KITTI's depth prediction benchmark: its 500 test images, and the zip file its server takes.

    ROOT/test_depth_prediction_anonymous/image/0000000000.png ... 0000000499.png   352x1216

as `data_depth_selection.zip` unpacks (ROOT is its `depth_selection`, or a folder above). There is
no ground truth. The server takes one zip with 500 PNG files of the same names at its top level:
16-bit, 352x1216, meters * 256, where 0 would mean that there is no prediction.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.data.batch import Item
from common.errors import UserError
from common.files import whole_file
from common.images import depth_files
from common.images.crops import KB_HEIGHT, KB_WIDTH
from common.images.depth_files import LARGEST
from common.images.reading import read_depth, read_image, size_text
from common.images.transforms import normalize
from common.language.language import NO_LANGUAGE, Language

FOLDER = "test_depth_prediction_anonymous"
PLACES = ("", "depth_selection", "data_depth_selection", "data_depth_selection/depth_selection")
NAMES = tuple(f"{number:010d}.png" for number in range(500))
SCALE = 256.0  # stored value of one meter
FARTHEST = LARGEST / SCALE  # meters


def find_images(root: Path, allow_missing: bool = False) -> dict[str, Path]:
    """Key (`image/0000000000.png`) -> file of the 500 images, in the order of their names.

    A `UserError` if the folder is not there, holds other PNG files, or, unless `allow_missing`,
    fewer than 500.
    """
    folder = _find_folder(root)
    found = {path.name for path in folder.glob("*.png")}
    unknown, missing = sorted(found - set(NAMES)), sorted(set(NAMES) - found)
    if unknown:
        raise UserError(
            f"{folder}: {unknown[0]} is not one of {NAMES[0]} to {NAMES[-1]}; set data.root to a "
            "folder with these alone, links will do"
        )
    if not found or (missing and not allow_missing):
        raise UserError(
            f"{folder}: {len(missing)} of {len(NAMES)} images are missing, first {missing[0]}; "
            "unpack data_depth_selection.zip again, or try with what is there: "
            "data.allow_missing=true"
        )
    return {f"image/{name}": folder / name for name in NAMES if name in found}


def _find_folder(root: Path) -> Path:
    if root.name == "image" and root.parent.name == FOLDER:
        return root
    candidates = [root / place / FOLDER / "image" for place in PLACES]
    if root.name == FOLDER:
        candidates.insert(0, root / "image")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise UserError(
        f"data.root: no {FOLDER}/image in {root} or its depth_selection; unpack "
        "data_depth_selection.zip and set data.root to where it lies"
    )


class BenchmarkImages(Dataset):
    """Items as those of a `DepthDataset` in evaluation, without ground truth."""

    def __init__(self, files: dict[str, Path], language: Language = NO_LANGUAGE) -> None:
        self.files, self.language, self.keys = files, language, list(files)
        language.check(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Item:
        key = self.keys[index]
        return Item(
            image=torch.from_numpy(normalize(_read(self.files[key]))),
            gt_depth=None,
            key=key,
            position=index,
            **self.language.all_words_of(key),
        )


def _read(path: Path) -> np.ndarray:
    image = read_image(path)
    if image.shape[:2] != (KB_HEIGHT, KB_WIDTH):
        raise UserError(
            f"{path} is {size_text(image)}; the benchmark's images are {KB_HEIGHT}x{KB_WIDTH}"
        )
    return image


def to_stored(depth: Tensor) -> np.ndarray:
    """Meters [H, W], finite -> uint16 [H, W]; at least 1, because 0 means no prediction."""
    return depth_files.to_stored(depth.double().cpu().numpy(), SCALE)[0]


def write_submission(path: Path, folder: Path, names: Sequence[str]) -> None:
    """Check the PNG files in `folder`, then pack them; the zip appears whole or not at all.

    names: those that must be there, and no others.
    """
    found = sorted(file.name for file in folder.glob("*.png"))
    if found != sorted(names):
        raise UserError(
            f"{folder} holds {len(found)} depth maps, not the {len(names)} of the benchmark's "
            "images; if it ran on several machines, they must all see this folder"
        )
    for name in found:
        _check_depth(folder / name)
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in found:  # PNG files are compressed already
            archive.write(folder / name, name)


def _check_depth(path: Path) -> None:
    depth = read_depth(path)  # a UserError unless 16-bit with one channel
    if depth.shape != (KB_HEIGHT, KB_WIDTH):
        raise UserError(f"{path} is {size_text(depth)}, not {KB_HEIGHT}x{KB_WIDTH}")
    if not depth.all():
        raise UserError(f"{path}: {(depth == 0).sum()} pixels have no prediction")
