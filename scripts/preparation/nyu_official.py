"""Write the official split of NYU Depth V2 as BTS lays it out, from the two MATLAB files.

    ROOT/official_splits/test/bathroom/rgb_00045.jpg          JPEG
    ROOT/official_splits/test/bathroom/sync_depth_00045.png   16-bit PNG, millimeters, 0 = none
    ROOT/official_splits/train/...                         the 795 labeled training frames
    ROOT/official_splits/about.json                        which of the two depth maps these are

The numbers are places in the MATLAB file, counted from 0. As in the published files, images are
black outside rows 7:474 and columns 7:632, their JPEG quality is OpenCV's 95, and depth is the raw
one, cut off (not rounded) to whole millimeters.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError
from common.files import whole_file
from common.images.depth_files import LARGEST
from common.progress import tracked
from common.text_files import write_json
from scripts.preparation.nyu_labeled import (
    DepthKind,
    LabeledFrame,
    open_labeled,
    read_official_split,
)

FOLDER = "official_splits"
_VALID_ROWS, _VALID_COLS = slice(7, 474), slice(7, 632)
_JPEG_QUALITY = 95


def write_official_split(
    labeled_file: Path, splits_file: Path, root: Path, depth: DepthKind = "raw"
) -> int:
    """Write the pairs that are not there yet below `root`/official_splits; how many these were."""
    with open_labeled(labeled_file) as labeled:
        split = read_official_split(splits_file, labeled.num_frames)
        _note_depth_kind(root / FOLDER, depth)
        places = {
            index: _place(root, part, labeled.scene_types[index], index)
            for part, indices in (("train", split.train), ("test", split.test))
            for index in indices
        }
        missing = [index for index, files in places.items() if not all(map(_is_there, files))]
        frames = labeled.read(missing, depth)
        for frame in tracked(frames, FOLDER, len(missing), unit="pair"):
            _write_pair(frame, *places[frame.index])
    return len(missing)


def _place(root: Path, part: str, scene_type: str, index: int) -> tuple[Path, Path]:
    folder = root / FOLDER / part / scene_type
    return folder / f"rgb_{index:05d}.jpg", folder / f"sync_depth_{index:05d}.png"


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _note_depth_kind(folder: Path, depth: DepthKind) -> None:
    """Write down which depth the folder holds, so that a later run mixes no other kind into it."""
    found = _depth_kind_of(folder)
    if found is None:
        write_json(folder / "about.json", {"depth": depth})
    elif found != depth:
        raise UserError(f"{folder} holds {found} depth, not {depth}; name another --root for that")


def _depth_kind_of(folder: Path) -> str | None:
    note = folder / "about.json"
    if not note.exists():
        written_by_bts = (folder / "train").exists() or (folder / "test").exists()
        return "raw" if written_by_bts else None
    try:
        return json.loads(note.read_text(encoding="utf-8"))["depth"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {note}; name another --root to write it anew") from error


def _write_pair(frame: LabeledFrame, image_file: Path, depth_file: Path) -> None:
    image = np.zeros_like(frame.image)
    image[_VALID_ROWS, _VALID_COLS] = frame.image[_VALID_ROWS, _VALID_COLS]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _write_image(image_file, bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    _write_image(depth_file, to_millimeters(frame.depth), [])


def to_millimeters(depth: np.ndarray) -> np.ndarray:
    """uint16 millimeters, cut off as in the published files; what cannot be stored becomes 0.

    depth: float32 [H, W], meters.
    """
    millimeters = depth * np.float32(1000)
    valid = (millimeters >= 1) & (millimeters <= LARGEST)  # False for NaN
    return np.where(valid, millimeters, 0).astype(np.uint16)


def _write_image(path: Path, pixels: np.ndarray, options: list[int]) -> None:
    _, encoded = cv2.imencode(path.suffix, pixels, options)
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
