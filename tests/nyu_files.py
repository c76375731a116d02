"""Small files in the formats NYU Depth V2 is published in, and a way to run the program on them."""

import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io
from conftest import Outcome, run_script

from scripts.preparation.nyu_official import to_millimeters

SCENE_TYPES = ("kitchen", "kitchen", "bathroom", "office", "bathroom")
TRAIN_INDICES, TEST_INDICES = (0, 3), (1, 2, 4)  # from 0
ROWS, COLS = np.mgrid[0:480, 0:640].astype(np.float32)
TEST_LIST, TRAIN_LIST = "nyudepthv2_test_files_with_gt.txt", "nyudepthv2_train_files_with_gt.txt"
LABELED_LIST, DENSE_LIST = (
    "nyu_labeled_train_files_with_gt.txt",
    "nyu_dense_train_files_with_gt.txt",
)
CAPTIONS_AND_LISTS = [
    *(f"captions_{kind}.jsonl" for kind in ("short", "detailed", "objects")),
    *(f"{split}_files_with_gt.txt" for split in ("train", "val")),
]
SYNC_FILES = [
    f"{scene}/{kind}"
    for scene in ("kitchen_0028b", "bathroom_0001a")
    for kind in ("rgb_00045.jpg", "sync_depth_00045.png")
]
SYNC_LINES = [
    "/bathroom_0001a/rgb_00045.jpg /bathroom_0001a/sync_depth_00045.png 518.8579",
    "/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579",
]


def image_of(index: int) -> np.ndarray:
    """uint8 [480, 640, 3], smooth, different along both axes and in every channel."""
    channels = [ROWS / 3, COLS / 4, np.full_like(ROWS, 40 * index)]
    return np.stack(channels, axis=2).astype(np.uint8)


def filled_depth(index: int) -> np.ndarray:
    """float32 [480, 640], meters."""
    return 1 + index + ROWS / 1000 + COLS / 997


def raw_depth(index: int) -> np.ndarray:
    depth = filled_depth(index)
    depth[100:110, 200:230] = 0
    return depth


def write_labeled(path: Path) -> Path:
    """`nyu_depth_v2_labeled.mat` as MATLAB writes it: HDF5 after a header of 512 bytes."""
    indices = range(len(SCENE_TYPES))
    with h5py.File(path, "w", userblock_size=512) as file:
        arrays = {
            "images": np.stack([image_of(i).transpose(2, 1, 0) for i in indices]),
            "depths": np.stack([filled_depth(i).T for i in indices]),
            "rawDepths": np.stack([raw_depth(i).T for i in indices]),
        }
        for name, array in arrays.items():
            chunks = (2, *array.shape[1:-2], 64, 480)
            file.create_dataset(name, data=array, chunks=chunks, compression=1)
        references = []
        for number, name in enumerate(SCENE_TYPES):
            codes = np.array([[ord(letter)] for letter in name], np.uint16)
            references.append(file.create_dataset(f"#refs#/{number}", data=codes).ref)
        file.create_dataset("sceneTypes", data=[references], dtype=h5py.ref_dtype)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def write_splits(path: Path, train=TRAIN_INDICES, test=TEST_INDICES) -> Path:
    columns = {
        name: np.array([[i + 1] for i in indices], np.uint16)
        for name, indices in (("trainNdxs", train), ("testNdxs", test))
    }
    scipy.io.savemat(path, columns)
    return path


def write_sync(folder: Path) -> Path:
    """BTS's `sync`, with two scenes of one pair."""
    for name in SYNC_FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = image_of(1) if path.suffix == ".jpg" else to_millimeters(raw_depth(1))
        cv2.imwrite(str(path), pixels[::8, ::8])
    return folder


def zip_of(folder: Path, archive: Path, prefix: str) -> Path:
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in sorted(folder.rglob("*.*")):
            bundle.write(path, f"{prefix}{path.relative_to(folder)}")
    return archive


def prepare(*arguments) -> Outcome:
    """Run the program in this process."""
    return run_script("prepare_nyu.py", *arguments)


def prepared(root: Path, *arguments) -> str:
    outcome = prepare("--root", root, *arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out


def refused(root: Path, *arguments) -> str:
    """The one `error:` line of a run that ends with code 2."""
    return prepare("--root", root, *arguments).refusal


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
